"""Time the autoregressive family against Llama of the same shape and weights, in one run, on this machine.

Training: one optimizer step, against transformers' LlamaForCausalLM, and litgpt's model when litgpt is installed.
Generation: tokens per second after one given frame, against Llama's static cache and a plain loop without a cache.

python -m benchmarks.autoregressive [--shapes nano,cosmos,wide] [--jobs training,generation] [--precisions fp32]
    [--rounds 9] [--threads 1] [--compiled] [--out FILE]
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks import generation, llamas
from benchmarks.contenders import PRECISIONS, Contender, in_bf16
from benchmarks.generation import LLAMA, OURS, tokens
from benchmarks.llamas import SHAPES, Shape
from benchmarks.machine import describe, matmul_peak
from benchmarks.where import time_shares
from worldtune.contract.condition import Condition
from worldtune.contract.files import write_json
from worldtune.contract.randomness import generator
from worldtune.families import autoregressive
from worldtune.networks.chunked_attention import cpu_multiplies_bf16

LITGPT = "litgpt"
LIMIT = 1e-4
"""Largest relative difference of loss and gradient norm between the models."""
OBJECTIVE = autoregressive.Objective(z_loss=0.0, num_observed_min=0, num_observed_max=0)


def trainers(shape: Shape, precision: str, seed: int) -> list[Contender]:
    """The training steps. ValueError when models in fp32 do not compute the same loss and gradient."""
    dtype, mixed = PRECISIONS[precision]
    ours, llama = llamas.ours(shape, seed).to(dtype), llamas.llama(llamas.ours(shape, seed).to(dtype))
    litgpt = llamas.litgpt(llamas.ours(shape, seed).to(dtype))
    batch = tokens(shape, shape.training_batch, seed)
    batch.num_observed_B = None
    ids_BN = batch.target.flatten(1)

    def our_loss(number: int) -> Tensor:
        return autoregressive.loss(ours, batch, Condition(), generator(seed, number, "loss"), OBJECTIVE)[0]

    def llama_loss(number: int) -> Tensor:
        loss: Tensor = llama(input_ids=ids_BN, labels=ids_BN, use_cache=False).loss
        return loss

    def litgpt_loss(number: int) -> Tensor:
        from litgpt.utils import chunked_cross_entropy

        return chunked_cross_entropy(litgpt(ids_BN[:, :-1]), ids_BN[:, 1:])

    found = [
        Contender(
            name, model, torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True), in_bf16(loss) if mixed else loss
        )
        for name, model, loss in ((OURS, ours, our_loss), (LLAMA, llama, llama_loss), (LITGPT, litgpt, litgpt_loss))
        if model is not None
    ]
    if precision == "fp32":
        first = _loss_and_norm(found[0])
        for contender in found[1:]:
            _require_equal(contender.name, _loss_and_norm(contender), first)
    return found


def _loss_and_norm(contender: Contender) -> tuple[float, float]:
    loss = contender.loss(0)
    loss.backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in contender.trainable if p.grad is not None])
    contender.optimizer.zero_grad(set_to_none=True)
    return loss.item(), norm.item()


def _require_equal(name: str, theirs: tuple[float, float], ours: tuple[float, float]) -> None:
    if any(abs(a - b) > LIMIT * abs(a) for a, b in zip(ours, theirs, strict=True)):
        raise ValueError(f"{name} differs from ours: loss and gradient norm {theirs} against {ours}")


def measure_training(shape: Shape, precision: str, rounds: int, seed: int) -> dict[str, Any]:
    """Seconds of a step of every side, taking turns, and Llama's over each, round by round."""
    found = {contender.name: contender for contender in trainers(shape, precision, seed)}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in found}
    for number in range(rounds + 1):
        for name in found if number % 2 else reversed(found):
            began, began_cpu = time.perf_counter(), time.process_time()
            found[name].step(0)
            if number:
                times[name].append((time.perf_counter() - began, time.process_time() - began_cpu))
    return {
        name: {
            "speed": _ratio(times[LLAMA], times[name], 0),
            "cpu_speed": _ratio(times[LLAMA], times[name], 1),
            "all_s": [wall for wall, _ in times[name]],
            "all_cpu_s": [cpu for _, cpu in times[name]],
            "shares": time_shares(contender, 0),
        }
        for name, contender in found.items()
    }


def _ratio(theirs: list[tuple[float, float]], ours: list[tuple[float, float]], clock: int) -> float:
    """Median over rounds."""
    return statistics.median(a[clock] / b[clock] for a, b in zip(theirs, ours, strict=True))


def measure(
    name: str, jobs: Sequence[str], precisions: Sequence[str], rounds: int, seed: int, *, compiled: bool
) -> dict[str, Any]:
    """One shape: training in each precision, and generation in fp32."""
    shape = SHAPES[name]
    trained = precisions if shape.training_batch and "training" in jobs else ()
    made = shape.generated if "generation" in jobs else ()
    return {
        "shape": name,
        "num_parameters": shape.num_parameters()[0],
        "training": {precision: measure_training(shape, precision, rounds, seed) for precision in trained},
        "generation": [generation.measure(shape, size, rounds, seed, compiled=compiled) for size in made],
    }


def as_tables(case: dict[str, Any]) -> list[Table]:
    """One shape for the reader."""
    title = f"{case['shape']}, {case['num_parameters'] / 1e6:.1f} M parameters"
    found = []
    for precision, rows in case["training"].items():
        heading = f"training step, {precision}"
        table = Table(heading, "median s", "speed", "by CPU time", title=title, title_justify="left")
        for name, row in rows.items():
            seconds = f"{statistics.median(row['all_s']):.3f}"
            table.add_row(name, seconds, f"{row['speed']:.2f}x", f"{row['cpu_speed']:.2f}x")
        found.append(table)
    for made in case["generation"]:
        words = (
            f"{title}; {made['batch']} clips at a time, {made['share_of_bound']:.0%} of what reading the weights once"
        )
        words += " per step allows; time of ours: " + _percentages(made["shares_of_step"])
        table = Table(
            "generation", "tokens/s", "speed", "by CPU time", "same tokens", title=words, title_justify="left"
        )
        for name, row in made["ways"].items():
            rates = f"{row['tokens_per_s']:.0f}", f"{row['speed']:.2f}x", f"{row['cpu_speed']:.2f}x"
            table.add_row(name, *rates, f"{row['same_tokens']:.0%}")
        found.append(table)
    return found


def _percentages(shares: dict[str, float]) -> str:
    return ", ".join(f"{kind} {share:.0%}" for kind, share in shares.items())


def main() -> None:
    """Measure, print tables, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--jobs", default="training,generation")
    parser.add_argument("--precisions", default="fp32,bf16,mixed" if cpu_multiplies_bf16() else "fp32")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compiled", action="store_true", help="generation with torch.compile too; minutes to compile")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/benchmark_autoregressive.json"))
    words = parser.parse_args()
    torch.set_num_threads(words.threads)
    console, cases, peak = Console(width=140), [], matmul_peak(torch.float32)
    for name in words.shapes.split(","):
        jobs, precisions = words.jobs.split(","), words.precisions.split(",")
        cases.append(measure(name, jobs, precisions, words.rounds, words.seed, compiled=words.compiled))
        console.print(*as_tables(cases[-1]))
        record = {"machine": describe(), "peak_gflop_per_s": peak / 1e9, "seed": words.seed}
        write_json(words.out, {**record, "rounds": words.rounds, "cases": cases})
    console.print(f"written to {words.out}")


if __name__ == "__main__":
    main()
