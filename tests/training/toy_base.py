"""A complete toy base (network, codec, text encoder) and a cache made for it, in a folder.

Run as a script it trains through the stage and kills itself, for the test of exact resume.
"""

import os
import signal
import sys
from pathlib import Path

import torch

from worldtune.codecs import nano_video
from worldtune.contract.cache import Cache, CacheHeader, CacheWriter
from worldtune.contract.condition import Widths
from worldtune.contract.files import write_json
from worldtune.contract.randomness import generator
from worldtune.families.diffusion import weights
from worldtune.families.diffusion.config import NetworkConfig
from worldtune.families.diffusion.logvariance import DiffusionModel
from worldtune.networks.nano_video.network import Autoencoder, NanoCodecConfig
from worldtune.run import Run, compose
from worldtune.stages.base import find_base
from worldtune.stages.train import train
from worldtune.text import nano as nano_text
from worldtune.training import log

NUM_CLIPS = 8
NETWORK = NetworkConfig(
    width=32,
    num_blocks=1,
    num_heads=2,
    latent_channels=4,
    text_channels=8,
    adaln_rank=4,
    patch_spatial=1,
    max_height=4,
    max_width=4,
    max_frames=4,
    condition_mask=True,
)


def make_base(folder: Path, seed: int = 0) -> Path:
    """A base with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        codec = Autoencoder(NanoCodecConfig(latent_channels=4, fine_channels=8, coarse_channels=8, decoder_blocks=1))
        nano_video.save(codec, folder / "codec")
        text = nano_text.NanoTextConfig(width=8, hidden=8, layers=1, heads=2, buckets=16, max_length=4)
        nano_text.save(nano_text.TextNetwork(text), folder / "text")
        network = DiffusionModel(NETWORK, Widths(text=8))
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        weights.save(network, folder / "network")
    window = {"num_frames": 9, "fps_hz": 10.0, "height_px": 16, "width_px": 16}
    description = {"family": "diffusion", "network": "network", "codec": {"room": "nano_video", "path": "codec"}}
    write_json(folder / "base.json", {**description, "text": "text", "window": window, "settings": []})
    return folder


def make_cache(folder: Path, base_folder: Path) -> Cache:
    """Random latents and texts: 6 clips to train on, 2 held out."""
    base = find_base(str(base_folder))
    codec, text = base.codec(), base.text_encoder()
    grid = codec.grid(views=1, frames=9, height_px=16, width_px=16)
    mean_TC, std_TC = codec.statistics(grid.frames)
    header = CacheHeader(
        base=base.name,
        codec=codec.identity,
        text_encoder=text.identity,
        dataset="toy",
        dataset_identity="toy",
        window=base.window,
        grid=grid,
        controls=["text"],
        arrays={"text/tokens": [1, text.max_length, text.width]},
        latent_mean_TC=mean_TC.tolist(),
        latent_std_TC=std_TC.tolist(),
    )
    writer = CacheWriter(folder, header)
    for number in range(NUM_CLIPS):
        draw = generator(0, number, "toy clip")
        tensors = {
            "latent": torch.randn(1, 3, 2, 2, 4, generator=draw).half(),
            "text/tokens": torch.randn(1, 1 + number % 4, 8, generator=draw).half(),
        }
        info = {"split": "train" if number < 6 else "val", "fps_hz": 10.0, "texts": ["a"], "views": ["front"]}
        writer.add(f"clip{number}", tensors, info)
    writer.finish([f"clip{number}" for number in range(NUM_CLIPS)])
    return Cache.open(folder)


def toy_run(folder: Path, *assignments: str, steps: int = 20, lora: bool = False, seed: int = 0) -> Run:
    """A run on the toy base and cache in `folder`."""
    toy = (
        "loop.batch_size=2",
        "loop.checkpoint_every=5",
        "loop.validate_every=8",
        "loop.precision=fp32",
        "optim.lr=0.01",
    )
    base = find_base(str(folder / "base"))
    return compose(
        task="general",
        base=base,
        data=folder / "cache",
        seed=seed,
        steps=steps,
        lora=lora,
        assignments=(*toy, *assignments),
    )


def _killing_row(self: log.MetricsLog, kind: str, step: int, values: dict[str, float]) -> None:
    _row(self, kind, step, values)
    if kind == "train" and step == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)


_row = log.MetricsLog.row

if __name__ == "__main__":
    log.MetricsLog.row = _killing_row  # type: ignore[method-assign]
    train(toy_run(Path(sys.argv[1])), Path(sys.argv[1]) / "killed")
