"""Comparison with reference cases: a small network, an input, and what NVIDIA's own code computed for it."""

from pathlib import Path

import torch

from worldtune.networks.causal_video.reference import LIMIT, read_case, relative_error


def check_tokenizer_case(path: Path) -> tuple[float, float]:
    """(largest error of latent and reconstruction relative to the largest value of each, the limit) of one case.

    The file holds `state_dict.*`, `in.video`, `out.latent`, `out.video`, and the configuration as metadata.
    """
    case = read_case(path, ("in.video", "out.latent", "out.video"))
    with torch.no_grad():
        latent_BCTHW, video_BCTHW = case.checkpoint.network()(case.tensors["in.video"])
    errors = (
        relative_error(latent_BCTHW, case.tensors["out.latent"]),
        relative_error(video_BCTHW, case.tensors["out.video"]),
    )
    return max(errors), LIMIT
