"""The page and its WebSocket: commands in, frames out as they are made.

There is one world and one driver: whoever connects last drives. The session outlives the connection, so a page that
comes back goes on where it was.

Shape legend: V views, T frames, H W rows and columns, C channels.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeVar

import numpy as np
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from worldtune.steering.access import Access, Guard
from worldtune.steering.pictures import MAX_UPLOAD_BYTES, encoded, packed, read_upload, zipped
from worldtune.steering.session import Session
from worldtune.steering.state import Observation
from worldtune.steering.take import Take

PAGE = {
    "/": ("index.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
MAX_MESSAGE_BYTES = 64 << 10
MAX_STARTS = 24
TAKEN_OVER = 4001
"""Close code for a page whose place another one has taken."""

T = TypeVar("T")


class World(Protocol):
    """What is driven; `stages.steer.Steered`."""

    session: Session

    @property
    def name(self) -> str:
        """For the heading."""
        ...

    @property
    def has_text(self) -> bool:
        """Whether it listens to words."""
        ...

    def starts(self, most: int | None = None) -> list[Any]:
        """Clips to start from, best first; each has `id`, `split` and `texts`."""
        ...

    def observation(self, start: Any) -> Observation:
        """The first frames of a clip."""
        ...

    def from_image(self, image_HWC: np.ndarray, like: Any, text: str | None = None) -> Observation:
        """A picture as a start. ValueError when the world cannot start from one."""
        ...

    def save(self, take: Take, folder: Path) -> Path:
        """Write a take into a new folder."""
        ...


class Desk:
    """The world, its driver, and what the driver wants."""

    def __init__(self, world: World) -> None:
        self.world, self.session = world, world.session
        self.starts = {start.id: start for start in world.starts(MAX_STARTS)}
        self.clip = next(iter(self.starts))
        self.commands: dict[str, float] = {}
        self._outdated: dict[str, float] | None = None
        self.sequence = 0
        self.playing = asyncio.Event()
        self.driver: WebSocket | None = None
        # One thread: the session is not safe for more, and what waits is served in order.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="world")

    async def call(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do something with the world, after everything asked before."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def close(self) -> None:
        """Stop the thread after the chunk that it is making."""
        self._thread.shutdown(cancel_futures=True)

    def hello(self) -> dict[str, Any]:
        """What a page needs once."""
        return {
            "type": "hello",
            "name": self.world.name,
            "views": list(self.session.views),
            "fps_hz": self.session.fps_hz,
            "frames_per_step": self.session.frames_per_step,
            "axes": [asdict(axis) for axis in self.session.axes],
            "starts": [{"id": s.id, "split": s.split, "text": s.texts[0]} for s in self.starts.values()],
            "has_text": self.world.has_text,
            "takes_images": len(self.session.views) == 1,
        }

    def state(self, *, moved: bool = False) -> dict[str, Any]:
        """What may have changed. moved: the world is elsewhere now, and so are axes that stay where they are put."""
        held = {"held": self.session.held} if moved else {}
        return held | {
            "type": "state",
            "playing": self.playing.is_set(),
            "recording": self.session.recording,
            "recording_full": self.session.recording_full,
            "number": self.session.number,
            "seed": self.session.seed,
            "text": self.session.texts[0],
            "clip": self.clip,
        }

    def begin(self, observation: Observation, clip: str) -> None:
        """Start anew. In the world's thread."""
        self.session.start(observation)
        self.clip = clip
        self._outdated = self.commands

    def back(self, move: Callable[[], Any]) -> None:
        """Undo or reset. In the world's thread."""
        move()
        self._outdated = self.commands

    def still(self) -> bytes:
        """The newest frame as a message. In the world's thread."""
        return self.message(self.session.shown_VHWC[:, None], 0, 0.0)[0]

    def message(self, frames_VTHWC: np.ndarray, sequence: int, seconds: float) -> list[bytes]:
        """Frames as messages, one each."""
        total = frames_VTHWC.shape[1]
        header = {"sequence": sequence, "seconds": round(seconds, 4), "of": total, "number": self.session.number}
        return [
            packed({**header, "frame": frame}, [encoded(view_HWC) for view_HWC in frames_VTHWC[:, frame]])
            for frame in range(total)
        ]

    def made(self) -> tuple[list[bytes], float]:
        """One chunk as messages, and the seconds it took. In the world's thread."""
        begun, commands, sequence = time.monotonic(), self.commands, self.sequence
        if commands is self._outdated:
            # Said before the world moved: what is pushed still is, but what stays where it was put stands elsewhere.
            commands = {name: commands[name] for name in commands.keys() - self.session.held.keys()}
        frames_VTHWC = self.session.step(commands)
        seconds = time.monotonic() - begun
        return self.message(frames_VTHWC, sequence, seconds), seconds


async def drive(desk: Desk, socket: WebSocket) -> None:
    """Make chunk after chunk while playing, each begun so late that it is ready when the last one has been shown."""
    shown_until = 0.0
    while True:
        await desk.playing.wait()
        messages, seconds = await desk.call(desk.made)
        for message in messages:
            await socket.send_bytes(message)
        now = time.monotonic()
        shown_until = max(now, shown_until) + len(messages) / desk.session.fps_hz
        if desk.session.recording_full:
            await socket.send_json(desk.state())
        await asyncio.sleep(max(0.0, shown_until - now - seconds))


async def obey(desk: Desk, socket: WebSocket, said: Mapping[str, Any]) -> None:
    """One message of the page. ValueError when it makes no sense."""
    kind, session = said.get("type"), desk.session
    if kind == "commands":
        known = {axis.name for axis in session.axes}
        values = said.get("axes")
        if not isinstance(values, dict) or not values.keys() <= known:
            raise ValueError(f"commands must be numbers of the axes {', '.join(sorted(known))}")
        desk.commands = {name: float(value) for name, value in values.items()}
        desk.sequence = int(said.get("sequence", 0))
        return
    show = True
    if kind == "play":
        desk.playing.set()
        show = False
    elif kind == "pause":
        desk.playing.clear()
        show = False
    elif kind == "undo":
        desk.playing.clear()
        await desk.call(desk.back, session.undo)
    elif kind == "reset":
        await desk.call(desk.back, session.reset)
    elif kind == "seed":
        session.seed = int(said["seed"])
        show = False
    elif kind == "say":
        text = str(said["text"])[:4000]
        await desk.call(session.say, [text])
        show = False
    elif kind == "record":
        await desk.call(session.record)
        show = False
    elif kind == "start":
        if said.get("clip") not in desk.starts:
            raise ValueError(f"no clip {said.get('clip')!r} to start from")
        desk.playing.clear()
        start = desk.starts[str(said["clip"])]
        await desk.call(lambda: desk.begin(desk.world.observation(start), start.id))
    else:
        raise ValueError(f"unknown message {kind!r}")
    await socket.send_json(desk.state(moved=show))
    if show:
        await socket.send_bytes(await desk.call(desk.still))


async def listen(desk: Desk, socket: WebSocket) -> None:
    """Messages of the page until it goes."""
    while True:
        text = await socket.receive_text()
        try:
            said = json.loads(text)
            if not isinstance(said, dict):
                raise ValueError("a message is a JSON object")
            await obey(desk, socket, said)
        except (ValueError, KeyError, TypeError) as error:
            await socket.send_json({"type": "error", "message": str(error) or "message not understood"})


async def connect(socket: WebSocket) -> None:
    """The WebSocket: this page drives from now on."""
    desk: Desk = socket.app.state.desk
    await socket.accept()
    before, desk.driver = desk.driver, socket
    desk.playing.clear()
    desk.commands = {}
    if before is not None and before.application_state == WebSocketState.CONNECTED:
        with suppress(RuntimeError, WebSocketDisconnect):
            await before.close(TAKEN_OVER, "opened in another window")
    making: asyncio.Task[None] | None = None
    try:
        await socket.send_json(desk.hello())
        await socket.send_json(desk.state(moved=True))
        await socket.send_bytes(await desk.call(desk.still))
        making = asyncio.create_task(drive(desk, socket))
        hearing = asyncio.create_task(listen(desk, socket))
        done, _ = await asyncio.wait({making, hearing}, return_when=asyncio.FIRST_COMPLETED)
        hearing.cancel()
        for task in done:
            task.result()
    except (WebSocketDisconnect, RuntimeError):
        pass
    except ValueError as error:
        await socket.send_json({"type": "error", "message": str(error)})
        await socket.close(1011)
    finally:
        if making is not None:
            making.cancel()
        if desk.driver is socket:
            desk.driver = None
            desk.playing.clear()


async def page(request: Request) -> Response:
    """The files of the page."""
    name, kind = PAGE[request.url.path]
    return Response(files("worldtune.steering").joinpath("page", name).read_bytes(), media_type=kind)


async def thumbnail(request: Request) -> Response:
    """First frame of a clip, first camera."""
    desk: Desk = request.app.state.desk
    start = desk.starts.get(request.path_params["clip"])
    if start is None:
        return Response("no such clip", status_code=404)
    image = await desk.call(lambda: encoded(desk.world.observation(start).frames_VTHWC[0, 0]))
    return Response(image, media_type="image/webp", headers={"cache-control": "max-age=3600"})


async def upload(request: Request) -> Response:
    """A picture to start from: the body is the file."""
    desk: Desk = request.app.state.desk
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MAX_UPLOAD_BYTES:
            return JSONResponse({"error": f"the picture has more than {MAX_UPLOAD_BYTES >> 20} MiB"}, status_code=413)
    try:
        image_HWC = read_upload(bytes(data))
        like = desk.starts.get(desk.clip) or next(iter(desk.starts.values()))
        text = desk.session.texts[0] if desk.world.has_text else None
        desk.playing.clear()
        await desk.call(lambda: desk.begin(desk.world.from_image(image_HWC, like, text), like.id))
    except ValueError as error:
        return JSONResponse({"error": str(error)}, status_code=400)
    if desk.driver is not None:
        await desk.driver.send_json(desk.state(moved=True))
        await desk.driver.send_bytes(await desk.call(desk.still))
    return JSONResponse({"started": True})


async def recording(request: Request) -> Response:
    """What was recorded, as a zip of clip.mp4, controls.csv and dataset/."""
    desk: Desk = request.app.state.desk

    def written() -> bytes:
        with TemporaryDirectory() as scratch:
            return zipped(desk.world.save(desk.session.recorded(), Path(scratch) / "steered"))

    try:
        data = await desk.call(written)
    except ValueError as error:
        return JSONResponse({"error": str(error)}, status_code=400)
    return Response(
        data, media_type="application/zip", headers={"content-disposition": 'attachment; filename="steered.zip"'}
    )


def application(world: World, access: Access) -> Starlette:
    """The server of one world, started from its first clip."""

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        desk = Desk(world)
        app.state.desk = desk
        if not world.session.started:
            await desk.call(lambda: desk.begin(world.observation(desk.starts[desk.clip]), desk.clip))
        yield
        desk.close()

    return Starlette(
        routes=[
            *(Route(path, page) for path in PAGE),
            Route("/starts/{clip}.webp", thumbnail),
            Route("/start", upload, methods=["POST"]),
            Route("/recording.zip", recording),
            WebSocketRoute("/session", connect),
        ],
        middleware=[Middleware(Guard, access=access)],
        lifespan=life,
    )


def serve(world: World, access: Access) -> None:
    """Answer until interrupted."""
    import uvicorn

    uvicorn.run(
        application(world, access),
        host=access.host,
        port=access.port,
        log_level="warning",
        ws_max_size=MAX_MESSAGE_BYTES,
        timeout_graceful_shutdown=3,
    )
