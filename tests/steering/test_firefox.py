"""The page in Firefox: it connects, keys and a gamepad move the picture the right way, a lost server is found again.

Needs Firefox (Debian: `apt install firefox-esr`); skipped without it.
"""

import base64
import io
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image

from tests.steering.panorama import picture, shift_px

pytest.importorskip("uvicorn")
pytest.importorskip("websockets")
from tests.steering.firefox import FIREFOX, Firefox  # noqa: E402
from tests.steering.serving import CHUNK_PX, FAKE_PAD, Server, turning_world, wrapped  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.skipif(FIREFOX is None, reason="no Firefox here")]
PATIENCE_S = 60


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    made = Firefox(tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(turning_world())
    yield made
    made.stop()


@pytest.fixture
def page(browser: Firefox, server: Server) -> Firefox:
    browser.open(server.url, FAKE_PAD)
    wait(lambda: drawn(browser) > 0)
    return browser


def wait(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def drawn(page: Firefox) -> int:
    return int(page.evaluate("Number(document.querySelector('#views').dataset.frames || 0)"))


def text(page: Firefox, place: str) -> str:
    return str(page.evaluate(f"document.querySelector('{place}').textContent"))


def chunk(page: Firefox) -> int:
    return int(text(page, "#chunk"))


def plays(page: Firefox) -> bool:
    return page.evaluate("document.querySelector('#play').getAttribute('aria-pressed')") == "true"


def seen(page: Firefox) -> np.ndarray:
    uri = str(page.evaluate("document.querySelector('canvas').toDataURL('image/png')"))
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


def pause(page: Firefox) -> None:
    """Returns when what was under way has been drawn."""
    page.press("Space")
    wait(lambda: not plays(page))
    count = -1
    while count != drawn(page):
        count = drawn(page)
        time.sleep(1.0)


def test_keys_turn_the_scene_and_undo_and_reset_take_it_back(page: Firefox) -> None:
    before = seen(page)
    assert np.array_equal(before, picture()), "pictures arrive without loss"
    assert text(page, "#status") == "connected"
    page.key("ArrowLeft", "keyDown")
    wait(lambda: drawn(page) > 4)
    pause(page)
    page.key("ArrowLeft", "keyUp")
    left = chunk(page)
    assert left > 0
    assert shift_px(before, seen(page)) == wrapped(left * CHUNK_PX), "turning left moves the scene right"
    assert "ms" in text(page, "#latency")
    page.press("Backspace")
    wait(lambda: chunk(page) == left - 1 and shift_px(before, seen(page)) == wrapped((left - 1) * CHUNK_PX))
    page.press("Home")
    wait(lambda: np.array_equal(seen(page), before))


def test_a_gamepad_turns_the_scene(page: Firefox) -> None:
    before = seen(page)
    page.evaluate("plug([0, 0, 1, 0])")
    wait(lambda: drawn(page) > 4)
    pause(page)
    assert shift_px(before, seen(page)) == wrapped(-chunk(page) * CHUNK_PX)
    assert text(page, "#pad") == "Gamepad: A pad"


def test_a_server_that_goes_is_noticed_and_found_again(page: Firefox, server: Server) -> None:
    server.stop()
    wait(lambda: text(page, "#status") == "no server")
    server.start()
    wait(lambda: text(page, "#status") == "connected")


def test_it_fits_a_phone(page: Firefox) -> None:
    page.resize(360, 740)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.screenshot().shape[1] == 360
    page.resize(1100, 900)
