"""Firefox without a window, driven by its WebDriver BiDi socket (https://w3c.github.io/webdriver-bidi/)."""

import base64
import io
import json
import re
import shutil
import subprocess
import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from websockets.sync.client import connect

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
START_S, ANSWER_S = 60, 60
KEYS = {"ArrowLeft": "\ue012", "ArrowRight": "\ue014", "Backspace": "\ue003", "Home": "\ue011", "Space": " "}
"""Names of keys in WebDriver's own private characters."""


class Firefox:
    """One browser with one tab."""

    def __init__(self, profile: Path) -> None:
        assert FIREFOX is not None
        words = [FIREFOX, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0"]
        self._log = profile / "log.txt"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(words, stderr=log, stdout=subprocess.DEVNULL)
        self._numbers, self._open = count(1), ExitStack()
        self._socket = self._open.enter_context(connect(f"{self._address()}/session", max_size=None))
        self.version: str = self._call("session.new", capabilities={})["capabilities"]["browserVersion"]
        self._tab = self._call("browsingContext.getTree")["contexts"][0]["context"]

    def _address(self) -> str:
        end = time.monotonic() + START_S
        while time.monotonic() < end and self._process.poll() is None:
            if found := re.search(r"WebDriver BiDi listening on (ws://\S+)", self._log.read_text()):
                return found[1]
            time.sleep(0.1)
        self._process.kill()
        raise RuntimeError(f"Firefox does not listen: {self._log.read_text()[-1000:]}")

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=ANSWER_S))
            if answer.get("id") == number:
                assert answer["type"] == "success", f"{method}: {answer}"
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, url: str, before: str = "") -> None:
        """Load a page. before: a script that runs ahead of the page's own."""
        if before:
            self._call("script.addPreloadScript", functionDeclaration=f"() => {{ {before} }}")
        self._call("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """Value of an expression in the page: numbers, words, truth."""
        answer = self._call("script.evaluate", expression=expression, target={"context": self._tab}, awaitPromise=True)
        assert answer["type"] == "success", answer
        return answer["result"].get("value")

    def key(self, name: str, kind: str) -> None:
        """kind: "keyDown" or "keyUp"."""
        action = {"type": kind, "value": KEYS.get(name, name)}
        actions = [{"type": "key", "id": "keyboard", "actions": [action]}]
        self._call("input.performActions", context=self._tab, actions=actions)

    def press(self, name: str) -> None:
        """Down and up."""
        self.key(name, "keyDown")
        self.key(name, "keyUp")

    def resize(self, width_px: int, height_px: int) -> None:
        """Size of what is seen of the page."""
        self._call("browsingContext.setViewport", context=self._tab, viewport={"width": width_px, "height": height_px})

    def screenshot(self) -> np.ndarray:
        """uint8 [H,W,3]."""
        data = self._call("browsingContext.captureScreenshot", context=self._tab)["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))

    def close(self) -> None:
        """Returns when it has gone."""
        self._open.close()
        self._process.terminate()
        self._process.wait()
