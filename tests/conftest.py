"""Toy networks are fastest on one thread; two pytest workers then share two cores without waiting for each other."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Chromium (Debian: `apt install chromium`), driven by `pip install playwright`; skips without them."""
    sync_api = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium here")
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield made
        made.close()
