"""Report and overview in a real browser: readable on a phone, all films at the same moment.

Needs Chromium (Debian: `apt install chromium`) and `pip install playwright`; skipped without them.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report.sample_report import sample_clips, sample_report
from worldtune.report.index import Card, render_index
from worldtune.report.page import render

pytestmark = pytest.mark.slow
PHONE = {"width": 360, "height": 740}
PLACES = "[...document.querySelectorAll('.film')].map((film) => getComputedStyle(film).backgroundPositionX)"


@pytest.fixture(params=["report", "index"])
def page(request: pytest.FixtureRequest, chromium: Any, tmp_path: Path) -> Iterator[Any]:
    long = "a_name_without_any_space_that_is_far_longer_than_the_screen_of_a_phone_is_wide"
    if request.param == "report":
        html = render(sample_report(long), sample_clips(long))
    else:
        short, whole = sample_clips(frames=2)[0], sample_clips()[0]
        cards = [Card(task="a", base=long, link="x", lines=[long], clip=clip) for clip in (whole, short)]
        html = render_index("Matrix", long, {"a": long}, cards)
    (tmp_path / "page.html").write_text(html)
    made = chromium.new_page(viewport=PHONE)
    faults: list[str] = []
    made.on("pageerror", lambda error: faults.append(str(error)))
    made.goto((tmp_path / "page.html").as_uri())
    yield made
    made.close()
    assert faults == []


def test_it_fits_a_phone(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    texts = "[...document.querySelectorAll('p, td, figcaption')]"
    sizes = page.evaluate(f"{texts}.map((element) => parseFloat(getComputedStyle(element).fontSize))")
    assert min(sizes) >= 12, "px"
    assert page.evaluate("document.querySelector('.film').getBoundingClientRect().width") >= 90


def test_films_run_in_step_and_stop_together(page: Any) -> None:
    count = page.evaluate("document.querySelectorAll('.film').length")
    seen = set()
    for _ in range(20):
        seen.add(tuple(page.evaluate(PLACES)))
        time.sleep(0.05)
    assert len(seen) > 1, "they run"
    page.click("#play")
    for frame, wanted in ((0, {"0%"}), (1, {"50%", "100%"}), (2, {"100%"})):
        page.fill("#frame", str(frame))
        places = page.evaluate(PLACES)
        assert len(places) == count
        assert set(places) <= wanted, "a film that is shorter stays on its last frame"
    page.click("#play")
    assert page.text_content("#play") == "Pause"
