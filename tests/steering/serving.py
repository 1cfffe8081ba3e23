"""The real server in a thread, for tests with a browser."""

import socket
import threading
import time

import uvicorn

from tests.steering.panorama import PX_PER_RAD, SIZE_PX, Panorama
from worldtune.stages.steer import Steered
from worldtune.steering.access import Access
from worldtune.steering.server import application

CHUNK_PX = 2
"""What a chunk of four frames at full turn moves the scene by."""
HZ = 20.0

FAKE_PAD = """window.pads = [];
navigator.getGamepads = () => window.pads;
window.plug = (axes, pressed = []) => { window.pads = [null, {
  id: "A pad", index: 1, connected: true, mapping: "standard", axes,
  buttons: [...Array(17).keys()].map((i) => pressed.includes(i)).map((on) => ({ pressed: on, value: +on })) }]; };
"""
"""A gamepad that scripts hold: `plug(axes, buttons pressed)`, axes as the Gamepad API has them, down positive."""


class Server:
    """The real server in a thread, which can be stopped and started again on its port."""

    def __init__(self, world: Panorama | Steered) -> None:
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


def turning_world(stick: str = "right-x") -> Panorama:
    """A panorama that turns by CHUNK_PX a chunk."""
    return Panorama(HZ, turn_rad_s=CHUNK_PX / 4 / PX_PER_RAD * HZ, stick=stick)


def wrapped(columns: int) -> int:
    """How far the panorama, which closes after one picture, seems to have turned: a slow machine makes many chunks."""
    return (columns + SIZE_PX // 2) % SIZE_PX - SIZE_PX // 2
