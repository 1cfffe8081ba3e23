"""Time a post-training step of WorldTune and of diffusers' CosmosTransformer3DModel, in one run, on this machine.

python -m benchmarks.training_step [--shapes tiny,wide,nano] [--precisions fp32] [--rounds 3] [--out FILE]
"""

import argparse
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import parity
from benchmarks.contenders import Contender, contenders
from benchmarks.machine import describe, matmul_peak
from benchmarks.shapes import SHAPES, Shape, step_flops
from benchmarks.where import time_shares
from worldtune.contract.files import write_json
from worldtune.networks.chunked_attention import cpu_multiplies_bf16

REFERENCE = "diffusers, sigma per frame"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured."""

    shapes: tuple[str, ...]
    precisions: tuple[str, ...]
    adapters: tuple[bool, ...]
    rounds: int
    steps_per_round: int
    warmup: int
    seed: int


def main() -> None:
    """Measure, print a table, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--precisions", default="fp32,bf16,mixed" if cpu_multiplies_bf16() else "fp32")
    parser.add_argument("--adapters", default="full,lora")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="steps of a contender before the next one's turn")
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/benchmark_training_step.json"))
    words = parser.parse_args()
    plan = Plan(
        shapes=tuple(words.shapes.split(",")),
        precisions=tuple(words.precisions.split(",")),
        adapters=tuple(word == "lora" for word in words.adapters.split(",")),
        rounds=words.rounds,
        steps_per_round=words.steps,
        warmup=words.warmup,
        seed=words.seed,
    )
    console = Console(width=140)
    if not cpu_multiplies_bf16():
        console.print("This CPU has no bf16 instructions: bf16 is emulated, dozens of times slower, and left out.")
    cases = []
    for name in plan.shapes:
        for lora in plan.adapters:
            small = SHAPES[name].smaller()
            difference = parity.check(contenders(small, precision="fp32", lora=lora, seed=plan.seed))
            for precision in plan.precisions:
                cases.append(measure(SHAPES[name], precision, lora, plan, difference))
                console.print(as_table(cases[-1]))
                write_json(words.out, {"machine": describe(), "plan": asdict(plan), "cases": cases})
    console.print(f"written to {words.out}")


def measure(shape: Shape, precision: str, lora: bool, plan: Plan, difference: float) -> dict[str, Any]:
    """All contenders on one shape: they take turns, back and forth, so that a slow moment hits all of them.

    `difference` is between them, in fp32: see `parity`.
    """
    found = contenders(shape, precision=precision, lora=lora, seed=plan.seed)
    product_dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    peaks = [matmul_peak(product_dtype)]
    times: dict[str, list[tuple[float, float]]] = {contender.name: [] for contender in found}
    for round_number in range(plan.rounds + 1):
        is_warmup = round_number == 0
        for contender in found if round_number % 2 else reversed(found):
            measured = _run(contender, plan.warmup if is_warmup else plan.steps_per_round)
            times[contender.name] += [] if is_warmup else measured
        peaks.append(matmul_peak(product_dtype))
    flops = step_flops(shape, frozen=lora)
    reference_s, reference_cpu_s = (min(column) for column in zip(*times[REFERENCE], strict=True))
    rows = [_summary(c, times[c.name], flops / max(peaks), reference_s, reference_cpu_s) for c in found]
    return {
        "shape": shape.name,
        "precision": precision,
        "adapters": "lora" if lora else "full",
        "num_parameters": sum(parameter.numel() for parameter in found[0].model.parameters()),
        "step_gflop": flops / 1e9,
        "peak_gflop_per_s": max(peaks) / 1e9,
        "lowest_peak_gflop_per_s": min(peaks) / 1e9,
        "largest_difference": difference,
        "contenders": rows,
    }


def _run(contender: Contender, count: int) -> list[tuple[float, float]]:
    """(elapsed, spent by all our threads) seconds of every step. Other people's work disturbs the latter less."""
    times = []
    for number in range(count):
        began, began_cpu = time.perf_counter(), time.process_time()
        contender.step(number)
        times.append((time.perf_counter() - began, time.process_time() - began_cpu))
    return times


def _summary(
    contender: Contender,
    times: list[tuple[float, float]],
    ideal_cpu_s: float,
    reference_s: float,
    reference_cpu_s: float,
) -> dict[str, Any]:
    seconds, cpu_seconds = ([pair[i] for pair in times] for i in (0, 1))
    return {
        "name": contender.name,
        "min_s": min(seconds),
        "median_s": statistics.median(seconds),
        "min_cpu_s": min(cpu_seconds),
        "all_s": seconds,
        "speedup": reference_s / min(seconds),
        "cpu_speedup": reference_cpu_s / min(cpu_seconds),
        "utilisation": ideal_cpu_s / min(cpu_seconds),
        "shares": time_shares(contender, 0),
    }


def as_table(case: dict[str, Any]) -> Table:
    """One case for the reader: seconds, speed against the reference, utilisation, and what bounds each contender."""
    title = (
        f"{case['shape']} {case['precision']} {case['adapters']}: {case['step_gflop']:.0f} GFLOP a step, peak "
        f"{case['peak_gflop_per_s']:.0f} GFLOP/s (lowest {case['lowest_peak_gflop_per_s']:.0f}), "
        f"models differ by {case['largest_difference']:.0e}"
    )
    table = Table(title=title, title_justify="left")
    for heading in (
        "",
        "min s",
        "median s",
        "speed",
        "CPU s",
        "speed",
        "MFU",
        "products",
        "attention",
        "elementwise",
        "optimizer",
    ):
        table.add_column(heading, justify="left" if not heading else "right")
    for row in case["contenders"]:
        shares = [f"{share:.0%}" for share in row["shares"].values()]
        numbers = [f"{row['min_s']:.3f}", f"{row['median_s']:.3f}", f"{row['speedup']:.2f}x"]
        numbers += [f"{row['min_cpu_s']:.3f}", f"{row['cpu_speedup']:.2f}x", f"{row['utilisation']:.0%}"]
        table.add_row(row["name"], *numbers, *shares)
    return table


if __name__ == "__main__":
    main()
