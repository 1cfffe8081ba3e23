"""The recipe that measures drift: every rollout is as long as the truth, and a fault shows in its chunk only."""

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from recipes import drift, drift_plot, drift_sheet
from tests.steering.toy import make_run
from worldtune.contract.files import read_json, write_json
from worldtune.controls.action import obedience
from worldtune.metrics import probe
from worldtune.metrics.pixels import PSNR_LIMIT_DB
from worldtune.stages.probes import Judge
from worldtune.steering.state import FRAMES, TOKENS, Pace

TRIED = (drift.DEFAULT, "four steps")


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy run as in a matrix, with its dataset under data."""
    folder = tmp_path_factory.mktemp("drift")
    make_run(folder, "diffusion", ("camera",)).rename(folder / "run-0")
    return folder


@pytest.fixture(scope="module")
def report(cell: Path) -> dict[str, Any]:
    """Two variants, two chunks, two clips of a toy run."""
    args = argparse.Namespace(
        cell=cell,
        long=cell / "data",
        out=cell / "drift.json",
        clips=2,
        chunks=3,
        seed=0,
        only=[drift.DEFAULT],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "VISITS", 100)
        drift.measured(args)
        first = str(read_json(args.out)["variants"][drift.DEFAULT])
        args.only = []
        patch.setattr(drift, "VARIANTS", {"diffusion": {name: drift.VARIANTS["diffusion"][name] for name in TRIED}})
        result = drift.measured(args)
    assert str(result["variants"][drift.DEFAULT]) == first, "what is there is not measured again"
    args.chunks = 2
    with pytest.raises(ValueError, match="drift.json: measured with another num_chunks; choose another file"):
        drift.measured(args)
    args.chunks = 3
    write_json(args.out, {**result, "weights_hash": "of another run"})
    with pytest.raises(ValueError, match="drift.json: measured with another weights_hash; choose another file"):
        drift.measured(args)
    return result


def test_every_measure_of_every_variant_by_chunk(report: dict[str, Any]) -> None:
    measures = {"psnr_db", "sharpness", "camera_step_rotation_deg", "camera_step_translation_m"}
    assert report["measures"].keys() == measures
    assert list(report["variants"]) == list(TRIED)
    for one in (*(variant["by_chunk"] for variant in report["variants"].values()), report["bounds"]["codec"]):
        assert one.keys() == measures
        assert {len(rows) for rows in one.values()} == {3}
    assert report["bounds"]["another control"].keys() == measures - {"psnr_db", "sharpness"}
    assert [row["value"] for row in report["bounds"]["truth"]["psnr_db"]] == pytest.approx([PSNR_LIMIT_DB] * 3)
    assert report["variants"]["four steps"]["by_chunk"] != report["variants"][drift.DEFAULT]["by_chunk"]
    assert "/" not in report["run"]["data"]


def test_curves_are_drawn(
    report: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_json(tmp_path / "a.json", report)
    monkeypatch.setattr("sys.argv", ["drift_plot", str(tmp_path / "a.png"), str(tmp_path / "a.json")])
    drift_plot.main()
    assert (tmp_path / "a.png").stat().st_size > 1000
    rows = report["variants"]["four steps"]["by_chunk"]["psnr_db"]
    late = (rows[1]["value"] + rows[2]["value"]) / 2
    assert f"| four steps | {rows[0]['value']:.2f}, {late:.2f} |" in capsys.readouterr().out


def test_frames_are_shown_in_the_same_rows(cell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift_sheet, "PACES", {"diffusion": {"diffusion": 1, "--chunk 2": 2}})
    rows = drift_sheet.rows_of(cell, cell / "data", num_clips=2, chunks=2, seed=0)
    assert list(rows) == ["truth", "diffusion", "--chunk 2"]
    assert len({video.shape for videos in rows.values() for video in videos}) == 1, "all as long as the truth"
    for made in (rows["diffusion"], rows["--chunk 2"]):
        assert all((video[0] == truth[0]).all() for video, truth in zip(made, rows["truth"], strict=True))
        assert all((video[1:] != truth[1:]).any() for video, truth in zip(made, rows["truth"], strict=True))
    words = ["drift_sheet", str(tmp_path / "a.webp"), str(cell / "data"), str(cell), "--clips", "2", "--chunks", "2"]
    monkeypatch.setattr("sys.argv", words)
    drift_sheet.main()
    assert (tmp_path / "a.webp").stat().st_size > 0


def test_a_fault_shows_in_its_chunk() -> None:
    commanded_TD = np.arange(10.0).reshape(5, 2)
    read_TD = commanded_TD.copy()
    read_TD[3] += 4
    judge = Judge(
        room=cast(Any, obedience),
        probe=cast(Any, SimpleNamespace(read=lambda video: read_TD)),
        schooling=cast(Any, None),
        deviation_D=np.array([2.0, np.nan]),
        num_looks=1,
        stride=1,
    )
    found = drift.Reader(control="action", judge=judge).errors(np.empty(0), commanded_TD)
    assert found == {"action_error_std": [0, 0, 2, 0]}, "in deviations, without the number that cannot be read"


@pytest.mark.parametrize(("family", "carry"), [("diffusion", FRAMES), ("autoregressive", TOKENS)])
def test_variants_fit_the_window_of_the_shipped_bases(family: str, carry: str) -> None:
    for pace, _ in drift.VARIANTS[family].values():
        assert 24 % Pace(**{"window": 5, "carry": carry, **pace}).chunk == 0
    with pytest.raises(ValueError, match="--only twice: wanted some of as shipped, "):
        drift.chosen(family, ["twice"])
