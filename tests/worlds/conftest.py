"""Short episodes of every world, rendered once; skipped where nothing can be rendered."""

import pytest

from worlds.record import Episode, Settings

NAMES = ("tabletop", "rooms", "street")
SHORT = Settings(num_frames=5, size_px=32)


@pytest.fixture(scope="session")
def renderer() -> None:
    """Skip when MuJoCo or OpenGL is missing."""
    try:
        from worlds.scene import Scene, Stage

        with Stage(Scene(extent_m=1, centre=(0, 0, 0)), fovy_deg=60, size_px=8):
            pass
    except Exception as error:
        pytest.skip(f"the worlds cannot be rendered here: {error}")


@pytest.fixture(scope="session")
def episodes(renderer: None) -> dict[str, Episode]:
    """One short episode of every world, base look."""
    from worlds.render import render_episode

    return {name: render_episode(name, 0, SHORT, 3) for name in NAMES}
