"""The benchmark of a step at real size, at toy size."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.real_size import main


@pytest.mark.parametrize(("family", "cells"), [("diffusion", 4 * 4 * 4), ("autoregressive", 4 * 2 * 2)])
def test_adapters_of_the_nano_models_are_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, cells: int
) -> None:
    clip = "--frames 25 --height 32 --width 32 --steps 3"
    monkeypatch.setattr(sys, "argv", ["real_size", family, "nano", *clip.split(), "--out", str(tmp_path / "out.json")])
    main()
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["cells"] == cells
    assert len(found["step_s"]) == 2
    assert min(found["step_s"]) > 0
    assert 0 < found["trained"] < found["parameters"] / 10
    assert "torch" in found["made"]["libraries"]


def test_a_model_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["real_size", "diffusion", "cosmos-7b-video2word"])
    with pytest.raises(ValueError, match="cosmos-7b-video2world"):
        main()
