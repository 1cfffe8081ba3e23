"""The verdict in words."""

import pytest

from tests.report.sample_report import pooled, sample_report
from worldtune.report.verdict import verdict


def test_the_verdict_names_gap_interval_clips_and_bounds() -> None:
    sentences = verdict(sample_report())
    assert sentences[0] == (
        "Post-trained is +2.75 dB PSNR [+2.25 .. +3.25] over the base on 3 held-out clips, 2 seeds: better."
    )
    assert sentences[2] == "PSNR in dB: floor (copy) 20.12, base 21.50, post-trained 24.25, ceiling (codec) 30.75."
    assert "n too small" in sentences[3]


@pytest.mark.parametrize(
    ("value", "words"), [(2.0, ": better."), (-2.0, ": worse."), (0.2, ": no certain difference.")]
)
def test_certainty_follows_the_interval(value: float, words: str) -> None:
    report = sample_report()
    report["differences"][0]["values"]["psnr_db"] = pooled(value)
    assert verdict(report)[0].endswith(words)


def test_one_clip_gives_no_certainty() -> None:
    report = sample_report()
    report["differences"][0]["values"]["psnr_db"] |= {"low": None, "high": None}
    report["num_clips"] = report["num_seeds"] = 1
    assert verdict(report)[0] == (
        "Post-trained is +2.75 dB PSNR over the base on 1 held-out clip, 1 seed: one clip says nothing certain."
    )
