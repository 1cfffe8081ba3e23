"""report.html: self-contained, faithful to report.json, and safe to open."""

import re
from html.parser import HTMLParser

import pytest

from tests.report.sample_report import COLUMNS, INJECTION, sample_clips, sample_report
from worldtune.report import page
from worldtune.report.page import fit, render
from worldtune.report.tables import difference_table, number, values_table


class Collector(HTMLParser):
    """Tags with their attributes, and the text outside of them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def html() -> str:
    return render(sample_report(), sample_clips())


def test_the_page_refers_to_nothing_outside(html: str) -> None:
    assert not re.search(r"(https?:)?//[a-z]", html)
    assert "@import" not in html
    for tag, attributes in Collector(html).tags:
        for name in ("src", "href", "srcset", "action", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), f"{tag} {name}={value}"
    assert all(target.startswith(("data:", "#")) for target in re.findall(r"url\(([^)]*)", html))


def test_every_number_is_that_of_the_report(html: str) -> None:
    report = sample_report()
    cells = [text.strip() for text in Collector(html).texts]
    for values in report["values"].values():
        for pooled in values.values():
            assert number(pooled["value"], 2) in cells
            assert f"{number(pooled['low'], 2)} .. {number(pooled['high'], 2)}" in cells
    for difference in report["differences"]:
        for pooled in difference["values"].values():
            assert number(pooled["value"], 2, signed=True) in cells
    for value in COLUMNS.values():
        assert f"{value:.2f} dB" in cells
    assert any("96 samples of 32 features" in cell and "1.25" in cell for cell in cells)
    assert "n too small: 96 samples" in cells


def test_verdict_and_clips_are_shown(html: str) -> None:
    assert "Post-trained is +2.75 dB over the base" in html
    assert html.count('<article class="clip') == 3
    assert "All clips, not picked" in html
    assert html.count('<svg class="plot"') == 4


def test_texts_cannot_inject_markup() -> None:
    safe, unsafe = (
        Collector(render(sample_report(), sample_clips())),
        render(sample_report(INJECTION), sample_clips(INJECTION)),
    )
    found = Collector(unsafe)
    assert "<script>alert" not in unsafe
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in safe.tags]
    assert [sorted(attributes) for _, attributes in found.tags] == [sorted(attributes) for _, attributes in safe.tags]
    assert any(INJECTION in text for text in found.texts)


def test_ids_are_unique_over_all_plots(html: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_clips_beyond_the_size_limit_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = sample_clips()
    size = sum(len(uri) for uri in clips[0].films.values())
    monkeypatch.setattr(page, "MAX_FILM_BYTES", 2 * size)
    assert len(fit(clips)) == 2
    monkeypatch.setattr(page, "MAX_FILM_BYTES", 1)
    assert len(fit(clips)) == 1


def test_the_best_contender_is_marked_and_not_the_ceiling() -> None:
    table = values_table(sample_report())
    assert '<td class="best">24.25' in table
    assert '<td class="best">30.75' not in table
    assert '<td class="best">75.75' in table


def test_differences_are_good_bad_or_undecided() -> None:
    report = sample_report()
    better, undecided = (difference_table(report, difference) for difference in report["differences"])
    assert better.count('class="good"') == 2
    assert undecided.count('class="bad"') == 1
    assert undecided.count('class=""') == 1


def test_numbers_have_a_true_minus_and_no_negative_zero() -> None:
    assert number(-1.234, 2) == "\N{MINUS SIGN}1.23"
    assert number(-0.001, 2, signed=True) == "+0.00"


def test_without_latents_training_or_base_the_page_is_still_whole() -> None:
    report = sample_report("costs $title")
    report |= {
        "num_clips": 4,
        "fd_ground": None,
        "training": [{}],
        "differences": [],
        "skipped": {"shuffled": "all texts are equal"},
    }
    del report["measures"]["fd_own"]
    report["values"] = {"mine": {"psnr_db": {**report["values"]["base"]["psnr_db"], "low": None, "high": None}}}
    report["per_frame_psnr_db"]["columns"] = {"mine": [20.0, 19.0]}
    html = render(report, sample_clips())
    assert "The first 3 of 4 clips, not picked" in html
    assert "costs $title" in html
    assert "No column shuffled: all texts are equal." in html
    assert html.count('<svg class="plot"') == 2
