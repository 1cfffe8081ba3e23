"""Tokens per second of the autoregressive family and of Llama, taking turns."""

import statistics
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks import llamas
from benchmarks.llamas import Shape
from benchmarks.machine import read_bandwidth
from benchmarks.where import ATTENTION, MATRIX_PRODUCTS
from worldtune.contract.condition import Condition
from worldtune.contract.nouns import Batch
from worldtune.contract.randomness import generator
from worldtune.families import autoregressive
from worldtune.families.autoregressive.decode_step import DecodeStep

OURS, LLAMA, UNCACHED = "WorldTune", "transformers Llama", "without cache"
COMPILED = ", compiled"
GREEDY = autoregressive.Sampler(temperature=0.0)
Way = Callable[[], Tensor]


def tokens(shape: Shape, batch: int, seed: int) -> Batch:
    """Random ids, the first frame given."""
    ids = torch.randint(shape.network.vocab_size, (batch, 1, *shape.grid), generator=generator(seed, 0, "tokens"))
    return Batch(
        target=ids,
        controls={},
        fps_hz_B=torch.ones(batch),
        clip_ids=("",) * batch,
        num_observed_B=torch.ones(batch, dtype=torch.int64),
    )


def ways(shape: Shape, batch_size: int, seed: int, *, compiled: bool) -> dict[str, Way]:
    """Ways to make the tokens after the first frame, greedily; each gives all ids [B, N]."""
    ours = llamas.ours(shape, seed).eval()
    llama = llamas.llama(ours).eval()
    batch = tokens(shape, batch_size, seed)
    ids_BN, given = batch.target.flatten(1), shape.grid[1] * shape.grid[2]

    def our_tokens() -> Tensor:
        draws = [torch.Generator() for _ in range(batch_size)]
        return autoregressive.sample(ours, batch, Condition(), Condition(), draws, GREEDY).flatten(1)

    def their_tokens() -> Tensor:
        made: Tensor = llama.generate(
            ids_BN[:, :given],
            attention_mask=torch.ones_like(ids_BN[:, :given]),
            max_new_tokens=shape.num_made,
            do_sample=False,
            cache_implementation="static",
            pad_token_id=0,
        )
        return made

    @torch.inference_mode()
    def plain_tokens() -> Tensor:
        rows, made_BN = ours.guide(ours.layout(1, *shape.grid)), ids_BN[:, :given]
        while made_BN.shape[1] < ids_BN.shape[1]:
            logits_BX = ours.output(ours.hidden(made_BN, rows)[:, -1])
            made_BN = torch.cat([made_BN, logits_BX.argmax(-1, keepdim=True)], 1)
        return made_BN

    found = {OURS: our_tokens, LLAMA: their_tokens}
    if shape.uncached and batch_size == 1:
        found[UNCACHED] = plain_tokens
    if compiled:
        our_step = torch.compile(DecodeStep._logits, dynamic=True)
        found[OURS + COMPILED] = _with(DecodeStep, "_logits", our_step, our_tokens)
        found[LLAMA + COMPILED] = _with(llama, "forward", torch.compile(llama.forward), their_tokens)
    return found


def _with(owner: Any, name: str, value: Any, way: Way) -> Way:
    def patched() -> Tensor:
        with mock.patch.object(owner, name, value):
            return way()

    return patched


def measure(shape: Shape, batch_size: int, rounds: int, seed: int, *, compiled: bool) -> dict[str, Any]:
    """Every way in turn, `rounds` times; rates, and their ratios to Llama's round by round.

    `share_of_bound` is to reading once per step every weight that a step reads, at the rate measured in that round.
    """
    found = ways(shape, batch_size, seed, compiled=compiled)
    made = {name: way() for name, way in found.items()}
    seconds: dict[str, list[float]] = {name: [] for name in found}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in found}
    bandwidths = []
    for number in range(rounds):
        bandwidths.append(read_bandwidth())
        for name in found if number % 2 else reversed(found):
            began, began_cpu = time.perf_counter(), time.process_time()
            found[name]()
            seconds[name].append(time.perf_counter() - began)
            cpu_seconds[name].append(time.process_time() - began_cpu)
    step_bytes, steps = 4 * shape.num_parameters()[1], shape.num_made
    shares = [steps * step_bytes / rate / ours for rate, ours in zip(bandwidths, cpu_seconds[OURS], strict=True)]
    return {
        "batch": batch_size,
        "bytes_per_step": step_bytes,
        "read_bytes_per_s": bandwidths,
        "share_of_bound": statistics.median(shares),
        "shares_of_step": shares_of(found[OURS]),
        "ways": {
            name: {
                "tokens_per_s": batch_size * steps / statistics.median(seconds[name]),
                "speed": _ratio(seconds[LLAMA], seconds[name]),
                "cpu_speed": _ratio(cpu_seconds[LLAMA], cpu_seconds[name]),
                "same_tokens": (made[name] == made[OURS]).float().mean().item(),
                "all_s": seconds[name],
                "all_cpu_s": cpu_seconds[name],
            }
            for name in found
        },
    }


def _ratio(theirs: list[float], ours: list[float]) -> float:
    """Median over rounds."""
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


def shares_of(way: Way) -> dict[str, float]:
    """What share of the time operations of a kind take, as the profiler sees it; `python` is time between them."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        began = time.perf_counter()
        way()
        total_us = (time.perf_counter() - began) * 1e6
    spent_us = {"products": 0.0, "attention": 0.0, "elementwise": 0.0}
    for event in profiler.key_averages():
        kind = "products" if event.key.startswith(MATRIX_PRODUCTS) else "elementwise"
        spent_us["attention" if event.key.startswith(ATTENTION) else kind] += event.self_cpu_time_total
    spent_us["python"] = max(0.0, total_us - sum(spent_us.values()))
    return {kind: spent / sum(spent_us.values()) for kind, spent in spent_us.items()}
