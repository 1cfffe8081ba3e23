"""Where the time of a training step goes."""

import time
from collections import defaultdict

from torch.profiler import ProfilerActivity, profile

from benchmarks.contenders import Contender

MATRIX_PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "mkldnn::_linear")
ATTENTION = ("aten::_scaled_dot_product", "ChunkedAttention")


def time_shares(contender: Contender, number: int) -> dict[str, float]:
    """Shares of one step: matrix products, attention, the rest of forward and backward, optimizer (with clipping)."""
    began = time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        loss = contender.loss(number)
        loss.backward()
    middle = time.perf_counter()
    contender.update(loss)
    optimizer_s = time.perf_counter() - middle
    seconds: dict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        seconds[_kind(event.key)] += event.self_cpu_time_total / 1e6
    seconds["optimizer"] = optimizer_s
    total = sum(seconds.values())
    assert total <= 1.2 * (time.perf_counter() - began)
    return {name: seconds[name] / total for name in ("products", "attention", "elementwise", "optimizer")}


def _kind(operation: str) -> str:
    if operation.startswith(MATRIX_PRODUCTS):
        return "products"
    return "attention" if operation.startswith(ATTENTION) else "elementwise"
