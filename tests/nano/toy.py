"""What the tests of pre-training share: a toy rendering, and a run that is killed half-way."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nano import pretraining
from nano.data import WORLDS


def rendered(folder: Path) -> Path:
    """Two noise clips of 25 frames for every world and split."""
    draw = np.random.default_rng(0)
    for world in WORLDS:
        for split in ("train", "val"):
            (folder / world / split).mkdir(parents=True)
            video = draw.integers(0, 256, (2, 1, 25, 64, 64, 3), dtype=np.uint8)
            np.savez(folder / world / split / "0.npz", video=video, captions=np.array(["a cube", "a door opens"]))
    return folder


def run_killed_and_whole(run: Callable[[str], None], whole: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run into "killed", cut off after the checkpoint of step 2; then again there, and into `whole` without a break."""
    save = pretraining.checkpoint.save

    def dying(folder: Path, state: Any, **rest: Any) -> None:
        save(folder, state, **rest)
        if state.step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pretraining.checkpoint, "save", dying)
        with pytest.raises(KeyboardInterrupt):
            run("killed")
    for name in ("killed", whole):
        run(name)
