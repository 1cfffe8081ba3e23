"""The page in a real browser: keys move the picture the right way, recordings come down, a lost server is found again.

Needs Chromium (Debian: `apt install chromium`) and `pip install playwright`; skipped without them.
"""

import base64
import io
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.steering.panorama import picture, shift_px
from tests.steering.robots import gripper_recording
from tests.steering.toy import make_run
from worldtune.stages.steer import open_run

pytest.importorskip("uvicorn")
from tests.steering.serving import CHUNK_PX, FAKE_PAD, Server, turning_world, wrapped  # noqa: E402

pytestmark = pytest.mark.slow
PATIENCE_MS = 60_000


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(turning_world())
    yield made
    made.stop()


@pytest.fixture
def page(chromium: Any, server: Server) -> Iterator[Any]:
    made = chromium.new_page(viewport={"width": 1100, "height": 900})
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
    assert shift_px(before, seen(page)) == wrapped(left * CHUNK_PX)
    assert "ms" in page.text_content("#latency")
    right = hold(page, "KeyE", 4)
    assert shift_px(before, seen(page)) == wrapped((left - right) * CHUNK_PX)
    for _ in range(right):
        page.keyboard.press("Backspace")
    wait(lambda: chunk(page) == left and shift_px(before, seen(page)) == wrapped(left * CHUNK_PX))
    page.keyboard.press("Home")
    wait(lambda: chunk(page) == 0 and np.array_equal(seen(page), before))


def test_stick_slider_clip_words_and_focus(page: Any, server: Server) -> None:
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
    wait(lambda: server.world.session.texts == ("a door opens q e",))
    page.fill("#seed", "7")
    page.press("#seed", "Enter")
    wait(lambda: server.world.session.seed == 7)
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


def test_a_picture_can_be_dropped_on_the_page(page: Any) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.full((30, 40, 3), 40, np.uint8)).save(stream, "PNG")
    page.evaluate(
        """(bytes) => {
          const carried = new DataTransfer();
          carried.items.add(new File([new Uint8Array(bytes)], "a.png", { type: "image/png" }));
          const how = { dataTransfer: carried, bubbles: true, cancelable: true };
          for (const type of ["dragover", "drop"]) document.body.dispatchEvent(new DragEvent(type, how));
        }""",
        list(stream.getvalue()),
    )
    wait(lambda: abs(seen(page).astype(int) - 40).max() <= 1)
    hold(page, "ArrowLeft", 4)


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


def test_a_second_window_takes_over(page: Any, chromium: Any, server: Server) -> None:
    second = chromium.new_page()
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


@pytest.fixture
def padded(chromium: Any, server: Server) -> Iterator[Any]:
    """A page whose browser has a gamepad that scripts move."""
    made = chromium.new_page()
    made.set_default_timeout(PATIENCE_MS)
    made.add_init_script(FAKE_PAD)
    made.goto(server.url)
    made.wait_for_selector("text=connected")
    wait(lambda: drawn(made) > 0)
    yield made
    made.close()


def pushed(page: Any, axes: list[float], frames: int) -> int:
    """Hold a gamepad's sticks until so many more frames are drawn, pause, let go; how many chunks that made."""
    before, number = drawn(page), chunk(page)
    page.evaluate("(axes) => plug(axes)", axes)
    wait(lambda: drawn(page) >= before + frames)
    pause(page)
    page.evaluate("plug([0, 0, 0, 0])")
    return chunk(page) - number


def test_a_gamepad_steers_as_far_as_its_stick_goes(padded: Any) -> None:
    before = seen(padded)
    padded.evaluate("plug([0, 0, -0.1, 0])")
    padded.wait_for_selector("text=Gamepad: A pad")
    time.sleep(0.3)
    assert padded.get_attribute("#play", "aria-pressed") == "false", "the middle of a stick is wide"
    left = pushed(padded, [0, 0, -1, 0], 4)
    assert shift_px(before, seen(padded)) == wrapped(left * CHUNK_PX)
    half = pushed(padded, [0, 0, 0.56, 0], 8)
    assert shift_px(before, seen(padded)) == wrapped(left * CHUNK_PX - half * CHUNK_PX // 2)
    padded.evaluate("plug([1, 1, 0, 1])")
    time.sleep(0.3)
    assert padded.get_attribute("#play", "aria-pressed") == "false", "no axis listens to the other sticks"
    padded.evaluate("window.pads = []")
    padded.wait_for_selector("text=Gamepad: A pad", state="detached")


def test_buttons_of_a_gamepad(padded: Any) -> None:
    padded.evaluate("plug([0, 0, 0, 0], [9])")
    wait(lambda: chunk(padded) > 1)
    assert padded.get_attribute("#play", "aria-pressed") == "true", "a button that stays down counts once"
    padded.evaluate("plug([0, 0, 0, 0], [])")
    pause(padded)
    number = chunk(padded)
    padded.evaluate("plug([0, 0, 0, 0], [1])")
    wait(lambda: chunk(padded) == number - 1)
    padded.evaluate("plug([0, 0, 0, 0], [3])")
    padded.wait_for_selector("#record[aria-pressed=true]")
    padded.evaluate("plug([0, 0, 0, 0], [8])")
    wait(lambda: chunk(padded) == 0)


def test_triggers_push_an_axis_without_a_stick(chromium: Any) -> None:
    server = Server(turning_world(stick=""))
    page = chromium.new_page()
    page.add_init_script(FAKE_PAD)
    page.goto(server.url)
    wait(lambda: drawn(page) > 0)
    assert page.is_hidden("kbd.pad >> nth=0")
    before = seen(page)
    page.evaluate("plug([1, 1, 1, 1], [6])")
    wait(lambda: drawn(page) > 4)
    assert page.text_content("kbd.pad >> nth=0") == "LT"
    assert page.is_visible("kbd.pad >> nth=0")
    pause(page)
    assert shift_px(before, seen(page)) == wrapped(chunk(page) * CHUNK_PX)
    page.close()
    server.stop()


def test_the_opening_starts_and_goes_back_with_the_world(chromium: Any, tmp_path: Path) -> None:
    steered = open_run(make_run(tmp_path, "diffusion", ("action",), record=gripper_recording))
    server, page = Server(steered), chromium.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(server.url)

    def stands(words: str) -> bool:
        return page.text_content("#axis-open ~ output") == words

    wait(lambda: stands("1.00 0..1"))
    hold(page, "KeyS", 4)
    assert steered.session.held == {"gripper": 1.0}, "other keys leave it"
    hold(page, "KeyG", 8)
    wait(lambda: stands("0.00 0..1"))
    assert steered.session.held["gripper"] < 1
    for _ in range(steered.session.number):
        page.keyboard.press("Backspace")
    wait(lambda: stands("1.00 0..1"))
    hold(page, "KeyG", 8)
    page.keyboard.press("Home")
    wait(lambda: chunk(page) == 0 and stands("1.00 0..1"))
    trained = next(place for place, start in enumerate(steered.starts()) if start.split == "train")
    page.click(f"#starts button >> nth={trained}")
    wait(lambda: stands("0.00 0..1"))
    page.close()
    server.stop()
