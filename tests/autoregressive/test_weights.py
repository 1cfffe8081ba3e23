"""Weights in and out: names, round trips, growth, the account of every tensor, and files that are no good."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.autoregressive.toy import ALL, TOY, TOY_TEXT, carriers, model, tokens
from worldtune.contract.condition import Widths
from worldtune.families import autoregressive, diffusion
from worldtune.families.autoregressive.config import NetworkConfig
from worldtune.families.autoregressive.network import VideoTransformer
from worldtune.families.autoregressive.presets import PRESETS, preset
from worldtune.families.autoregressive.weights import export_nvidia, load_base, load_model, nvidia_tensors, save

PARAMETERS = {
    "cosmos-4b": 4_014_088_192,
    "cosmos-5b-video2world": 4_584_845_312,
    "cosmos-12b": 11_560_975_360,
    "cosmos-13b-video2world": 13_323_125_760,
}


def same(got: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    """Names, dtypes and bits."""
    return got.keys() == wanted.keys() and all(
        got[key].dtype == wanted[key].dtype and torch.equal(got[key], wanted[key]) for key in wanted
    )


@pytest.fixture
def nvidia_file(tmp_path: Path) -> Path:
    """A model.pt of the toy without text, our description beside it."""
    export_nvidia(model(TOY).state_dict(), TOY, tmp_path / "base")
    return tmp_path / "base" / "model.pt"


# --- presets


@pytest.mark.parametrize("name", PARAMETERS)
def test_presets_have_the_released_sizes(name: str) -> None:
    with torch.device("meta"):
        network = VideoTransformer(preset(name), Widths())
    assert sum(tensor.numel() for tensor in network.parameters()) == PARAMETERS[name]
    shapes = {key: tuple(tensor.shape) for key, tensor in nvidia_tensors(network.state_dict()).items()}
    width, reads_text = preset(name).width, "video2world" in name
    assert shapes["model.tok_embeddings.weight"] == (64064 if reads_text else 64000, width)
    assert shapes["model.output.weight"] == (64000, width)
    last = f"model.layers.{preset(name).num_layers - 1}."
    wanted = {
        "attention.wq.weight": (4096, width), "attention.wk.weight": (1024, width),
        "attention.wv.weight": (1024, width), "attention.wo.weight": (width, 4096),
        "attention.q_norm.weight": (128,), "attention.k_norm.weight": (128,),
        "attention_norm.weight": (width,), "ffn_norm.weight": (width,),
        "feed_forward.w1.weight": (14336, width), "feed_forward.w2.weight": (width, 14336),
        "feed_forward.w3.weight": (14336, width),
    }  # fmt: skip
    if reads_text:
        wanted |= {
            "cross_attention.wq.weight": (4096, width), "cross_attention.wk.weight": (1024, 1024),
            "cross_attention.wv.weight": (1024, 1024), "cross_attention.wo.weight": (width, 4096),
            "cross_attention.q_norm.weight": (128,), "cross_attention.k_norm.weight": (128,),
            "cross_attention_norm.weight": (width,),
        }  # fmt: skip
    assert {key.removeprefix(last): shape for key, shape in shapes.items() if key.startswith(last)} == wanted


def test_nano_is_small_and_unknown_names_are_named() -> None:
    with torch.device("meta"):
        network = VideoTransformer(PRESETS["nano"], Widths())
    assert 3e6 < sum(tensor.numel() for tensor in network.parameters()) < 7e6
    with pytest.raises(ValueError, match="did you mean 'cosmos-4b'"):
        preset("cosmos-4")


# --- round trips


@pytest.mark.parametrize("config", [TOY, TOY_TEXT], ids=["base", "video2world"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nvidia_to_ours_to_nvidia_is_bit_identical(tmp_path: Path, config: NetworkConfig, dtype: torch.dtype) -> None:
    export_nvidia(model(config).to(dtype).state_dict(), config, tmp_path / "a")
    loaded, _ = load_model(tmp_path / "a", Widths(), dtype=None)
    save(loaded, tmp_path / "ours")
    again, _ = load_model(tmp_path / "ours", Widths(), dtype=None)
    assert again.config == config
    export_nvidia(again.state_dict(), again.config, tmp_path / "b")
    files = [torch.load(tmp_path / name / "model.pt", weights_only=True) for name in "ab"]
    assert same(files[1], files[0])


def test_other_shapes_of_nvidias_files_are_read(tmp_path: Path, nvidia_file: Path) -> None:
    """Bare names, a dictionary around them, safetensors, by-products."""
    tensors = torch.load(nvidia_file, weights_only=True)
    bare = {key.removeprefix("model."): tensor for key, tensor in tensors.items()}
    torch.save({"model": {**bare, "layers.0.x._extra_state": torch.zeros(0)}, "iteration": 3}, nvidia_file)
    loaded, coverage = load_base(nvidia_file, Widths())
    assert coverage.ignored == ("layers.0.x._extra_state",)
    save_file(bare, nvidia_file.parent / "model.safetensors")
    again, _ = load_base(nvidia_file.parent, Widths())
    assert same(loaded.state_dict(), again.state_dict())
    assert same(loaded.state_dict(), model(TOY).state_dict())


def test_carriers_survive_our_folder_and_an_nvidia_export(tmp_path: Path) -> None:
    ours = model(TOY_TEXT, ALL)
    save(ours, tmp_path / "ours")
    export_nvidia(ours.state_dict(), TOY_TEXT, tmp_path / "nvidia")
    for folder in ("ours", "nvidia"):
        again, coverage = load_model(tmp_path / folder, ALL)
        assert same(again.state_dict(), ours.state_dict())
        assert not coverage.new_and_zero


def test_configuration_is_inferred_from_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "toy", replace(TOY_TEXT, num_heads=2, num_kv_heads=1, head_dim=24, vocab_size=9))
    export_nvidia(model(TOY_TEXT).state_dict(), TOY_TEXT, tmp_path)
    (tmp_path / "worldtune.json").unlink()
    assert load_base(tmp_path, Widths())[0].config == TOY_TEXT


# --- growth


@pytest.mark.parametrize("dtype", [torch.float32, None])
def test_a_grown_base_is_the_base(nvidia_file: Path, dtype: torch.dtype | None) -> None:
    base, plain = load_model(nvidia_file, Widths(), dtype=dtype)
    grown, coverage = load_model(nvidia_file, ALL, dtype=dtype)
    assert coverage.matched == plain.matched
    kinds = {key.split(".")[2] if key.startswith("blocks") else key.split(".")[0] for key in coverage.new_and_zero}
    assert kinds == {"cross", "frame_injection", "dense_injection", "view_embedding"}
    layout, ids_BN = base.layout(1, 3, 3, 4), tokens().flatten(1)
    got, wanted = grown(ids_BN, grown.guide(layout, **carriers(ALL))), base(ids_BN, base.guide(layout))
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6)
    assert all(parameter.requires_grad for parameter in grown.parameters())
    again, _ = load_model(nvidia_file, ALL, dtype=dtype)
    assert same(again.state_dict(), grown.state_dict()), "what is added must not depend on earlier random numbers"


def test_a_base_that_gained_text_is_exported_as_one_that_has_it(tmp_path: Path, nvidia_file: Path) -> None:
    grown, _ = load_base(nvidia_file, Widths(text=20))
    config = autoregressive.network_config(nvidia_file, grown.state_dict())
    assert config == grown.config == replace(TOY, cross_attention_every=1, text_channels=20)
    autoregressive.EXPORTS["nvidia"](grown.state_dict(), config, tmp_path / "out")
    again, coverage = load_base(tmp_path / "out", Widths(text=20))
    assert coverage.new_and_zero == ()
    assert same(again.state_dict(), grown.state_dict())
    assert autoregressive.network_config(nvidia_file, model(TOY).state_dict()) == TOY


def test_families_tell_each_others_files_apart(tmp_path: Path, nvidia_file: Path) -> None:
    save(model(TOY), tmp_path / "ours")
    torch.save({"net.x_embedder.proj.1.weight": torch.zeros(1)}, tmp_path / "diffusion.pt")
    for path in (nvidia_file, nvidia_file.parent, tmp_path / "ours"):
        assert autoregressive.recognises(path)
        assert not diffusion.recognises(path)
    assert diffusion.recognises(tmp_path / "diffusion.pt")
    assert not autoregressive.recognises(tmp_path / "diffusion.pt")
    assert not autoregressive.recognises(tmp_path)


def test_text_of_another_width_is_refused(tmp_path: Path) -> None:
    save(model(TOY_TEXT), tmp_path)
    with pytest.raises(ValueError, match="reads text of width 20, the controls bring 16"):
        load_base(tmp_path, Widths(text=16))


# --- files that are no good


def test_missing_unknown_and_misshapen_tensors_are_named(nvidia_file: Path) -> None:
    whole = torch.load(nvidia_file, weights_only=True)
    key = "model.layers.1.feed_forward.w2.weight"
    torch.save({name: tensor for name, tensor in whole.items() if name != key}, nvidia_file)
    with pytest.raises(ValueError, match=r"model.pt: .* 1 missing tensors, e.g. blocks.1.mlp.down.weight"):
        load_base(nvidia_file, Widths())
    torch.save({**whole, "model.layers.1.stranger.weight": torch.zeros(1)}, nvidia_file)
    with pytest.raises(ValueError, match="1 unexpected tensors, e.g. model.layers.1.stranger.weight"):
        load_base(nvidia_file, Widths())
    torch.save({**whole, key: torch.zeros(3, 3)}, nvidia_file)
    with pytest.raises(ValueError, match=r"another size: blocks.1.mlp.down.weight is \(3, 3\)"):
        load_base(nvidia_file, Widths())
    torch.save({**whole, "model.note": "text"}, nvidia_file)
    with pytest.raises(ValueError, match="model.note is a str, wanted only tensors"):
        load_base(nvidia_file, Widths())


def test_damaged_files_die_in_one_sentence(tmp_path: Path, nvidia_file: Path) -> None:
    content = nvidia_file.read_bytes()
    nvidia_file.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"model.pt: (damaged|refused)"):
        load_base(nvidia_file, Widths())
    nvidia_file.write_bytes(pickle.dumps(print))
    with pytest.raises(ValueError, match=r"model.pt: refused"):
        load_base(nvidia_file, Widths())
    save(model(TOY), tmp_path / "ours")
    weights = tmp_path / "ours" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"model.safetensors: damaged or cut short"):
        load_base(tmp_path / "ours", Widths())
    with pytest.raises(ValueError, match="no such file or folder"):
        load_base(tmp_path / "nothing", Widths())
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no autoregressive checkpoint here"):
        load_base(tmp_path / "empty", Widths())


def test_descriptions_that_are_no_good_are_named(tmp_path: Path) -> None:
    save(model(TOY), tmp_path)
    path = tmp_path / "config.json"
    value = json.loads(path.read_text())
    for change, message in (
        ({"kind": "other"}, "not the description of an autoregressive network"),
        ({"network": 3}, "network is missing"),
        ({"network": {**value["network"], "num_head": 2}}, "did you mean 'num_heads'"),
        ({"network": {**value["network"], "num_heads": 2.5}}, "num_heads must be of type int"),
        ({"network": {**value["network"], "num_heads": 3}}, "num_heads 3 must divide by num_kv_heads 2"),
    ):
        path.write_text(json.dumps({**value, **change}))
        with pytest.raises(ValueError, match=message):
            load_base(tmp_path, Widths())


def test_a_size_that_nobody_released_needs_a_description(nvidia_file: Path) -> None:
    (nvidia_file.parent / "worldtune.json").unlink()
    with pytest.raises(ValueError, match="no released model has width 32 and 2 layers without text"):
        load_base(nvidia_file, Widths())
