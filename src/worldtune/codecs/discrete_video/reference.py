"""Comparison with reference cases: a small network, an input, and what NVIDIA's own code computed for it."""

from dataclasses import replace
from pathlib import Path

import torch

from worldtune.codecs.discrete_video.codec import quantizer_of
from worldtune.networks.causal_video.reference import LIMIT, read_case, relative_error


def check_tokenizer_case(path: Path) -> tuple[float, float]:
    """(largest relative error of codes and reconstruction, the limit); infinite when any index differs.

    The file holds `state_dict.*`, `in.video`, `out.indices`, `out.codes`, `out.video`, and the configuration.
    """
    case = read_case(path, ("in.video", "out.indices", "out.codes", "out.video"))
    network = case.checkpoint.network()
    quantizer = quantizer_of(replace(case.checkpoint, levels=case.levels or case.checkpoint.levels))
    with torch.no_grad():
        codes_BTHWC = quantizer.codes(network.encode(case.tensors["in.video"]).permute(0, 2, 3, 4, 1))
        indices_BTHW = quantizer.indices(codes_BTHWC)
        codes_BCTHW = quantizer.codes_of(indices_BTHW).permute(0, 4, 1, 2, 3)
        video_BCTHW = network.decode(codes_BCTHW)
    if not torch.equal(indices_BTHW, case.tensors["out.indices"].long()):
        return float("inf"), LIMIT
    errors = (
        relative_error(codes_BCTHW, case.tensors["out.codes"]),
        relative_error(video_BCTHW, case.tensors["out.video"]),
    )
    return max(errors), LIMIT
