"""A world whose answer is known: the start picture is a cylinder around the camera, and turning rolls it.

Real session, real camera control, exact codec; only the network is replaced by geometry.

Shape legend: B batch, V views, T frames, H W rows and columns, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn

from worldtune.contract.nouns import Batch, Grid
from worldtune.contract.steering import Axis
from worldtune.controls import camera
from worldtune.controls.camera import steering
from worldtune.stages.steer import Steered
from worldtune.steering.session import Session
from worldtune.steering.signals import Driven
from worldtune.steering.state import Observation, Pace

SIZE_PX, R, PATCH = 64, 4, 8
PX_PER_RAD = 40.0


class ExactCodec:
    """Four frames of 8x8 pixels in one vector."""

    identity, latent_channels, frames_per_latent, pixels_per_latent = "exact", R * PATCH * PATCH * 3, R, PATCH
    network = nn.Identity()
    num_codes = None

    def encode(self, video_BVTHWC: Tensor) -> Tensor:
        """The first frame fills a vector alone."""
        first = video_BVTHWC[:, :, :1].expand(-1, -1, R, -1, -1, -1)
        x = torch.cat([first, video_BVTHWC[:, :, 1:]], 2).float()
        x = x.unflatten(2, (-1, R)).unflatten(4, (-1, PATCH)).unflatten(6, (-1, PATCH))
        return x.permute(0, 1, 2, 4, 6, 3, 5, 7, 8).flatten(5)

    def decode(self, latent_BVTHWC: Tensor) -> Tensor:
        """Back again."""
        x = latent_BVTHWC.unflatten(-1, (R, PATCH, PATCH, 3)).permute(0, 1, 2, 5, 3, 6, 4, 7, 8)
        x = x.flatten(6, 7).flatten(4, 5).flatten(2, 3)
        return x[:, :, R - 1 :].round().clamp(0, 255).to(torch.uint8)

    def statistics(self, frames: int) -> tuple[Tensor, Tensor]:
        """Nothing to normalise."""
        return torch.zeros(frames, self.latent_channels), torch.ones(frames, self.latent_channels)


class Wordless:
    """A text encoder for which all texts are alike."""

    identity, width, max_length = "wordless", 2, 3

    def encode(self, texts: Sequence[str]) -> list[Tensor]:
        """One row of zeros each."""
        return [torch.zeros(1, 2) for _ in texts]


def turned(batch: Batch, generators: Sequence[torch.Generator]) -> Tensor:
    """Every frame is the window's first one, rolled by how far the camera has turned since."""
    codec, result = ExactCodec(), batch.target.clone()
    first = codec.decode(batch.target[:, :, :1].float())[0, :, 0]
    poses_VTR44 = batch.controls["camera"]["first_from_camera"][0]
    right_VTR = torch.atan2(poses_VTR44[..., 0, 2], poses_VTR44[..., 2, 2])
    shift_VTR = (right_VTR * PX_PER_RAD).round().long()
    for view in range(len(first)):
        frames = [first[view].roll(-int(shift), 1) for shift in shift_VTR[view, 1:].flatten()]
        video = torch.stack([first[view], *frames])[None, None]
        result[:, view : view + 1] = codec.encode(video)
    assert batch.num_observed_B is not None
    known = int(batch.num_observed_B[0])
    result[:, :, :known] = batch.target[:, :, :known]
    return result


@dataclass(frozen=True)
class Clip:
    """Something to start from."""

    id: str
    split: str = "val"
    texts: tuple[str, ...] = ("a room",)


def picture(seed: int = 0) -> np.ndarray:
    """Smooth columns of colour that differ all around, uint8 [H,W,3]."""
    draw = np.random.default_rng(seed).normal(size=(8, 3, 2))
    angle_W = np.arange(SIZE_PX) * 2 * np.pi / SIZE_PX
    waves = [
        draw[k - 1, c, 0] * np.sin(k * angle_W) + draw[k - 1, c, 1] * np.cos(k * angle_W)
        for c in range(3)
        for k in range(1, 9)
    ]
    rows_CW = np.array(waves).reshape(3, 8, SIZE_PX).sum(1)
    return np.repeat((128 + 25 * rows_CW).clip(0, 255).astype(np.uint8).T[None], SIZE_PX, 0)


def shift_px(before_HWC: np.ndarray, after_HWC: np.ndarray) -> int:
    """By how many columns the scene went to the right, -32..31: where the pictures correlate best."""
    a, b = (image.astype(float).mean(0) - image.mean() for image in (before_HWC, after_HWC))
    spectrum = np.fft.fft(b, axis=0) * np.conj(np.fft.fft(a, axis=0))
    best = int(np.fft.ifft(spectrum, axis=0).real.sum(1).argmax())
    return (best + SIZE_PX // 2) % SIZE_PX - SIZE_PX // 2


class Panorama:
    """What the server drives."""

    name, has_text = "panorama", True
    save, save_dataset = Steered.save, Steered.save_dataset

    def __init__(
        self, fps_hz: float, views: tuple[str, ...] = ("front",), turn_rad_s: float = 1.0, stick: str = "right-x"
    ) -> None:
        axis = Axis(
            name="turn_right",
            unit="rad/s",
            low=-turn_rad_s,
            high=turn_rad_s,
            keys=(("ArrowLeft", "KeyQ"), ("ArrowRight", "KeyE")),
            stick=stick,
        )
        self.run = SimpleNamespace(task="camera", base="panorama")
        self.session = Session(
            sample=turned,
            codec=ExactCodec(),  # type: ignore[arg-type]
            text_encoder=Wordless(),
            controls=[
                Driven(
                    name="camera",
                    align=camera.align,
                    fields=tuple(camera.FIELDS),
                    steering=steering,  # type: ignore[arg-type]
                    axes=(axis,),
                )
            ],
            grid=Grid(views=len(views), frames=5, height=8, width=8, frames_per_latent=R, pixels_per_latent=PATCH),
            views=views,
            fps_hz=fps_hz,
            pace=Pace(window=5),
        )

    def starts(self, most: int | None = None) -> list[Clip]:
        """Two pictures."""
        return [Clip("one"), Clip("two", split="train")]

    def observation(self, start: Clip) -> Observation:
        """A still picture, the same for all views."""
        return self._observation(picture(0 if start.id == "one" else 1), start.texts[0])

    def from_image(self, image_HWC: np.ndarray, like: Clip, text: str | None = None) -> Observation:
        """Cut to size."""
        if len(self.session.views) > 1:
            raise ValueError("this run has 2 cameras")
        return self._observation(np.resize(image_HWC[:1, :1], (SIZE_PX, SIZE_PX, 3)), text or "")

    def _observation(self, image_HWC: np.ndarray, text: str) -> Observation:
        views = len(self.session.views)
        poses = np.tile(np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1], [0, 0, 0, 1]]), (views, 1, 1, 1))
        lens = np.tile(np.array([40.0, 40, 32, 32]), (views, 1, 1))
        return Observation(
            frames_VTHWC=np.repeat(image_HWC[None, None], views, 0),
            features={"camera.world_from_camera": poses, "camera.intrinsics": lens},
            texts=(text,) * views,
        )
