"""What the diffusion decoder changes on held-out clips, for true and for generated tokens:
`python -m nano.judge_decoder --data RENDERED --out results/diffusion_decoder.json`.

Every way of decoding sees the same tokens: those of the clip (the round trip), and those that the base generates after
the clip's first frame. Measured on frames 1 .. 16 of each clip: PSNR and SSIM to the clip; edges, the mean absolute
difference of neighbouring pixels over that of the real clips, 1 where as sharp; FD-own on the continuous codec's
latents, against the real clips.

Shape legend: N clips, V = 1 views, T frames, H W pixels or grid, C channels, L text rows, D width.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nano.data import WORLDS, load_texts, load_videos
from nano.windows import CLIPS_AT_ONCE, FPS_HZ, FRAMES, pad
from worldtune import settings
from worldtune.contract import rooms
from worldtune.contract.condition import Condition, Widths
from worldtune.contract.files import write_json
from worldtune.contract.nouns import Batch
from worldtune.contract.randomness import generator
from worldtune.metrics.frechet import frechet_distance, ground
from worldtune.metrics.intervals import bootstrap_mean, jackknife, paired_difference
from worldtune.metrics.latents import quadrant_features
from worldtune.metrics.pixels import psnr_db, ssim
from worldtune.stages.base import Base, find_base
from worldtune.stages.decoder import DiffusionDecoder, normalised, sharpened
from worldtune.stages.provenance import circumstances

PLAIN, RE_ENCODED = "plain", "plain, through the continuous codec"
Decode = Callable[[Tensor], Tensor]


def held_out(data: Path, count: int) -> tuple[Tensor, list[str]]:
    """The first `count` held-out clips of every world, uint8 [N,1,T,H,W,3], and their captions."""
    clips = [load_videos(data, "val", world)[:count, None, :FRAMES] for world in WORLDS]
    captions = [
        load_texts(data, "val", world, "captions")[: len(part)] for world, part in zip(WORLDS, clips, strict=True)
    ]
    return torch.cat(clips), [caption for part in captions for caption in part]


def generated(base: Base, ids_NVTHW: Tensor, captions: list[str]) -> Tensor:
    """Tokens that the base generates after the first latent frame, with its own sampler settings."""
    family, texts = rooms.load("families", base.family), base.text_encoder()
    network = family.load_base(base.network, Widths(text=texts.width))[0].eval()
    sampler = family.Sampler()
    for assignment in base.settings:
        if assignment.startswith("sampler."):
            sampler = settings.replace(sampler, assignment.removeprefix("sampler."))
    rows = torch.stack([pad(row, texts.max_length) for row in texts.encode(captions)])[:, None]
    made = []
    for first in range(0, len(ids_NVTHW), CLIPS_AT_ONCE):
        part = slice(first, first + CLIPS_AT_ONCE)
        size = len(ids_NVTHW[part])
        batch = Batch(
            target=ids_NVTHW[part],
            controls={},
            fps_hz_B=torch.full((size,), FPS_HZ),
            clip_ids=tuple(map(str, range(first, first + size))),
            num_observed_B=torch.ones(size, dtype=torch.long),
        )
        draws = [generator(0, 0, f"judge/{name}") for name in batch.clip_ids]
        condition, null = Condition(text_BVLD=rows[part]), Condition(text_BVLD=torch.zeros_like(rows[part]))
        made.append(family.sample(network, batch, condition, null, draws, sampler))
    return torch.cat(made)


def ways(decoder: DiffusionDecoder, steps: list[int]) -> dict[str, Decode]:
    """Every way of decoding by name."""

    def re_encoded(ids_NVTHW: Tensor) -> Tensor:
        return decoder.latents.decode(decoder.latents.encode(decoder.tokens.decode(ids_NVTHW)))

    def drawn(count: int) -> Decode:
        sampler = settings.replace(decoder.sampler, f"steps={count}")
        return decoder.with_sampler(sampler).decode

    return {PLAIN: decoder.tokens.decode, RE_ENCODED: re_encoded} | {f"decoder, {n} steps": drawn(n) for n in steps}


def edge_strength(video_VTHWC: np.ndarray) -> float:
    """Mean absolute difference of neighbouring pixels, over rows and columns, frames 1 and later."""
    video = video_VTHWC[:, 1:].astype(np.float64)
    return float((np.abs(np.diff(video, axis=2)).mean() + np.abs(np.diff(video, axis=3)).mean()) / 2)


def judge(decoder: DiffusionDecoder, real: Tensor, ids: Tensor, steps: list[int]) -> dict[str, Any]:
    """Every measure of every way of decoding the same tokens."""
    features_of = _features(decoder)
    real_features = features_of(real)
    truth, results, plain_db = real.numpy(), {}, []
    real_edges = [edge_strength(clip) for clip in truth]
    for name, decode in ways(decoder, steps).items():
        began = time.process_time()
        pixels = torch.cat([decode(part) for part in ids.split(CLIPS_AT_ONCE)])
        seconds = (time.process_time() - began) / len(ids)
        made, features = pixels.numpy(), features_of(pixels)
        db = [psnr_db(one, other, 1) for one, other in zip(made, truth, strict=True)]
        plain_db = plain_db or db

        def distance(chosen: list[int], features: list[np.ndarray] = features) -> float:
            left, right = (np.concatenate([cloud[i] for i in chosen]) for cloud in (features, real_features))
            return frechet_distance(left, right)

        edges = [edge_strength(one) for one in made]
        results[name] = {
            "psnr_db": vars(bootstrap_mean(db, 0)),
            "psnr_db_over_plain": vars(paired_difference(db, plain_db, 0)),
            "ssim": vars(bootstrap_mean([ssim(one, other, 1) for one, other in zip(made, truth, strict=True)], 0)),
            "edges": float(np.mean(edges) / np.mean(real_edges)),
            "fd_own": vars(jackknife(distance, len(real))),
            "cpu_s_per_clip": round(seconds, 4),
        }
        print(name, {key: value["value"] if isinstance(value, dict) else value for key, value in results[name].items()})
    return {"ways": results, "fd_own_stands_on": ground(real_features, 0)}


def _features(decoder: DiffusionDecoder) -> Callable[[Tensor], list[np.ndarray]]:
    """Features of FD-own of every clip, from pixels."""

    def features(pixels: Tensor) -> list[np.ndarray]:
        parts = [normalised(decoder.latents, decoder.latents.encode(part)) for part in pixels.split(CLIPS_AT_ONCE)]
        return [quadrant_features(latent, 1) for latent in torch.cat(parts).numpy()]

    return features


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with WORLD/val/*.npz")
    parser.add_argument("--base", default="nano-autoregressive", help="a base that names a diffusion decoder")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--clips", type=int, default=40, help="held-out clips of every world")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    base = find_base(args.base)
    decoder = sharpened(base)
    real, captions = held_out(args.data, args.clips)
    ids = torch.cat([decoder.encode(part) for part in real.split(CLIPS_AT_ONCE)])
    results = {}
    for source, tokens in {"true tokens": ids, "generated tokens": generated(base, ids, captions)}.items():
        print(source)
        results[source] = judge(decoder, real, tokens, args.steps)
    command = f"python -m nano.judge_decoder --data RENDERED --base {args.base} --clips {args.clips}"
    command += f" --steps {' '.join(map(str, args.steps))}"
    write_json(args.out, {"command": command, **circumstances(), "num_clips": len(real), "results": results})


if __name__ == "__main__":
    main()
