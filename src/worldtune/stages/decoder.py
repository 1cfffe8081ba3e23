"""The diffusion decoder: token ids to sharper video, by way of the latents of a continuous codec.

A token stands for many pictures, and the decoder of a discrete codec shows their mean, which is blurred. Here that clip
is encoded by a continuous codec, a network of the diffusion family draws what is missing in those latents, and the
continuous codec decodes the sum. It is a codec whose `decode` alone is another, so caches and runs stay as they are;
and it is made here because a codec room may not know a family.

Shape legend: B batch, V views, N = B V clips of one view, T frames, t latent frames, H W pixels, h w latent grid,
C channels, R rows of statistics (the first latent frame, every later one).
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from worldtune import settings
from worldtune.contract import rooms
from worldtune.contract.condition import Condition, Widths
from worldtune.contract.files import file_hash, read_json
from worldtune.contract.latents import Normalisation
from worldtune.contract.nouns import Batch, Grid
from worldtune.contract.protocols import Codec, Family
from worldtune.contract.randomness import generator
from worldtune.stages.base import Base

DESCRIPTION = "decoder.json"
FPS_HZ = 24.0
"""Of every clip, as the network is told: a codec does not know frame rates, so time counts latent frames."""


class DiffusionDecoder:
    """Implements `contract.protocols.Codec`; encodes as `tokens` does, under the same identity."""

    def __init__(
        self, tokens: Codec, latents: Codec, family: Family, model: nn.Module, *, missing_std_RC: Tensor, sampler: Any
    ) -> None:
        """`missing_std_RC`: deviation of what the network draws, in units of the normalised latents."""
        self.tokens, self.latents, self.family, self.model = tokens, latents, family, model
        self.network: nn.Module = nn.ModuleList([tokens.network, latents.network, model]).eval().requires_grad_(False)
        self.missing_std_RC, self.sampler = missing_std_RC, sampler
        self.identity, self.num_codes = tokens.identity, tokens.num_codes
        self.latent_channels = tokens.latent_channels
        self.frames_per_latent, self.pixels_per_latent = tokens.frames_per_latent, tokens.pixels_per_latent

    def with_sampler(self, sampler: Any) -> "DiffusionDecoder":
        """The same with other settings of drawing."""
        parts = self.tokens, self.latents, self.family, self.model
        return DiffusionDecoder(*parts, missing_std_RC=self.missing_std_RC, sampler=sampler)

    def grid(self, *, views: int, frames: int, height_px: int, width_px: int) -> Grid:
        """The token grid of a clip. ValueError as of the discrete codec."""
        return self.tokens.grid(views=views, frames=frames, height_px=height_px, width_px=width_px)

    def encode(self, video_BVTHWC: Tensor) -> Tensor:
        """uint8 [B,V,T,H,W,3] -> token ids, int64 [B,V,t,h,w]."""
        return self.tokens.encode(video_BVTHWC)

    def decode(self, ids_BVTHW: Tensor) -> Tensor:
        """Token ids [B,V,t,h,w] -> uint8 [B,V,T,H,W,3], each view on its own.

        The noise is a function of a view's ids, so the same tokens always give the same clip.
        """
        plain_NVTHWC = self.tokens.decode(ids_BVTHW).flatten(0, 1)[:, None]
        seen_NVTHWC = normalised(self.latents, self.latents.encode(plain_NVTHWC))
        draws = [generator(0, 0, f"decoder/{_digest(ids)}") for ids in ids_BVTHW.flatten(0, 1)]
        missing_NVTHWC = self.family.sample(
            self.model, batch_of(seen_NVTHWC), condition_of(seen_NVTHWC), Condition(), draws, self.sampler
        )
        std_THWC = by_frame(self.missing_std_RC.to(seen_NVTHWC.device), seen_NVTHWC.shape[2])
        whole_NVTHWC = seen_NVTHWC + missing_NVTHWC * std_THWC
        raw_NVTHWC = Normalisation(*self.latents.statistics(whole_NVTHWC.shape[2])).raw(whole_NVTHWC)
        return self.latents.decode(raw_NVTHWC)[:, 0].unflatten(0, ids_BVTHW.shape[:2])

    def statistics(self, frames: int) -> tuple[Tensor, Tensor]:
        """Always a ValueError: token ids are not normalised."""
        return self.tokens.statistics(frames)


def normalised(latents: Codec, raw_BVTHWC: Tensor) -> Tensor:
    """Raw latents with unit deviation in every channel, float32."""
    return Normalisation(*latents.statistics(raw_BVTHWC.shape[2])).normalised(raw_BVTHWC)


def by_frame(rows_RC: Tensor, frames: int) -> Tensor:
    """Statistics of the first and of every later latent frame, laid out over a clip: [T,1,1,C]."""
    return rows_RC[[min(index, 1) for index in range(frames)]][:, None, None]


def batch_of(target_BVTHWC: Tensor) -> Batch:
    """Latents as the network sees a batch in training and in generation."""
    size, device = len(target_BVTHWC), target_BVTHWC.device
    return Batch(
        target=target_BVTHWC,
        controls={},
        fps_hz_B=torch.full((size,), FPS_HZ, device=device),
        clip_ids=tuple(map(str, range(size))),
    )


def condition_of(seen_BVTHWC: Tensor) -> Condition:
    """The plainly decoded clip's latents as further input channels: what the tokens say, on the grid of the noise."""
    return Condition(dense_BVTHWC=seen_BVTHWC)


def load(folder: Path, tokens: Codec) -> DiffusionDecoder:
    """The decoder in a folder, for the tokens of a codec. ValueError when it was trained for another codec.

    `decoder.json` names the network's folder, the continuous codec (room and path), the identities of both codecs that
    it was trained with ("trained_with"), "missing_std" and sampler settings as "steps=8".
    """
    value = read_json(folder / DESCRIPTION)
    latents: Codec = rooms.load("codecs", value["codec"]["room"]).load(folder / value["codec"]["path"])
    for name, codec in {"tokens": tokens, "latents": latents}.items():
        if codec.identity != (wanted := value["trained_with"][name]):
            raise ValueError(
                f"{folder / DESCRIPTION}: trained with the {name} of another codec ({wanted[:12]}) than is here "
                f"({codec.identity[:12]}); train it again"
            )
    family: Any = rooms.load("families", "diffusion")
    model, _ = family.load_base(folder / value["network"], Widths(dense=latents.latent_channels))
    sampler = family.Sampler()
    for assignment in value["settings"]:
        sampler = settings.replace(sampler, assignment)
    std_RC = torch.tensor(value["missing_std"])
    return DiffusionDecoder(tokens, latents, family, model, missing_std_RC=std_RC, sampler=sampler)


def sharpened(base: Base) -> DiffusionDecoder:
    """The codec of a base with its diffusion decoder. ValueError when the base names none."""
    if base.decoder_path is None:
        if base.family == "diffusion":
            raise ValueError(
                f"--sharpen is for runs of an autoregressive base, whose tokens lose detail; {base.name} is a "
                "diffusion base, whose clips need no sharpening: leave --sharpen out"
            )
        raise ValueError(f'--sharpen: {base.name} names no diffusion decoder ("decoder" in its base.json)')
    return load(base.decoder_path, base.codec())


def identity(base: Base) -> str:
    """Hash of the decoder's description and weights."""
    assert base.decoder_path is not None
    path = base.decoder_path / DESCRIPTION
    weights = base.decoder_path / read_json(path)["network"] / "model.safetensors"
    return hashlib.sha256((file_hash(path) + file_hash(weights)).encode()).hexdigest()


def _digest(ids: Tensor) -> str:
    return hashlib.sha256(ids.cpu().long().contiguous().numpy().tobytes()).hexdigest()
