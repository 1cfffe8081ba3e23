"""A toy model and toy clips in memory, for the training package alone.

Run as a script it trains in a folder and kills itself, for the test of exact resume.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from worldtune.contract.nouns import Batch
from worldtune.contract.randomness import generator
from worldtune.training import checkpoint, loop
from worldtune.training.batches import order
from worldtune.training.ema import EmaConfig
from worldtune.training.log import MetricsLog
from worldtune.training.loop import LoopConfig
from worldtune.training.optim import OptimConfig
from worldtune.training.parallel import Processes
from worldtune.training.state import TrainState

NUM_CLIPS = 7


class ToyWorld(nn.Module):
    """Predicts a clip from a noisy copy of it; has all that can go wrong: embedding, norm, dropout, buffer, bias."""

    def __init__(self, width: int = 8, dropout: float = 0.1) -> None:
        super().__init__()
        self.up = nn.Linear(4, width)
        self.norm = nn.LayerNorm(width)
        self.places = nn.Embedding(3, width)
        self.dropout = nn.Dropout(dropout)
        self.down = nn.Linear(width, 4)
        self.register_buffer("num_seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        places = self.places(torch.arange(3))[:, None, None]
        return self.down(self.dropout(self.norm(self.up(x) + places).tanh()))

    def loss(self, batch: Batch, noise: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        noisy = batch.target + torch.randn(batch.target.shape, generator=noise)
        error = (self(noisy) + batch.controls["toy"]["shift"] - batch.target).square().mean()
        if self.training:
            self.num_seen += batch.size
        return error, {"double": 2 * error}

    def exact_loss(self, batch: Batch, noise: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Without noise, so that a batch and its pieces can be compared."""
        return (self(batch.target) - batch.target).square().mean(), {}


def toy_world(seed: int = 0, dropout: float = 0.1) -> ToyWorld:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ToyWorld(dropout=dropout)


def toy_batch(indices: list[int]) -> Batch:
    """Clips [V 1, T 3, H 2, W 2, C 4] that are a function of their index."""
    clips = [torch.randn(1, 3, 2, 2, 4, generator=generator(0, index, "toy clip")) for index in indices]
    return Batch(
        target=torch.stack(clips),
        controls={"toy": {"shift": torch.stack([clip.mean() * torch.ones_like(clip) for clip in clips])}},
        fps_hz_B=torch.full((len(indices),), 10.0),
        clip_ids=tuple(f"clip{index}" for index in indices),
    )


def toy_batches(batch_size: int = 4) -> Callable[[int], Batch]:
    return lambda step: toy_batch(order(0, step, NUM_CLIPS, batch_size))


def train_toy(folder: Path, steps: int, kill_after: int | None = None) -> TrainState:
    """Train in a folder from its newest checkpoint, as the stage does; kill -9 ourselves after some step."""
    config = LoopConfig(steps=steps, batch_size=4, accumulate=2, checkpoint_every=5, validate_every=0)
    optim, where = OptimConfig(lr=1e-2, warmup_steps=3), Processes()
    world = toy_world()
    state = TrainState.fresh(world, optim, EmaConfig())
    if newest := checkpoint.latest(folder):
        checkpoint.load(newest, state, where=where)
    log = MetricsLog(folder, state.step)

    def report(kind: str, step: int, values: dict[str, float]) -> None:
        log.row(kind, step, values)
        if step == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    def save(validation_loss: float | None) -> None:
        checkpoint.save(folder, state, where=where, validation_loss=validation_loss, keep=2)

    loop.train(
        state,
        toy_batches(),
        world.loss,
        config=config,
        optim=optim,
        precision="fp32",
        seed=0,
        where=where,
        report=report,
        validate=dict,
        save=save,
    )
    log.close()
    return state


if __name__ == "__main__":
    train_toy(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
