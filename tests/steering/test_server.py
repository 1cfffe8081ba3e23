"""The server: what a page gets, who is turned away, and what is too large."""

import io
import json
import socket
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from tests.steering.panorama import PX_PER_RAD, Panorama, picture, shift_px
from worldtune.stages.base import find_base
from worldtune.stages.check import check
from worldtune.steering import pictures
from worldtune.steering.access import Access
from worldtune.steering.server import application

HERE = {"origin": "http://localhost:8000"}
SESSION = "ws://localhost:8000/session"
HZ = 200.0


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(application(Panorama(HZ), Access()), base_url="http://localhost:8000", headers=HERE) as made:
        yield made


def frame(message: bytes) -> tuple[dict[str, Any], list[np.ndarray]]:
    (length,) = struct.unpack_from("<I", message)
    header, place, images = json.loads(message[4 : 4 + length]), 4 + length, []
    for size in header["sizes"]:
        images.append(np.asarray(Image.open(io.BytesIO(message[place : place + size])).convert("RGB")))
        place += size
    assert place == len(message)
    return header, images


def greeting(page: WebSocketTestSession) -> tuple[dict[str, Any], dict[str, Any], np.ndarray]:
    hello, state = page.receive_json(), page.receive_json()
    return hello, state, frame(page.receive_bytes())[1][0]


def told(page: WebSocketTestSession, **message: Any) -> dict[str, Any]:
    """The next JSON answer to a message; frames that are under way are passed over."""
    page.send_text(json.dumps(message))
    while True:
        answer = page.receive()
        if answer.get("text"):
            return json.loads(answer["text"])


def test_a_page_is_greeted_and_frames_answer_the_keys(client: TestClient) -> None:
    with client.websocket_connect(SESSION) as page:
        hello, state, still = greeting(page)
        assert (hello["views"], hello["fps_hz"], hello["frames_per_step"]) == (["front"], HZ, 4)
        assert [axis["name"] for axis in hello["axes"]] == ["turn_right"]
        assert [start["id"] for start in hello["starts"]] == ["one", "two"]
        assert (state["playing"], state["number"], state["clip"]) == (False, 0, "one")
        assert np.array_equal(still, picture()), "small pictures lose nothing"
        page.send_text(json.dumps({"type": "commands", "axes": {"turn_right": -1.0}, "sequence": 7}))
        assert told(page, type="play")["playing"]
        got = [frame(page.receive_bytes()) for _ in range(8)]
        assert [header["frame"] for header, _ in got] == [0, 1, 2, 3] * 2
        assert [header["number"] for header, _ in got] == [1] * 4 + [2] * 4
        assert {header["sequence"] for header, _ in got} == {7}
        wanted = round(8 / HZ * PX_PER_RAD)
        assert shift_px(still, got[-1][1][0]) == pytest.approx(wanted, abs=1), "turning left moves the scene right"
        assert not told(page, type="pause")["playing"]


def test_every_view_is_sent() -> None:
    world = Panorama(HZ, ("front", "left"))
    with TestClient(application(world, Access()), base_url="http://localhost:8000", headers=HERE) as client:
        with client.websocket_connect(SESSION) as page:
            page.receive_json()
            page.receive_json()
            assert len(frame(page.receive_bytes())[1]) == 2
        answer = client.post("/start", content=png(8, 8))
        assert answer.status_code == 400
        assert "2 cameras" in answer.json()["error"]


def test_undo_reset_start_seed_and_words(client: TestClient) -> None:
    with client.websocket_connect(SESSION) as page:
        greeting(page)
        page.send_text(json.dumps({"type": "commands", "axes": {"turn_right": 1.0}, "sequence": 1}))
        told(page, type="play")
        page.receive_bytes()
        told(page, type="pause")
        # A chunk may have been under way.
        left = told(page, type="undo")["number"]
        assert [told(page, type="undo")["number"] for _ in range(left + 1)] == [*range(left)[::-1], 0]
        assert told(page, type="seed", seed=5)["seed"] == 5
        assert told(page, type="say", text="a door opens")["text"] == "a door opens"
        state = told(page, type="start", clip="two")
        assert (state["clip"], state["text"]) == ("two", "a room")
        assert np.array_equal(frame(page.receive_bytes())[1][0], picture(1))
        assert told(page, type="reset")["number"] == 0


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"type": "fly"}, "unknown message 'fly'"),
        ({"type": "commands", "axes": {"warp": 1}}, "commands must be numbers of the axes turn_right"),
        ({"type": "commands", "axes": {"turn_right": "fast"}}, "fast"),
        ({"type": "start", "clip": "nowhere"}, "no clip 'nowhere'"),
        ({"type": "seed"}, "seed"),
        (["play"], "a message is a JSON object"),
    ],
)
def test_nonsense_is_answered_and_nothing_breaks(client: TestClient, message: Any, words: str) -> None:
    with client.websocket_connect(SESSION) as page:
        greeting(page)
        page.send_text(json.dumps(message))
        answer = page.receive_json()
        assert answer["type"] == "error"
        assert words in answer["message"]
        page.send_text("{")
        assert page.receive_json()["type"] == "error"
        assert told(page, type="seed", seed=1)["seed"] == 1


def test_a_page_that_comes_back_goes_on_where_it_was(client: TestClient) -> None:
    with client.websocket_connect(SESSION) as page:
        greeting(page)
        page.send_text(json.dumps({"type": "commands", "axes": {"turn_right": 1.0}, "sequence": 1}))
        told(page, type="play")
        for _ in range(4):
            page.receive_bytes()
    with client.websocket_connect(SESSION) as page:
        _, state, still = greeting(page)
        assert state["number"] >= 1
        assert not state["playing"]
        assert shift_px(picture(), still) < 0


def test_the_last_page_drives(client: TestClient) -> None:
    with client.websocket_connect(SESSION) as first:
        greeting(first)
        with client.websocket_connect(SESSION) as second:
            greeting(second)
            assert first.receive()["code"] == 4001
            assert told(second, type="play")["playing"]


def test_a_recording_is_downloaded(client: TestClient, tmp_path: Path) -> None:
    assert "nothing is recorded" in client.get("/recording.zip").json()["error"]
    with client.websocket_connect(SESSION) as page:
        greeting(page)
        assert told(page, type="record")["recording"]
        told(page, type="play")
        for _ in range(16):
            page.receive_bytes()
        told(page, type="pause")
        answer = client.get("/recording.zip")
    assert answer.headers["content-disposition"] == 'attachment; filename="steered.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path)
    assert sorted(path.name for path in (tmp_path / "steered").iterdir()) == ["clip.mp4", "controls.csv", "dataset"]
    assert check(tmp_path / "steered/dataset", ("text", "camera"), find_base("nano-diffusion"), {"fps_hz": HZ}).ok


def png(height: int, width: int, value: int = 200) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def test_a_dropped_picture_starts_the_world(client: TestClient) -> None:
    with client.websocket_connect(SESSION) as page:
        greeting(page)
        assert client.post("/start", content=png(30, 50)).json() == {"started": True}
        assert page.receive_json()["number"] == 0
        assert (frame(page.receive_bytes())[1][0] == 200).all()


def test_uploads_are_limited_and_checked(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    too_large = client.post("/start", content=b"x" * (pictures.MAX_UPLOAD_BYTES + 1))
    assert too_large.status_code == 413
    gif = io.BytesIO()
    Image.new("RGB", (4, 4)).save(gif, "GIF")
    for data in (b"", b"<svg/>", gif.getvalue(), png(64, 64)[:-60]):
        answer = client.post("/start", content=data)
        assert (answer.status_code, "not a whole JPEG, PNG or WebP" in answer.json()["error"]) == (400, True)
    monkeypatch.setattr(pictures, "MAX_UPLOAD_PIXELS", 1000)
    assert "at most" in client.post("/start", content=png(40, 40)).json()["error"]
    assert client.app.state.desk.session.number == 0  # type: ignore[attr-defined]


def test_other_sites_and_other_names_are_refused(client: TestClient) -> None:
    for headers in ({"origin": "http://evil.example"}, {"origin": "http://localhost:9"}, {"origin": ""}):
        with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect(SESSION, headers=headers):
            pass
        assert refused.value.code == 4403
        assert client.post("/start", content=png(8, 8), headers=headers).status_code == 403
    assert client.get("/", headers={"host": "evil.example:8000"}).status_code == 403
    assert client.get("/").status_code == 200


def test_any_other_host_asks_for_its_token() -> None:
    access = Access.of("0.0.0.0", 8000)
    assert access.token is not None
    assert len(access.token) >= 32
    assert access.token in access.url
    assert access.token not in repr(access)
    home = "http://192.168.0.2:8000"
    with TestClient(application(Panorama(HZ), access), base_url=home, headers={"origin": home}) as client:
        for path in ("/", "/page.js", "/recording.zip", "/starts/one.webp", f"/page.js?token={access.token}"):
            assert client.get(path).status_code == 403, path
        assert client.get("/?token=guess").status_code == 403
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("ws://192.168.0.2:8000/session"):
            pass
        answer = client.get(f"/?token={access.token}", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert "HttpOnly" in answer.headers["set-cookie"]
        assert "samesite=strict" in answer.headers["set-cookie"].lower()
        assert client.get("/").status_code == 200
        with client.websocket_connect("ws://192.168.0.2:8000/session") as page:
            greeting(page)


def test_the_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    for path in ("/", "/page.js", "/page.css"):
        answer = client.get(path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "https://" not in answer.text
        assert "unsafe-inline" not in answer.headers["content-security-policy"]
    assert client.get("/starts/two.webp").headers["content-type"] == "image/webp"
    assert client.get("/starts/nowhere.webp").status_code == 404


def test_loopback_needs_no_token() -> None:
    assert Access.of("127.0.0.1", 80).token is None
    assert Access.of("::1", 80).url == "http://[::1]:80/"
    assert Access.of("0.0.0.0", 80).url.startswith(f"http://{socket.gethostname()}:80/?token=")
    with pytest.raises(ValueError, match="--port must be in 1..65535, got 70000"):
        Access.of("localhost", 70000)
