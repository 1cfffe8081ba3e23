"""A probe: a small network that reads a physical quantity from video, trained on real clips only.

It answers whether a made clip shows what was commanded. Its error on real clips is the floor of every such answer.

Shape legend: N clips, V views, T frames (pixel or latent, as said), R pixel frames of one latent frame, H W rows and
columns, C channels (3 per view), B batch, D numbers to read.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from worldtune.contract.files import write_whole
from worldtune.contract.randomness import derived_seed, generator
from worldtune.metrics.pixels import shrunk

FILE = "probe.safetensors"
MIN_CLIPS = 4
VISITS = 32_000
"""Latent frames seen in training, repeats included: about half a minute on one core for pictures of 64 px."""
ROUND_VISITS = 2_000
"""Latent frames between two looks at the held-out clips."""
PATIENCE = 8
"""Rounds without progress after which training ends."""
HELD_OUT = 0.15
"""Share of the clips that tells when to stop."""
BATCH_SIZE = 64
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-2
MOTION_GAIN = 4.0
"""Differences of frames are small numbers; this brings them to the size of the frames."""


@dataclass(frozen=True, kw_only=True)
class ProbeSize:
    """What a probe is made for."""

    views: int
    frames_per_latent: int
    height_px: int
    width_px: int
    """Of the pictures as the probe sees them."""
    numbers: int
    """D."""


@dataclass(frozen=True, kw_only=True)
class Schooling:
    """How a probe was trained and how well it reads real clips that it was not trained on."""

    num_clips: int
    """Trained on."""
    num_held_out: int
    """Clips that told when to stop."""
    visits: int
    """Latent frames seen until the best round."""
    explained: float
    """1 - squared error / variance over the held-out clips, averaged over the numbers: 1 is perfect, 0 the mean."""
    explained_D: list[float]
    """The same for every number; 0 where it does not vary."""


class Probe(nn.Module):
    """Pixel frames (k-1)R .. kR of all views -> the numbers of latent frame k."""

    mean_D: Tensor
    std_D: Tensor

    def __init__(self, size: ProbeSize) -> None:
        super().__init__()
        self.size = size
        channels = 3 * size.views * (size.frames_per_latent + 1)
        layers: list[nn.Module] = []
        height, width = size.height_px, size.width_px
        # The first layer's stride of 4 halves the time of two layers of stride 2.
        for inner, kernel, stride in ((32, 6, 4), (64, 3, 2), (64, 3, 2)):
            layers += [
                nn.Conv2d(channels, inner, kernel, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(inner),
                nn.ReLU(inplace=True),
            ]
            height, width = ((side + 2 - kernel) // stride + 1 for side in (height, width))
            channels = inner
        self.see = nn.Sequential(*layers, nn.Flatten())
        self.tell = nn.Sequential(
            nn.Linear(channels * height * width, 128), nn.ReLU(inplace=True), nn.Linear(128, size.numbers)
        )
        self.register_buffer("mean_D", torch.zeros(size.numbers))
        self.register_buffer("std_D", torch.ones(size.numbers))

    def forward(self, frames_BTCHW: Tensor) -> Tensor:
        """R + 1 frames, uint8 [B,R+1,C,H,W] -> normalised numbers [B,D]."""
        # The first frame and the differences from there on say the same as all frames, and motion stands out.
        levels = frames_BTCHW.float() / 255
        seen = torch.cat([levels[:, :1] - 0.5, MOTION_GAIN * levels.diff(dim=1)], 1)
        told: Tensor = self.tell(self.see(seen.flatten(1, 2)))
        return told

    @torch.inference_mode()
    def read(self, video_VTHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """A clip, uint8 [V,T,H,W,3] -> what it shows in each latent frame, physical units [t,D]; row 0 is zero."""
        self.eval()
        frames_TCHW = pictures(video_VTHWC)
        r = self.size.frames_per_latent
        seen = (3 * self.size.views, self.size.height_px, self.size.width_px)
        if frames_TCHW.shape[1:] != seen or (len(frames_TCHW) - 1) % r:
            raise ValueError(
                f"the probe reads clips of 1 + {r} k frames, [C,H,W] = {list(seen)}, got {list(frames_TCHW.shape)}"
            )
        count = (len(frames_TCHW) - 1) // r
        if not count:
            return np.zeros((1, self.size.numbers), np.float32)
        read_TD = self(frames_TCHW[_frames_of(torch.arange(1, count + 1), r)]) * self.std_D + self.mean_D
        return F.pad(read_TD, (0, 0, 1, 0)).numpy()


def pictures(video_VTHWC: NDArray[np.uint8]) -> Tensor:
    """A clip as a probe sees it: views as colours, the shorter side at most PICTURE_PX, uint8 [T,3V,H,W]."""
    frames_TVCHW = torch.from_numpy(video_VTHWC).permute(1, 0, 4, 2, 3)
    frames_TCHW = frames_TVCHW.flatten(1, 2).contiguous()
    small_TCHW = shrunk(frames_TCHW)
    return small_TCHW.round().to(torch.uint8) if small_TCHW.is_floating_point() else small_TCHW


def _frames_of(latents: Tensor, r: int) -> Tensor:
    """Pixel frames (k-1)r .. kr of each latent frame k, [B, r+1]."""
    return (latents[:, None] - 1) * r + torch.arange(r + 1)


def train_probe(
    pictures_NTCHW: Tensor,
    targets_NTD: NDArray[np.float32],
    groups_N: Sequence[int],
    seed: int = 0,
    progress: Callable[[int], None] = lambda visits: None,
) -> tuple[Probe, Schooling]:
    """Train a probe on real clips, as `pictures` gives them, and on what each of their latent frames shows.

    groups_N: clips of one group (an episode) are never on both sides of the cut that tells when to stop. Everything
    is a function of the arguments. `progress` is told the visits so far. ValueError for fewer than MIN_CLIPS clips.
    """
    num_clips, num_latents, numbers = targets_NTD.shape
    if num_clips < MIN_CLIPS or num_latents < 2:
        raise ValueError(f"a probe needs {MIN_CLIPS} clips of 2 latent frames, got {num_clips} of {num_latents}")
    r, rest = divmod(pictures_NTCHW.shape[1] - 1, num_latents - 1)
    assert not rest, "frames and latent frames do not fit"
    _, _, channels, height, width = pictures_NTCHW.shape
    size = ProbeSize(views=channels // 3, frames_per_latent=r, height_px=height, width_px=width, numbers=numbers)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, 0, "probe"))
        probe = Probe(size)
    held_N = _held_out(groups_N, seed)
    places = [
        torch.cartesian_prod(torch.from_numpy(clips), torch.arange(1, num_latents))
        for clips in (np.flatnonzero(~held_N), np.flatnonzero(held_N))
    ]
    targets = torch.from_numpy(targets_NTD).double()
    learnt_ND = targets[~torch.from_numpy(held_N), 1:].flatten(0, 1)
    std_D, mean_D = torch.std_mean(learnt_ND, 0, correction=0)
    probe.mean_D.copy_(mean_D)
    probe.std_D.copy_(torch.where(std_D > 1e-6 * mean_D.abs().clamp(min=1), std_D, 1.0))
    scaled_NTD = ((targets - probe.mean_D) / probe.std_D).float()
    visits, explained_D = _fit(probe, pictures_NTCHW, scaled_NTD, places[0], places[1], seed, progress)
    varies_D = std_D > 1e-6 * mean_D.abs().clamp(min=1)
    schooling = Schooling(
        num_clips=int((~held_N).sum()),
        num_held_out=int(held_N.sum()),
        visits=visits,
        explained=float(explained_D[varies_D].mean()) if varies_D.any() else 0.0,
        explained_D=torch.where(varies_D, explained_D, 0.0).tolist(),
    )
    return probe.eval(), schooling


def _held_out(groups_N: Sequence[int], seed: int) -> NDArray[np.bool_]:
    """Which clips tell when to stop: whole groups, at least one, never all."""
    groups = np.asarray(groups_N)
    if len(np.unique(groups)) < 2:
        groups = np.arange(len(groups))
    known = np.unique(groups)
    shuffled = known[torch.randperm(len(known), generator=generator(seed, 0, "probe/held out")).numpy()]
    held_N = np.zeros(len(groups), bool)
    for group in shuffled[:-1]:
        if held_N.mean() >= HELD_OUT:
            break
        held_N |= groups == group
    return held_N


def _fit(
    probe: Probe,
    pictures_NTCHW: Tensor,
    scaled_NTD: Tensor,
    learn_M2: Tensor,
    judge_M2: Tensor,
    seed: int,
    progress: Callable[[int], None],
) -> tuple[int, Tensor]:
    """Train in place, end with the weights of the best round. Places are (clip, latent frame)."""
    optimizer = torch.optim.AdamW(probe.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    best, best_visits, best_D = float("inf"), 0, torch.zeros(probe.size.numbers)
    kept = {name: value.clone() for name, value in probe.state_dict().items()}
    visits, epoch, stale = 0, 0, 0
    order: list[Tensor] = []
    while visits < VISITS and stale < PATIENCE:
        probe.train()
        goal = min(visits + ROUND_VISITS, VISITS)
        while visits < goal:
            if not order:
                draws = torch.randperm(len(learn_M2), generator=generator(seed, epoch, "probe/order"))
                order, epoch = list(draws.split(BATCH_SIZE)), epoch + 1
            chosen_B2 = learn_M2[order.pop()]
            if len(chosen_B2) > 1:  # statistics of a batch need two
                optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - visits / VISITS)
                loss = F.smooth_l1_loss(*_told(probe, pictures_NTCHW, scaled_NTD, chosen_B2))
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            visits += len(chosen_B2)
        squares_D, explained_D = _judged(probe, pictures_NTCHW, scaled_NTD, judge_M2)
        error, stale = float(squares_D.mean()), stale + 1
        if error < best:
            best, best_visits, best_D, stale = error, visits, explained_D, 0
            kept = {name: value.clone() for name, value in probe.state_dict().items()}
        progress(visits)
    probe.load_state_dict(kept)
    return best_visits, best_D


def _told(probe: Probe, pictures_NTCHW: Tensor, scaled_NTD: Tensor, places_B2: Tensor) -> tuple[Tensor, Tensor]:
    """What the probe says of these latent frames, and the truth."""
    clips_B, latents_B = places_B2.unbind(1)
    frames_BT = _frames_of(latents_B, probe.size.frames_per_latent)
    return probe(pictures_NTCHW[clips_B[:, None], frames_BT]), scaled_NTD[clips_B, latents_B]


@torch.inference_mode()
def _judged(probe: Probe, pictures_NTCHW: Tensor, scaled_NTD: Tensor, places_M2: Tensor) -> tuple[Tensor, Tensor]:
    """Squared error and explained variance of every number, [D] each."""
    probe.eval()
    pairs = [_told(probe, pictures_NTCHW, scaled_NTD, places) for places in places_M2.split(4 * BATCH_SIZE)]
    told_MD, truth_MD = (torch.cat(column) for column in zip(*pairs, strict=True))
    squares_D = (told_MD - truth_MD).square().mean(0)
    return squares_D, 1 - squares_D / truth_MD.var(0, correction=0).clamp(min=1e-12)


def save_probe(probe: Probe, schooling: Schooling, key: str, folder: Path) -> None:
    """Write the folder whole. `key` says what the probe was trained on."""
    notes = {"key": key, "size": json.dumps(asdict(probe.size)), "schooling": json.dumps(asdict(schooling))}
    with write_whole(folder) as temporary:
        temporary.mkdir()
        save_file(probe.state_dict(), temporary / FILE, notes)


def load_probe(folder: Path, key: str) -> tuple[Probe, Schooling] | None:
    """The probe in a folder; None when there is none, or it was trained on something else, or its file is damaged."""
    path = folder / FILE
    try:
        with safe_open(path, framework="pt") as stream:
            notes = stream.metadata() or {}
        if notes.get("key") != key:
            return None
        probe = Probe(ProbeSize(**json.loads(notes["size"])))
        probe.load_state_dict(load_file(path))
        return probe.eval(), Schooling(**json.loads(notes["schooling"]))
    except (OSError, SafetensorError, KeyError, TypeError, RuntimeError):
        return None
