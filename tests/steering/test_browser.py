"""The page in a real browser: keys move the picture the right way, recordings come down, a lost server is found again.

Needs Chromium (Debian: `apt install chromium`) and `pip install playwright`; skipped without them.
"""

import base64
import io
import shutil
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.steering.panorama import PX_PER_RAD, SIZE_PX, Panorama, picture, shift_px
from worldtune.steering.access import Access
from worldtune.steering.server import application

sync_api = pytest.importorskip("playwright.sync_api")
uvicorn = pytest.importorskip("uvicorn")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")]
PATIENCE_MS = 60_000
CHUNK_PX = 2
"""What a chunk of four frames at full turn moves the scene by."""


class Server:
    """The real server in a thread, which can be stopped and started again on its port."""

    def __init__(self, world: Panorama) -> None:
        self.world = world
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.start()

    def start(self) -> None:
        """Returns when it answers."""
        app = application(self.world, Access(port=self.port))
        config = uvicorn.Config(app, port=self.port, log_level="error", timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.02)

    def stop(self) -> None:
        """Returns when the port is free."""
        self.server.should_exit = True
        self.thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(Panorama(20.0, turn_rad_s=CHUNK_PX / 4 / PX_PER_RAD * 20.0))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    made = browser.new_page(viewport={"width": 1100, "height": 900})
    made.set_default_timeout(PATIENCE_MS)
    faults: list[str] = []
    made.on("pageerror", lambda error: faults.append(str(error)))
    made.on("console", lambda said: faults.append(said.text) if "Content Security" in said.text else None)
    made.goto(server.url)
    made.wait_for_selector("text=connected")
    wait(lambda: drawn(made) > 0)
    yield made
    made.close()
    assert faults == []


def wait(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_MS / 1000
    while not is_so():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def drawn(page: Any) -> int:
    """Frames drawn so far."""
    return int(page.get_attribute("#views", "data-frames") or 0)


def seen(page: Any) -> np.ndarray:
    """The picture on the first canvas."""
    uri = page.evaluate("document.querySelector('canvas').toDataURL('image/png')")

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


def hold(page: Any, key: str, frames: int) -> int:
    """Hold a key until so many more frames are drawn, pause, let go; how many chunks that made."""
    before, number = drawn(page), chunk(page)
    page.keyboard.down(key)
    wait(lambda: drawn(page) >= before + frames)
    pause(page)
    page.keyboard.up(key)
    return chunk(page) - number


def chunk(page: Any) -> int:
    """Number of the chunk that is shown."""
    return int(page.text_content("#chunk"))


def wrapped(chunks: int) -> int:
    """Columns that the panorama, which closes after one picture, has turned: a slow machine makes many chunks."""
    return (chunks * CHUNK_PX + SIZE_PX // 2) % SIZE_PX - SIZE_PX // 2


def pause(page: Any) -> None:
    """Returns when what was under way has been drawn."""
    page.keyboard.press("Space")
    page.wait_for_selector("#play[aria-pressed=false]")
    count = -1
    while count != drawn(page):
        count = drawn(page)
        time.sleep(1.0)


def test_turning_left_moves_the_scene_right_and_undo_takes_it_back(page: Any) -> None:
    before = seen(page)
    assert np.array_equal(before, picture())
    left = hold(page, "ArrowLeft", 4)
    assert left > 0
    assert shift_px(before, seen(page)) == wrapped(left)
    assert "ms" in page.text_content("#latency")
    right = hold(page, "KeyE", 4)
    assert shift_px(before, seen(page)) == wrapped(left - right)
    for _ in range(right):
        page.keyboard.press("Backspace")
    wait(lambda: chunk(page) == left and shift_px(before, seen(page)) == wrapped(left))
    page.keyboard.press("Home")
    wait(lambda: chunk(page) == 0 and np.array_equal(seen(page), before))


def test_stick_slider_clip_words_and_focus(page: Any) -> None:
    before = seen(page)
    box = page.locator("#stick-right").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 4, box["y"] + box["height"] / 2)
    wait(lambda: shift_px(before, seen(page)) > 2)
    pause(page)
    page.mouse.up()
    page.keyboard.press("Home")
    wait(lambda: np.array_equal(seen(page), before))
    page.focus("#axis-turn_right")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    wait(lambda: page.get_attribute("#play", "aria-pressed") == "true")
    pause(page)
    page.keyboard.press("Tab")
    page.fill("#text", "a door opens q e")
    page.press("#text", "Enter")
    page.focus("#starts button >> nth=1")
    page.keyboard.press("Enter")
    wait(lambda: np.array_equal(seen(page), picture(1)))
    assert page.get_attribute("#starts button >> nth=1", "aria-pressed") == "true"
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", "focus can be seen"


def test_a_picture_of_ones_own_can_be_sent(page: Any) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.full((30, 40, 3), 90, np.uint8)).save(stream, "PNG")
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": stream.getvalue()})
    wait(lambda: abs(seen(page).astype(int) - 90).max() <= 1)
    page.set_input_files("#file", {"name": "b.png", "mimeType": "image/png", "buffer": b"nothing"})
    wait(lambda: "not a whole JPEG" in page.text_content("#problem"))


def test_record_and_download(page: Any, tmp_path: Path) -> None:
    assert page.is_hidden("#download")
    page.keyboard.press("m")
    page.wait_for_selector("#record[aria-pressed=true]")
    hold(page, "ArrowLeft", 8)
    with page.expect_download() as coming:
        page.click("#download")
    coming.value.save_as(tmp_path / "steered.zip")
    with zipfile.ZipFile(tmp_path / "steered.zip") as archive:
        names = archive.namelist()
        rows = archive.read("steered/controls.csv").decode().split()
    assert "steered/clip.mp4" in names
    assert "steered/dataset/meta/info.json" in names
    assert rows[0] == "turn_right"
    assert set(rows[1:]) == {"-0.25"}


def test_a_server_that_goes_is_noticed_and_found_again(page: Any, server: Server) -> None:
    hold(page, "ArrowLeft", 4)
    number, shown = chunk(page), seen(page)
    server.stop()
    page.wait_for_selector("text=The server is gone")
    assert page.text_content("#status") == "no server"
    server.start()
    page.wait_for_selector("text=connected")
    page.wait_for_selector("#gone", state="hidden")
    assert chunk(page) == number, "the session outlived the page's connection"
    wait(lambda: np.array_equal(seen(page), shown))


def test_a_second_window_takes_over(page: Any, browser: Any, server: Server) -> None:
    second = browser.new_page()
    second.goto(server.url)
    second.wait_for_selector("text=connected")
    page.wait_for_selector("text=Another window drives this world now.")
    page.click("text=Drive here")
    page.wait_for_selector("text=connected")
    second.wait_for_selector("text=Another window drives this world now.")
    second.close()


def test_it_fits_a_phone(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
