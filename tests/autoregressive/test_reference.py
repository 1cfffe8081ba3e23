"""Our network against NVIDIA's outputs."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.autoregressive.toy import TOY_TEXT
from worldtune.families.autoregressive.blocks import Block
from worldtune.families.autoregressive.config import NetworkConfig
from worldtune.families.autoregressive.decode_step import DecodeStep
from worldtune.families.autoregressive.reference import LIMIT, check_ar_case, config_from_nvidia, load_case

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


@pytest.mark.parametrize(
    ("name", "got"), [("norm_type", "layernorm"), ("rope_dim", "1D"), ("pytorch_rope_version", "v1")]
)
def test_a_variant_that_no_released_model_uses_is_refused(name: str, got: str) -> None:
    value = {"norm_type": "rmsnorm", "rope_dim": "3D", name: got}
    with pytest.raises(ValueError, match=rf"{name} must be .*, got '{got}'"):
        config_from_nvidia(value)


def test_every_option_is_read_from_the_case() -> None:
    value = {
        "dim": 60, "n_layers": 5, "n_heads": 6, "n_kv_heads": 3, "ffn_hidden_size": 44, "vocab_size": 99,
        "video_latent_shape": [2, 5, 7], "rope_dim": "3D", "use_qk_normalization": False, "norm_eps": 1e-3,
        "rope_theta": 10000, "insert_cross_attn": True, "insert_cross_attn_every_k_layers": 2, "context_dim": 17,
        "apply_abs_pos_emb": True, "apply_yarn": True, "yarn_scale": 4, "yarn_beta_fast": 32, "yarn_beta_slow": 2,
        "original_latent_shape": [1, 3, 6],
    }  # fmt: skip
    assert config_from_nvidia(value) == NetworkConfig(
        width=60, num_layers=5, num_heads=6, num_kv_heads=3, head_dim=10, mlp_width=44, vocab_size=99, max_frames=2,
        max_height=5, max_width=7, cross_attention_every=2, text_channels=17, absolute_positions=True, qk_norm=False,
        norm_eps=1e-3, rope_theta=10000.0, yarn_scale=4.0, yarn_frames=1, yarn_side=3, yarn_beta_fast=32.0,
        yarn_beta_slow=2.0,
    )  # fmt: skip
    assert config_from_nvidia(value | {"head_dim": 16, "n_kv_heads": None}).head_dim == 16
    assert config_from_nvidia(value | {"head_dim": 16, "n_kv_heads": None}).num_kv_heads == 6


def test_norm_eps_is_not_for_the_norms_of_heads() -> None:
    block = Block(replace(TOY_TEXT, norm_eps=1e-3), 0)
    assert block.cross is not None
    norms = (block.self_norm, block.mlp_norm, block.cross.norm)
    assert [norm.eps for norm in norms] == [1e-3] * 3
    for attention in (block.self_attention, block.cross.attention):
        assert attention.norm_q is not None
        assert attention.norm_k is not None
        assert attention.norm_q.eps == attention.norm_k.eps == 1e-5
