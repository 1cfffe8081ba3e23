"""Two processes train the same model as one. Starts processes, so it is skipped unless WORLDTUNE_SLOW is set."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.toys import toy_batches, toy_world
from worldtune.training import checkpoint, loop
from worldtune.training.batches import rows
from worldtune.training.ema import EmaConfig
from worldtune.training.loop import LoopConfig
from worldtune.training.optim import OptimConfig
from worldtune.training.parallel import ParallelConfig, Processes, processes, wrap
from worldtune.training.state import TrainState

ROOT = Path(__file__).parents[2]


def train_share(folder: Path, first_steps: int, steps: int) -> dict[str, torch.Tensor]:
    """Train, save, and train on from the checkpoint in a fresh state; the weights at the end."""
    optim = OptimConfig(lr=1e-2)
    with processes() as where:
        for stop in (first_steps, steps):
            world = toy_world(dropout=0.0)
            wrap(world, [world.up, world.down], ParallelConfig(), where, entry="exact_loss", bf16=False)
            state = TrainState.fresh(world, optim, EmaConfig())
            if newest := checkpoint.latest(folder):
                checkpoint.load(newest, state, where=where)
            loop.train(
                state,
                lambda step: rows(
                    toy_batches()(step), 4 * where.rank // where.size, 4 * (where.rank + 1) // where.size
                ),
                world.exact_loss,
                config=LoopConfig(steps=stop, batch_size=4, validate_every=0),
                optim=optim,
                precision="fp32",
                seed=0,
                where=where,
                report=lambda kind, step, values: None,
                validate=dict,
                save=lambda loss: checkpoint.save(folder, state, where=where, validation_loss=loss, keep=1),  # noqa: B023
            )
        return {**state.averaged_weights(), "raw": state.weights()["up.weight"].clone()}


@pytest.mark.skipif("WORLDTUNE_SLOW" not in os.environ, reason="starts processes; set WORLDTUNE_SLOW=1 to run it")
def test_two_processes_equal_one(tmp_path: Path) -> None:
    alone = train_share(tmp_path / "alone", 2, 4)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        "-m",
        "tests.training.test_parallel",
    ]
    result = subprocess.run([*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    together = torch.load(tmp_path / "together.pt", weights_only=True)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_alone_without_torchrun() -> None:
    with processes() as where:
        assert (where.rank, where.size, where.is_first) == (0, 1, True)
        assert where.mean(torch.tensor(3.0)) == 3.0


def test_a_missing_compiler_is_named_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    world = toy_world()
    with pytest.raises(ValueError, match=r"parallel.compile.*no-such-compiler"):
        wrap(world, [world.up], ParallelConfig(compile=True), Processes(), entry="loss", bf16=False)


if __name__ == "__main__":
    results = train_share(Path(sys.argv[1]) / "shared", 2, 4)
    torch.save(results, Path(sys.argv[1]) / "together.pt")
