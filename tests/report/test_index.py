"""The overview of a matrix."""

import re

from tests.report.sample_report import INJECTION, sample_clips
from worldtune.report.index import Card, render_index


def rendered(text: str = "better") -> str:
    cards = [
        Card(task="action", base="nano", link="action-nano/report/report.html", lines=[text], clip=sample_clips()[0]),
        Card(task="camera", base="nano", link="", lines=[f"Failed: {text}"]),
    ]
    return render_index(text, text, {"camera": text, "action": text}, cards)


def test_cards_stand_under_their_task_and_lead_to_their_report() -> None:
    page = rendered()
    camera, action = re.findall(r"<section.*?</section>", page, re.DOTALL)
    assert "Failed: better" in camera
    assert "href" not in camera
    assert action.count('href="action-nano/report/report.html"') == 2, "the name and the film"
    assert '<article class="card clip small"' in action


def test_the_overview_needs_nothing_but_the_reports() -> None:
    page = rendered()
    assert not re.search(r"(https?:)?//[a-z]", page)
    assert all(target.startswith(("data:", "#")) for target in re.findall(r"url\(([^)]*)", page))
    assert set(re.findall(r'href="([^"]*)"', page)) == {"data:,", "action-nano/report/report.html"}


def test_words_cannot_inject_markup() -> None:
    assert "<script>alert" not in rendered(INJECTION)
