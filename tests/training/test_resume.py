"""20 steps == some steps, kill -9, the rest: bit for bit."""

import signal
import subprocess
import sys
from pathlib import Path

import torch

from tests.training.toys import train_toy
from worldtune.training.log import read_metrics

TIMINGS = {"seconds", "tokens_per_s"}


def _without_timings(folder: Path) -> list[dict[str, float | str]]:
    return [{name: value for name, value in row.items() if name not in TIMINGS} for row in read_metrics(folder)]


def test_killed_run_continues_bit_for_bit(tmp_path: Path) -> None:
    whole = train_toy(tmp_path / "whole", 20)

    killed = tmp_path / "killed"
    # Step 12 is after the checkpoint of step 10: rows 11 and 12 are logged and must be dropped again.
    command = [sys.executable, "-m", "tests.training.toys", str(killed), "20", "12"]
    result = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert [row["step"] for row in read_metrics(killed)][-1] == 12
    resumed = train_toy(killed, 20)

    wanted, got = whole.tree(), resumed.tree()
    assert wanted.keys() == got.keys()
    assert [name for name in wanted if not torch.equal(wanted[name], got[name])] == []
    assert {name.split("/")[0] for name in wanted} == {"step", "model", "ema", "optimizer"}
    assert _without_timings(tmp_path / "whole") == _without_timings(killed)
    assert len(_without_timings(killed)) == 20


def test_half_written_row_is_dropped(tmp_path: Path) -> None:
    train_toy(tmp_path, 5)
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"kind": "train", "st')
    state = train_toy(tmp_path, 6)
    assert state.step == 6
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 3, 4, 5, 6]
