"""Our network against NVIDIA's outputs."""

from pathlib import Path

import pytest
import torch

from worldtune.families.autoregressive.decode_step import DecodeStep
from worldtune.families.autoregressive.reference import LIMIT, check_ar_case, config_from_nvidia, load_case, read_case

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"
CASES = ("base", "video2world", "yarn")


def case_path(name: str) -> Path:
    """Path of a reference case; skips when it is not there."""
    path = GOLDEN / f"ar_{name}.safetensors"
    if not path.exists():
        pytest.skip(f"no reference case {path}")
    return path


@pytest.mark.parametrize("name", CASES)
def test_network_computes_what_nvidias_does(name: str) -> None:
    error, limit = check_ar_case(case_path(name))
    assert error <= limit == LIMIT == 2e-5


@pytest.mark.parametrize("name", CASES)
def test_cached_decoding_computes_what_nvidias_does(name: str) -> None:
    """A prefill of a few tokens, then one token at a time."""
    network, case = load_case(case_path(name))
    config, tokens_BN = network.config, case["in.tokens"]
    layout = network.layout(1, config.max_frames, config.max_height, config.max_width)
    context = case.get("in.context")
    with torch.no_grad():
        rows = network.guide(layout, text_BVLC=None if context is None else context[:, None])
        cache = network.new_cache(len(tokens_BN), layout.num_rows, rows)
        parts = [network(tokens_BN[:, :30], rows, cache)]
        step = DecodeStep(network, rows, cache)
        parts += [step.logits(tokens_BN[:, row], row)[:, None] for row in range(30, tokens_BN.shape[1])]
    wanted = case["out"]
    assert (torch.cat(parts, 1) - wanted).abs().max() <= LIMIT * wanted.abs().max()


def test_a_variant_that_no_released_model_uses_is_refused() -> None:
    value, _ = read_case(case_path("base"))
    with pytest.raises(ValueError, match="rope_dim 3D is supported, got rmsnorm and 1D"):
        config_from_nvidia({**value, "rope_dim": "1D"})
