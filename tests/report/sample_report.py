"""A small report.json and its clips, made up."""

from typing import Any

import numpy as np

from worldtune.report.film import film_uri
from worldtune.report.page import ShownClip

COLUMNS = {"post-trained": 24.25, "base": 21.5, "shuffled": 23.0, "copy": 20.125, "codec": 30.75}
INJECTION = '<script>alert("x")</script> & "quotes" url(x.png) $title'


def pooled(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.5, "high": value + 0.5, "num_clips": 3, "per_seed": [value, value + 0.1]}


def measure(label: str, better: str) -> dict[str, Any]:
    return {"label": label, "better": better, "decimals": 2, "meaning": "How good it is."}


def sample_report(text: str = "a car turns left") -> dict[str, Any]:
    clips = [{"id": f"clip-{i}", "texts": [text], "psnr_db": dict(COLUMNS)} for i in range(3)]
    curve = {"step": [1, 2, 3], "value": [3.0, 2.0, 1.5]}
    return {
        "verdict": [f"Post-trained is +2.75 dB over the base, told {text}."],
        "title": f"General post-training of {text}",
        "subtitle": "3 held-out clips",
        "num_clips": 3,
        "num_episodes": 3,
        "clips_are": "held-out",
        "num_seeds": 2,
        "columns": {"real": "The truth.", **{name: f"{name}: {text}" for name in COLUMNS}},
        "skipped": {},
        "measures": {"psnr_db": measure("PSNR, dB", "higher"), "fd_own": measure("FD-own", "lower")},
        "values": {name: {"psnr_db": pooled(value), "fd_own": pooled(100 - value)} for name, value in COLUMNS.items()},
        "differences": [
            {"left": "post-trained", "right": "base", "values": {"psnr_db": pooled(2.75), "fd_own": pooled(-2.75)}},
            {"left": "post-trained", "right": "copy", "values": {"psnr_db": pooled(0.25), "fd_own": pooled(0.75)}},
        ],
        "fd_ground": {
            "num_samples": 96,
            "num_features": 32,
            "warning": "n too small: 96 samples",
            "real_vs_real": {"value": 1.25, "num_samples": [32, 64]},
        },
        "per_frame_psnr_db": {"first_frame": 1, "columns": {name: [v, v - 1] for name, v in COLUMNS.items()}},
        "per_clip": clips,
        "training": [{"train loss": curve, "validation loss": curve}, {"train loss": curve}],
        "commands": [f"worldtune generate run --data {text}"],
        "made": [{"out": "out", "settings": {"task": text}}],
        "evaluated": {"worldtune": "0.1.0", "machine": text},
    }


def sample_clips(text: str = "a car turns left", count: int = 3, frames: int = 3) -> list[ShownClip]:
    video = np.random.default_rng(0).integers(0, 256, (frames, 16, 16, 3), dtype=np.uint8)
    return [
        ShownClip(
            id=f"clip-{number}",
            text=text,
            foreign_text="another",
            fps_hz=8.0,
            num_frames=frames,
            num_observed=1,
            width_px=16,
            height_px=16,
            films={name: film_uri(video) for name in ("real", *COLUMNS)},
            psnr_db=dict(COLUMNS),
        )
        for number in range(count)
    ]
