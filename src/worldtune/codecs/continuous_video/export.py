"""Writing a continuous tokenizer in the three layouts that `load` reads. Values are copied bit for bit."""

from pathlib import Path

from worldtune.contract.errors import suggest
from worldtune.networks.causal_video import diffusers_layout, native, nvidia
from worldtune.networks.causal_video.checkpoint import Checkpoint

_WRITERS = {
    "worldtune": native.write_folder,
    "nvidia": nvidia.write_folder,
    "diffusers": diffusers_layout.write_folder,
}


def export(checkpoint: Checkpoint, folder: Path, layout: str) -> None:
    """Write `folder` whole as "worldtune", "nvidia" (`model.pt`, `mean_std.pt`) or "diffusers".

    ValueError for an unknown layout, or for a network that the layout cannot express.
    """
    if layout not in _WRITERS:
        raise ValueError(f"no layout {layout!r} for a tokenizer: {suggest(layout, _WRITERS)}")
    _WRITERS[layout](checkpoint, folder)
