"""Time the autoregressive family against transformers' LlamaForCausalLM, in one run, on this machine.

Training: one optimizer step. Generation: tokens per second after one given frame, against Llama's static cache and
against a plain loop without a cache.

python -m benchmarks.autoregressive [--shapes nano,cosmos] [--rounds 3] [--batch 8] [--out FILE]
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.contenders import Contender
from benchmarks.machine import describe, matmul_peak, read_bandwidth
from benchmarks.where import time_shares
from worldtune.contract.condition import Condition, Widths
from worldtune.contract.files import write_json
from worldtune.contract.nouns import Batch
from worldtune.contract.randomness import generator
from worldtune.families import autoregressive
from worldtune.families.autoregressive.config import NetworkConfig
from worldtune.families.autoregressive.guide import position_tables
from worldtune.families.autoregressive.network import VideoTransformer
from worldtune.families.autoregressive.presets import preset

OURS, LLAMA, UNCACHED = "WorldTune", "transformers Llama", "without cache"
LIMIT = 1e-4
"""Largest relative difference of loss and gradient norm between the two models."""
OBJECTIVE = autoregressive.Objective(z_loss=0.0, num_observed_min=0, num_observed_max=0)
GREEDY = autoregressive.Sampler(temperature=0.0)
_LLAMA_NAMES = {
    "embed": "model.embed_tokens", "norm": "model.norm", "output": "lm_head", "blocks": "model.layers",
    "self_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm", "self_attention": "self_attn",
    "to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "o_proj", "gate": "gate_proj", "up": "up_proj",
    "down": "down_proj",
}  # fmt: skip


def _plain(config: NetworkConfig, **sizes: int) -> NetworkConfig:
    """What Llama can express: no text, no begin token, no norm of queries and keys."""
    return replace(config, begin_token=False, cross_attention_every=0, qk_norm=False, **sizes)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A network; a clip fills its largest grid."""

    network: NetworkConfig
    training_batch: int

    @property
    def grid(self) -> tuple[int, int, int]:
        """Latent frames, rows, columns."""
        return self.network.max_frames, self.network.max_height, self.network.max_width


SHAPES = {
    "nano": Shape(network=_plain(preset("nano")), training_batch=8),
    "cosmos": Shape(
        network=_plain(
            preset("cosmos-4b"), width=1024, num_layers=4, num_heads=8, num_kv_heads=2, mlp_width=3584, max_frames=4,
            max_height=16, max_width=16,
        ),
        training_batch=1,
    ),
}  # fmt: skip
"""cosmos: the layers of the 4B model at a quarter of its width and depth, 1,024 tokens, the whole vocabulary."""


class SamePositions(nn.Module):
    """Gives Llama our rotary tables, so that both compute the same."""

    def __init__(self, network: VideoTransformer) -> None:
        super().__init__()
        config = network.config
        layout = network.layout(1, config.max_frames, config.max_height, config.max_width)
        tables = position_tables(network.config, layout, torch.device("cpu"), torch.float32)[:2]
        self.cos_SD, self.sin_SD = (torch.cat([table, table], dim=-1) for table in tables)

    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine [B, N, D] at the positions."""
        return self.cos_SD[position_ids].to(x.dtype), self.sin_SD[position_ids].to(x.dtype)


def models(shape: Shape, seed: int) -> tuple[VideoTransformer, Any]:
    """Ours and Llama with equal weights and positions."""
    torch.manual_seed(seed)
    config = shape.network
    ours = VideoTransformer(config, Widths())
    theirs = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.width,
            intermediate_size=config.mlp_width,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            rms_norm_eps=config.norm_eps,
            max_position_embeddings=4096,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=None,
            attn_implementation="sdpa",
        )
    )
    renamed = {_llama_name(key): tensor for key, tensor in ours.state_dict().items()}
    theirs.load_state_dict(renamed, strict=True)
    theirs.model.rotary_emb = SamePositions(ours)
    return ours, theirs


def _llama_name(key: str) -> str:
    return ".".join(_LLAMA_NAMES.get(word, word) for word in key.split("."))


def tokens(shape: Shape, batch: int, seed: int) -> Batch:
    """Random ids."""
    ids = torch.randint(shape.network.vocab_size, (batch, 1, *shape.grid), generator=generator(seed, 0, "tokens"))
    return Batch(
        target=ids,
        controls={},
        fps_hz_B=torch.ones(batch),
        clip_ids=("",) * batch,
        num_observed_B=torch.ones(batch, dtype=torch.int64),
    )


def trainers(shape: Shape, seed: int) -> list[Contender]:
    """Both training steps. ValueError when the models do not compute the same loss and gradient."""
    ours, theirs = models(shape, seed)
    batch = tokens(shape, shape.training_batch, seed)
    batch.num_observed_B = None
    ids_BN = batch.target.flatten(1)

    def our_loss(number: int) -> Tensor:
        return autoregressive.loss(ours, batch, Condition(), generator(seed, number, "loss"), OBJECTIVE)[0]

    def their_loss(number: int) -> Tensor:
        loss: Tensor = theirs(input_ids=ids_BN, labels=ids_BN, use_cache=False).loss
        return loss

    found = [
        Contender(name, model, torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True), loss)
        for name, model, loss in ((OURS, ours, our_loss), (LLAMA, theirs, their_loss))
    ]
    _require_equal(*(_loss_and_norm(contender) for contender in found))
    return found


def _loss_and_norm(contender: Contender) -> tuple[float, float]:
    loss = contender.loss(0)
    loss.backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in contender.trainable if p.grad is not None])
    contender.optimizer.zero_grad(set_to_none=True)
    return loss.item(), norm.item()


def _require_equal(ours: tuple[float, float], theirs: tuple[float, float]) -> None:
    if any(abs(a - b) > LIMIT * abs(b) for a, b in zip(ours, theirs, strict=True)):
        raise ValueError(f"the models differ: loss and gradient norm {ours} against {theirs}")


def generators(shape: Shape, batch_size: int, seed: int, *, uncached: bool) -> dict[str, Callable[[], Tensor]]:
    """Ways to make the tokens after the first frame, greedily; each gives all ids [B, N]."""
    ours, theirs = (model.eval() for model in models(shape, seed))
    batch = tokens(shape, batch_size, seed)
    ids_BN, given = batch.target.flatten(1), shape.grid[1] * shape.grid[2]

    def our_tokens() -> Tensor:
        draws = [torch.Generator() for _ in range(batch_size)]
        return autoregressive.sample(ours, batch, Condition(), Condition(), draws, GREEDY).flatten(1)

    def their_tokens() -> Tensor:
        made: Tensor = theirs.generate(
            ids_BN[:, :given],
            attention_mask=torch.ones_like(ids_BN[:, :given]),
            max_new_tokens=ids_BN.shape[1] - given,
            do_sample=False,
            cache_implementation="static",
            pad_token_id=0,
        )
        return made

    @torch.no_grad()
    def plain_tokens() -> Tensor:
        rows, made_BN = ours.guide(ours.layout(1, *shape.grid)), ids_BN[:, :given]
        while made_BN.shape[1] < ids_BN.shape[1]:
            logits_BX = ours.output(ours.hidden(made_BN, rows)[:, -1])
            made_BN = torch.cat([made_BN, logits_BX.argmax(-1, keepdim=True)], 1)
        return made_BN

    found = {OURS: our_tokens, LLAMA: their_tokens}
    return {**found, UNCACHED: plain_tokens} if uncached else found


def measure_training(shape: Shape, rounds: int, seed: int) -> dict[str, Any]:
    """Seconds of a step of either side, taking turns."""
    found = {contender.name: contender for contender in trainers(shape, seed)}
    steps = {name: (lambda contender=contender: contender.step(0)) for name, contender in found.items()}
    times = _in_turns(steps, rounds)
    return {name: {**_seconds(times[name]), "shares": time_shares(contender, 0)} for name, contender in found.items()}


def measure_generation(shape: Shape, batch_size: int, rounds: int, seed: int, *, uncached: bool) -> dict[str, Any]:
    """Tokens per second of every way, taking turns; and the share of tokens on which each agrees with ours."""
    found = generators(shape, batch_size, seed, uncached=uncached)
    made = {name: make() for name, make in found.items()}
    times = _in_turns(found, rounds)
    count = batch_size * (made[OURS].shape[1] - shape.grid[1] * shape.grid[2])
    return {
        name: {
            **_seconds(times[name]),
            "tokens_per_s": count / min(wall for wall, _ in times[name]),
            "tokens_per_cpu_s": count / min(cpu for _, cpu in times[name]),
            "same_tokens": (made[name] == made[OURS]).float().mean().item(),
        }
        for name in found
    }


def _in_turns(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """(elapsed, spent by our threads) seconds, after one round to warm up; forth and back."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name in ways if number % 2 else reversed(ways):
            began, began_cpu = time.perf_counter(), time.process_time()
            ways[name]()
            if number:
                times[name].append((time.perf_counter() - began, time.process_time() - began_cpu))
    return times


def _seconds(times: list[tuple[float, float]]) -> dict[str, Any]:
    walls, cpus = zip(*times, strict=True)
    return {"min_s": min(walls), "min_cpu_s": min(cpus), "all_s": walls}


def measure(name: str, batch_size: int, rounds: int, seed: int) -> dict[str, Any]:
    """One shape: both jobs, and the bound that memory sets to generation."""
    shape = SHAPES[name]
    training = measure_training(shape, rounds, seed)
    generation = measure_generation(shape, batch_size, rounds, seed, uncached=name == "nano")
    embedding = shape.network.num_embeddings * shape.network.width
    num_parameters = sum(p.numel() for p in VideoTransformer(shape.network, Widths()).parameters())
    bound = batch_size * read_bandwidth() / (4 * (num_parameters - embedding))
    return {
        "shape": name,
        "num_parameters": num_parameters,
        "training": training,
        "batch": batch_size,
        "generation": generation,
        "bound_tokens_per_s": bound,
        "share_of_bound": generation[OURS]["tokens_per_s"] / bound,
    }


def as_table(case: dict[str, Any]) -> Table:
    """One shape for the reader."""
    title = f"{case['shape']}, {case['num_parameters'] / 1e6:.1f} M parameters; generation of {case['batch']} clips, "
    title += f"{case['share_of_bound']:.0%} of what reading every weight once per token allows"
    table = Table("", "step s", "CPU s", "speed", "tokens/s", "per CPU s", "speed", title=title, title_justify="left")
    for name, made in case["generation"].items():
        step = case["training"].get(name)
        numbers = ["", "", ""]
        if step is not None:
            speed = case["training"][LLAMA]["min_cpu_s"] / step["min_cpu_s"]
            numbers = [f"{step['min_s']:.3f}", f"{step['min_cpu_s']:.3f}", f"{speed:.2f}x"]
        speed = made["tokens_per_cpu_s"] / case["generation"][LLAMA]["tokens_per_cpu_s"]
        numbers += [f"{made['tokens_per_s']:.0f}", f"{made['tokens_per_cpu_s']:.0f}", f"{speed:.2f}x"]
        table.add_row(name, *numbers)
    return table


def main() -> None:
    """Measure, print a table, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8, help="clips generated together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/benchmark_autoregressive.json"))
    words = parser.parse_args()
    console = Console(width=140)
    cases = []
    for name in words.shapes.split(","):
        cases.append(measure(name, words.batch, words.rounds, words.seed))
        console.print(as_table(cases[-1]))
    record = {"machine": describe(), "peak_gflop_per_s": matmul_peak(torch.float32) / 1e9, "seed": words.seed}
    write_json(words.out, {**record, "rounds": words.rounds, "cases": cases})
    console.print(f"written to {words.out}")


if __name__ == "__main__":
    main()
