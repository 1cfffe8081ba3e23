"""Every case is heard: one that fails or cannot be read hides no other."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from tests.autoregressive.toy import TOY, model
from worldtune.__main__ import app
from worldtune.families.autoregressive.weights import nvidia_tensors
from worldtune.stages.verify import verify

CONFIG = {
    "dim": TOY.width,
    "n_layers": TOY.num_layers,
    "n_heads": TOY.num_heads,
    "n_kv_heads": TOY.num_kv_heads,
    "head_dim": TOY.head_dim,
    "ffn_hidden_size": TOY.mlp_width,
    "vocab_size": TOY.vocab_size,
    "video_latent_shape": [TOY.max_frames, TOY.max_height, TOY.max_width],
    "use_qk_normalization": True,
    "rope_dim": "3D",
}


def write(path: Path, *, out: torch.Tensor | None = None, without: str = "", **changes: object) -> None:
    """A case of the toy network; changes go into its config."""
    network = model(TOY)
    tokens = torch.arange(24).reshape(2, 12)
    with torch.no_grad():
        layout = network.layout(1, TOY.max_frames, TOY.max_height, TOY.max_width)
        tensors = {"in.tokens": tokens, "out": network(tokens, network.guide(layout)) if out is None else out}
    tensors |= {f"state_dict.{key}": tensor.detach() for key, tensor in nvidia_tensors(network.state_dict()).items()}
    tensors.pop(without, None)
    save_file(tensors, path, {"config": json.dumps(CONFIG | changes)})


def test_verify_names_every_case_and_what_is_wrong_with_it(tmp_path: Path) -> None:
    write(tmp_path / "a_good.safetensors")
    write(tmp_path / "b_far.safetensors", out=torch.ones(2, 12, TOY.vocab_size))
    write(tmp_path / "c_option.safetensors", norm_type="layernorm")
    write(tmp_path / "d_width.safetensors", dim=40)
    write(tmp_path / "e_layers.safetensors", n_layers=1)
    write(tmp_path / "f_input.safetensors", without="in.tokens")
    save_file({"out": torch.zeros(1)}, tmp_path / "g_family.safetensors", {"config": json.dumps({"n_layers": 2})})
    save_file({"out": torch.zeros(1)}, tmp_path / "h_no_case.safetensors")
    (tmp_path / "i_short.safetensors").write_bytes((tmp_path / "a_good.safetensors").read_bytes()[:20])
    write(tmp_path / "j_good.safetensors")
    results = {result.name: result for result in verify(tmp_path)}
    assert [name for name, result in results.items() if result.passed] == ["a_good", "j_good"]
    assert results["b_far"].max_error is not None
    for name, words in {
        "c_option": "not supported: norm_type must be 'rmsnorm', got 'layernorm'",
        "d_width": "size mismatch for embed.weight",
        "e_layers": "11 unexpected tensors, e.g. blocks.1.",
        "f_input": "not a complete reference case, in.tokens is missing",
        "g_family": "not supported: no room here runs",
        "h_no_case": "not a reference case, its metadata has no config",
        "i_short": "damaged or cut short",
    }.items():
        assert words in results[name].note
        assert "\n" not in results[name].note


def test_the_command_prints_all_of_them_and_exits_with_1(tmp_path: Path) -> None:
    write(tmp_path / "good.safetensors")
    assert CliRunner().invoke(app, ["verify", str(tmp_path)]).exit_code == 0
    write(tmp_path / "other.safetensors", norm_type="layernorm")
    printed = CliRunner().invoke(app, ["verify", str(tmp_path)])
    assert printed.exit_code == 1
    assert "passed" in printed.output
    assert "FAILED" in printed.output
    assert "layernorm" in printed.output


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no reference cases"):
        verify(tmp_path)
