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
        "Post-trained is +2.75 dB PSNR over the base on 1 held-out clip, 1 seed: one episode says nothing certain."
    )


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        (
            (-0.5, -0.4, -0.6),
            "certainly better than under another clip's control, 50% of the way from there to real clips.",
        ),
        ((-0.5, 0.1, -1.1), "nothing shows that it obeys."),
    ],
)
def test_obedience_is_a_share_of_what_real_clips_reach(gap: tuple[float, float, float], words: str) -> None:
    report = sample_report()
    report["measures"]["turn_deg"] = {"label": "turn, deg", "better": "lower", "decimals": 1, "meaning": ""}
    for column, value in {"post-trained": 1.5, "shuffled": 2.0, "base": 2.1, "real": 1.0}.items():
        report["values"].setdefault(column, {})["turn_deg"] = pooled(value)
    value, low, high = gap
    turned = pooled(value) | {"low": min(low, high), "high": max(low, high)}
    report["differences"].append(
        {"left": "post-trained", "right": "shuffled", "values": {"psnr_db": pooled(1.0), "turn_deg": turned}}
    )
    report["obedience"] = {"camera": {"measures": ["turn_deg"], "is_commanded": True, "explained": 0.9}}
    sentence = next(one for one in verdict(report) if one.startswith("Turn, deg"))
    assert "1.5 times the 1.0 of real clips" in sentence
    assert sentence.endswith(words)
