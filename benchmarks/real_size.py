"""Time and memory of a training step at real size, with random weights: does it fit my GPU, and how long will it take?

The step is the one of `worldtune train`: fp32 weights, computed in bf16, its loop, loss, clipping and optimizer; blocks
are recomputed in the backward pass. No released weights are needed: neither time nor memory depend on their values.

    python -m benchmarks.real_size diffusion cosmos-7b-video2world --frames 121 --height 704 --width 1280
    python -m benchmarks.real_size autoregressive cosmos-5b-video2world --frames 33 --height 640 --width 1024
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from worldtune.contract.condition import Condition, Widths
from worldtune.contract.files import write_json
from worldtune.contract.nouns import Batch
from worldtune.families import autoregressive, diffusion
from worldtune.families.autoregressive import presets as token_models
from worldtune.families.autoregressive.network import VideoTransformer
from worldtune.families.diffusion import presets as latent_models
from worldtune.families.diffusion.logvariance import DiffusionModel
from worldtune.stages.provenance import circumstances
from worldtune.training import adapters, optim
from worldtune.training.ema import EmaConfig
from worldtune.training.loop import LoopConfig, train
from worldtune.training.parallel import ParallelConfig, Processes, processes, wrap
from worldtune.training.state import TrainState

TEXT_ROWS = 512


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model on a clip of one view."""

    family: Any
    model: nn.Module
    objective: Any
    target: Tensor
    """Latents or tokens of a clip, with a leading batch and view axis."""
    text_width: int


def case(family: str, name: str, frames: int, height: int, width: int, device: torch.device) -> Case:
    """A model of random weights and a clip of random content, on the grid of Cosmos' tokenizers. ValueError for a name
    that the family does not have."""
    draw, latent_frames = torch.Generator().manual_seed(0), 1 + (frames - 1) // 8
    with torch.device(device):
        if family == "diffusion":
            room: Any = diffusion
            config = latent_models.preset(name)
            model: nn.Module = DiffusionModel(config, Widths(text=config.text_channels))
            shape = 1, 1, latent_frames, height // 8, width // 8, config.latent_channels
            target = torch.randn(shape, generator=draw, device="cpu")
        else:
            room, tokens = autoregressive, token_models.preset(name)
            config, model = tokens, VideoTransformer(tokens, Widths(text=tokens.text_channels))
            shape = 1, 1, latent_frames, height // 16, width // 16
            target = torch.randint(tokens.vocab_size, shape, generator=draw, device="cpu")
    return Case(family=room, model=model, objective=room.Objective(), target=target, text_width=config.text_channels)


def measure(words: argparse.Namespace, where: Processes) -> dict[str, Any]:
    """Seconds of every step after the first, and the most memory that was ever taken."""
    chosen = case(words.family, words.model, words.frames, words.height, words.width, where.device)
    family, model = chosen.family, chosen.model
    config = adapters.AdapterConfig(train=words.train, rank=words.rank)
    adapters.adapt(model, config, targets=family.adapter_targets(model), condition=[], seed=0)
    wrap(model, family.wrap_units(model), ParallelConfig(activation_checkpointing=True), where, entry="loss", bf16=True)
    settings = optim.OptimConfig()
    state = TrainState.fresh(model, settings, EmaConfig(std=0))
    text = Condition(text_BVLD=torch.randn(1, 1, TEXT_ROWS, chosen.text_width, device=where.device))
    batch = Batch(target=chosen.target, controls={}, fps_hz_B=torch.full((1,), 24.0), clip_ids=("random",))
    seconds: list[float] = []

    def report(kind: str, step: int, values: dict[str, float]) -> None:
        seconds.append(values["seconds"])
        print(f"{words.model} step {step}: {values['seconds']:.2f} s, loss {values['loss']:.3f}", flush=True)

    train(
        state,
        lambda step: batch,
        lambda piece, draw: family.loss(model, piece, text, draw, chosen.objective),
        config=LoopConfig(steps=words.steps, batch_size=1, validate_every=0, checkpoint_every=words.steps),
        optim=settings,
        precision="bf16",
        seed=0,
        where=where,
        report=report,
        validate=dict,
        save=lambda loss: None,
    )
    peak = torch.cuda.max_memory_allocated() if where.device.type == "cuda" else 0
    return {
        "model": words.model,
        "clip": {"frames": words.frames, "height_px": words.height, "width_px": words.width},
        "cells": chosen.target.shape[:5].numel(),
        "train": words.train,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trained": sum(parameter.numel() for parameter in state.parameters.values()),
        "step_s": seconds[1:],
        "peak_memory_gb": round(peak / 1e9, 2),
        "device": torch.cuda.get_device_name() if where.device.type == "cuda" else "cpu",
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=("diffusion", "autoregressive"))
    parser.add_argument("model", help=", ".join([*latent_models.PRESETS, *token_models.PRESETS]))
    parser.add_argument("--frames", type=int, default=33)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--train", choices=("lora", "all"), default="lora")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--out", type=Path)
    words = parser.parse_args()
    began = time.perf_counter()
    with processes() as where:
        result = measure(words, where)
    result = {**result, "whole_s": round(time.perf_counter() - began, 1), "made": circumstances()}
    print({name: value for name, value in result.items() if name != "made"})
    if words.out:
        write_json(words.out, result)


if __name__ == "__main__":
    main()
