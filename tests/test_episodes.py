"""Intervals of older reports, drawn over episodes."""

from pathlib import Path

import pytest

from recipes.episodes import episode_of, main, with_episodes
from tests.report.sample_report import sample_report
from worldtune.contract.files import read_json, write_json

RESULTS = Path(__file__).parents[1] / "results"


def sample() -> dict:
    """Two clips of one episode and one of another, without FD-own."""
    report = sample_report()
    del report["num_episodes"]
    gains_db = (1.0, 1.0, 4.0)
    for number, (clip, gain_db) in enumerate(zip(report["per_clip"], gains_db, strict=True)):
        clip["id"] = f"toy-{number // 2:06d}-{number:06d}"
        clip["psnr_db"]["post-trained"] = clip["psnr_db"]["base"] + gain_db
    report["values"]["post-trained"]["psnr_db"]["value"] = report["values"]["base"]["psnr_db"]["value"] + 2
    report["differences"] = report["differences"][:1]
    report["differences"][0]["values"]["psnr_db"]["value"] = 2.0
    return report


def test_whole_episodes_are_drawn() -> None:
    report = with_episodes(sample())
    gain = report["differences"][0]["values"]["psnr_db"]
    assert (gain["value"], gain["low"], gain["high"]) == (2.0, 1.0, 4.0)
    assert report["num_episodes"] == 2
    assert "[+1.00 .. +4.00] over the base on 3 held-out clips" in report["verdict"][0]
    assert report["values"]["base"]["fd_own"] == sample()["values"]["base"]["fd_own"], "cannot be drawn again"


def test_drawing_again_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert episode_of("tabletop-001200-000008") == "tabletop-001200"
    path = tmp_path / "report.json"
    write_json(path, sample())
    main([str(path)])
    once = path.read_bytes()
    main([str(path)])
    assert path.read_bytes() == once
    assert capsys.readouterr().out.count("3 clips of 2 episodes") == 2


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_no_result_has_intervals_over_clips(path: Path) -> None:
    report = read_json(path)
    assert "per_clip" not in report or "num_episodes" in report
