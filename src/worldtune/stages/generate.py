"""Generate: continue held-out clips with the post-trained model, its base and the controls of the comparison.

Every column sees the same observed frames and the same noise: noise depends on (seed, clip) only, not on the batch.

Shape legend: B batch, V views, T frames, H W rows and columns, C channels.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from worldtune import settings
from worldtune.contract.cache import Cache
from worldtune.contract.files import file_hash, write_whole
from worldtune.contract.nouns import leading
from worldtune.contract.protocols import Codec
from worldtune.contract.randomness import generator
from worldtune.dataset import Dataset, Window
from worldtune.report.film import tiled
from worldtune.run import Run, load_run, sampler_with
from worldtune.stages.base import find_base
from worldtune.stages.chosen_clips import partners_of, spread, to_differ
from worldtune.stages.counter import Counter
from worldtune.stages.decoder import identity, sharpened
from worldtune.stages.made_clips import MEANINGS, REAL, ClipInfo, Made, MadeSet
from worldtune.stages.provenance import circumstances
from worldtune.stages.world import (
    WorldModel,
    base_world,
    load_world,
    require_same_base,
    require_same_controls,
    weights_path,
)
from worldtune.training.batches import Clips
from worldtune.training.log import FILE as METRICS_FILE
from worldtune.training.precision import autocast, resolved_precision
from worldtune.video.write import write_video

BATCH_SIZE = 8
"""Clips sampled at a time."""
GIVEN = ("frames", "first-view")
"""What the model is shown: the leading latent frames of every view; and the first view whole besides."""
VIDEO_CRF = 12
"""Quality of the mp4 files for people; nearly lossless."""


def generate(
    run: Path,
    cache: Path,
    out: Path,
    *,
    num_clips: int = 4,
    seed: int = 0,
    split: str = "val",
    num_observed: int = 1,
    given: str = GIVEN[0],
    weights: str = "ema",
    sharpen: bool = False,
    assignments: Sequence[str] = (),
) -> Path:
    """Write made clips (see `made_clips`) of `num_clips` clips of a split into `out`; return `out`.

    One clip of every episode comes first, then a second of each, so few clips show many episodes.
    num_observed: leading latent frames that are given. given: one of GIVEN. sharpen: decode tokens with the base's
    diffusion decoder. assignments: sampler settings, "steps=10".
    A killed generate continues with the same command; more clips may be asked for later. Raises ValueError when `out`
    holds other clips, or run, cache and dataset do not fit each other.
    """
    job = _job(run, Cache.open(cache), seed, num_observed, given, weights, sharpen, assignments)
    if num_clips < 1:
        raise ValueError(f"--num-clips must be at least 1, got {num_clips}")
    indices = spread(job.cache, split)
    chosen = indices[:num_clips]
    partners = partners_of(job.cache, to_differ(job.settings.controls, num_observed), indices, chosen)
    columns, skipped = _columns(num_observed, partners)
    made = MadeSet(
        folder=out,
        settings=_settings(job, cache, split),
        circumstances={
            **circumstances(),
            "device": str(job.device),
            "data": str(cache),
            "command": _command(job, cache, out, num_clips, split, assignments),
            "run": settings.to_json(job.settings),
        },
        columns=columns,
        skipped=skipped,
        clips=[_clip_info(job, index, partners) for index in chosen],
    )
    made.save()
    if (run / METRICS_FILE).exists():
        with write_whole(out / "training.jsonl") as temporary:
            shutil.copyfile(run / METRICS_FILE, temporary)
    _make_all(job, made, chosen, partners, Console())
    return out


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What every column needs."""

    folder: Path
    settings: Run
    cache: Cache
    codec: Codec
    sampler: Any
    seed: int
    num_observed: int
    num_given_views: int
    weights: str
    decoder: str
    """Hash of the diffusion decoder; empty without one."""
    device: torch.device

    @property
    def models_tokens(self) -> bool:
        """Whether clips are token ids: those have no distances, so no latent is kept for measures."""
        return self.codec.num_codes is not None

    def decoded(self, target: Tensor) -> Made:
        """A made target, [V,T,H,W,C] or tokens [V,T,H,W], as pixels."""
        if self.models_tokens:
            return Made(pixels_VTHWC=self._pixels(target))
        raw = self.cache.header.normalisation.raw(target)
        return Made(pixels_VTHWC=self._pixels(raw), latent_VTHWC=target.float().cpu().numpy())

    def encoded(self, pixels_VTHWC: np.ndarray) -> Made:
        """Given pixels, with the latents that the codec makes of them, if it makes any."""
        if self.models_tokens:
            return Made(pixels_VTHWC=pixels_VTHWC)
        raw = self.codec.encode(torch.from_numpy(pixels_VTHWC)[None].to(self.device))[0]
        latent_VTHWC = self.cache.header.normalisation.normalised(raw).cpu().numpy()
        return Made(pixels_VTHWC=pixels_VTHWC, latent_VTHWC=latent_VTHWC)

    def _pixels(self, raw: Tensor) -> np.ndarray:
        return self.codec.decode(raw[None])[0].cpu().numpy()


def _job(
    folder: Path,
    cache: Cache,
    seed: int,
    num_observed: int,
    given: str,
    weights: str,
    sharpen: bool,
    assignments: Sequence[str],
) -> _Job:
    run = load_run(folder)
    sampler = sampler_with(run, assignments)
    grid = cache.header.grid
    if not 0 <= num_observed < grid.frames:
        raise ValueError(f"--num-observed must be in 0..{grid.frames - 1} latent frames, got {num_observed}")
    if given not in GIVEN:
        raise ValueError(f"--given must be one of {', '.join(GIVEN)}, got {given!r}")
    num_given_views = int(given == "first-view")
    if num_given_views >= grid.views:
        raise ValueError(f"--given {given} needs clips of several views, those of {cache.folder} have {grid.views}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = find_base(run.base, run.codec_path, run.text_encoder_path)
    # Here rather than when the model is loaded: what does not fit must be known before anything is written.
    require_same_base(base, cache)
    require_same_controls(folder, cache, weights)
    codec = sharpened(base) if sharpen else base.codec()
    codec.network.to(device)
    return _Job(
        folder=folder,
        settings=run,
        cache=cache,
        codec=codec,
        sampler=sampler,
        seed=seed,
        num_observed=num_observed,
        num_given_views=num_given_views,
        weights=weights,
        decoder=identity(base) if sharpen else "",
        device=device,
    )


def _command(job: _Job, cache: Path, out: Path, num_clips: int, split: str, assignments: Sequence[str]) -> str:
    """The command line that makes the same clips again."""
    words = ["worldtune generate", str(job.folder), f"--data {cache} --out {out}"]
    words += [f"--num-clips {num_clips} --seed {job.seed} --split {split} --num-observed {job.num_observed}"]
    words += [
        f"--weights {job.weights}",
        *(["--given first-view"] if job.num_given_views else []),
        *(["--sharpen"] if job.decoder else []),
        *(f"--set {assignment}" for assignment in assignments),
    ]
    return " ".join(words)


def _settings(job: _Job, cache: Path, split: str) -> dict[str, Any]:
    """What decides the pixels, as plain JSON values."""
    path = weights_path(job.folder, job.weights)
    header = job.cache.header
    special = {"decoder": job.decoder} if job.decoder else {}
    special |= {"given": "first-view"} if job.num_given_views else {}
    return {
        "task": job.settings.task,
        "controls": list(job.settings.controls),
        "base": job.settings.base,
        "weights": job.weights,
        "weights_hash": file_hash(path),
        "training_steps": job.settings.loop.steps,
        "training_seed": job.settings.seed,
        "seed": job.seed,
        "sampler": settings.to_json(job.sampler),
        "split": split,
        "num_observed": job.num_observed,
        "codec": header.codec,
        "text_encoder": header.text_encoder,
        "window": header.window,
        "clips_hash": file_hash(cache / "index.json"),
        **special,
    }


def _columns(num_observed: int, partners: dict[int, int]) -> tuple[dict[str, str], dict[str, str]]:
    """Columns to make with their meanings, and those left out with the reason."""
    skipped = {}
    if not partners:
        skipped["shuffled"] = "every clip of the split has the same control, so there is no other to give"
    if num_observed == 0:
        skipped["copy"] = "no frame is given that could be copied"
    return {name: meaning for name, meaning in MEANINGS.items() if name not in skipped}, skipped


def _clip_info(job: _Job, index: int, partners: dict[int, int]) -> ClipInfo:
    info, grid = job.cache.info(index), job.cache.header.grid
    foreign = job.cache.info(partners[index]) if partners else None
    return ClipInfo(
        id=info["id"],
        texts=list(info["texts"]),
        views=list(info["views"]),
        fps_hz=float(info["fps_hz"]),
        num_observed_frames=max(0, 1 + (job.num_observed - 1) * grid.frames_per_latent),
        num_observed_latents=job.num_observed,
        episode=str(info["episode"]),
        num_given_views=job.num_given_views,
        foreign_id=None if foreign is None else foreign["id"],
        foreign_texts=[] if foreign is None else list(foreign["texts"]),
    )


def _make_all(job: _Job, made: MadeSet, indices: Sequence[int], partners: dict[int, int], console: Console) -> None:
    """Column after column, so that only one model is in memory."""
    todo = {
        column: [index for index in indices if not made.has(job.cache.info(index)["id"], column)]
        for column in made.columns
    }
    makers: dict[str, Callable[[list[int]], Iterator[Made]]] = {
        REAL: lambda chosen: _given(job, chosen, lambda real: real),
        "copy": lambda chosen: _given(job, chosen, lambda real: _copied(real, made.clips[0])),
        "codec": lambda chosen: _round_trips(job, chosen),
        "post-trained": lambda chosen: _sampled(job, load_world(job.folder, job.cache, job.weights), chosen, chosen),
        "base": lambda chosen: _sampled(job, base_world(job.folder, job.cache), chosen, chosen),
        "shuffled": lambda chosen: _sampled(
            job, load_world(job.folder, job.cache, job.weights), chosen, [partners[index] for index in chosen]
        ),
    }
    with Counter("generating", sum(map(len, todo.values())), console) as counter:
        for column, chosen in todo.items():
            if not chosen:
                continue
            for index, result in zip(chosen, makers[column](chosen), strict=True):
                _write(made, job.cache.info(index), column, result)
                counter.add(1)


def _write(made: MadeSet, info: dict[str, Any], column: str, result: Made) -> None:
    """The mp4 first: a clip counts as made when its exact pixels are there."""
    path = made.path(info["id"], column)
    write_video(path.with_suffix(".mp4"), tiled(result.pixels_VTHWC), float(info["fps_hz"]), crf=VIDEO_CRF)
    made.add(info["id"], column, result)


def _given(job: _Job, chosen: list[int], change: Callable[[np.ndarray], np.ndarray]) -> Iterator[Made]:
    """Pixels that come from the dataset."""
    dataset, window = Dataset.of_cache(job.cache), Window(**job.cache.header.window)
    for index in chosen:
        info = job.cache.info(index)
        clip = dataset.read_clip(info["episode"], info["start"], window)
        yield job.encoded(change(clip.video_VTHWC))


def _copied(real_VTHWC: np.ndarray, clip: ClipInfo) -> np.ndarray:
    """The clip with its last observed frame held to the end; views that are given go on."""
    held, first = real_VTHWC.copy(), clip.num_observed_frames
    held[clip.num_given_views :, first:] = real_VTHWC[clip.num_given_views :, first - 1 : first]
    return held


def _round_trips(job: _Job, chosen: list[int]) -> Iterator[Made]:
    """The cached latents decoded, and encoded again."""
    clips = Clips(job.cache, ())
    for index in chosen:
        decoded = job.decoded(clips.batch([index]).target[0].to(job.device))
        yield job.encoded(decoded.pixels_VTHWC)


def _sampled(job: _Job, world: WorldModel, chosen: list[int], controlled_by: list[int]) -> Iterator[Made]:
    """What a model makes of clips, each under the control of the clip beside it in `controlled_by`."""
    world = world.to(job.device)
    clips = Clips(job.cache, ("text", *job.settings.controls))
    precision = resolved_precision(job.settings.loop.precision, job.device)
    for start in range(0, len(chosen), BATCH_SIZE):
        part = slice(start, start + BATCH_SIZE)
        batch = clips.batch(chosen[part])
        batch.controls = clips.batch(controlled_by[part]).controls
        batch.num_observed_B = torch.full((batch.size,), job.num_observed)
        if job.num_given_views:
            batch.observed_BVT = leading(batch.num_observed_B, batch.target).clone()
            batch.observed_BVT[:, : job.num_given_views] = True
        generators = [generator(job.seed, 0, f"generate/{clip_id}") for clip_id in batch.clip_ids]
        with autocast(precision, job.device):
            targets = world.sample(batch.to(job.device), generators, job.sampler)
        yield from map(job.decoded, targets)
