"""Weights in and out: names, round trips, growth, the account of every tensor, and files that are no good."""

import json
import pickle
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.diffusion.toy import TOY, TOY_MULTIVIEW, TOY_VIDEO, inputs, model
from worldtune.contract.condition import Widths
from worldtune.families.diffusion.config import NetworkConfig
from worldtune.families.diffusion.inject import GAIN
from worldtune.families.diffusion.logvariance import DiffusionModel
from worldtune.families.diffusion.presets import PRESETS, preset
from worldtune.families.diffusion.weights import load_base, load_model, nvidia_tensors, save
from worldtune.stages import export as stage

BOTH = Widths(frame=7, dense=3)
export = partial(stage.export, "diffusion")


def same(got: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    """Names, dtypes and bits."""
    return got.keys() == wanted.keys() and all(
        got[key].dtype == wanted[key].dtype and torch.equal(got[key], wanted[key]) for key in wanted
    )


def cosmos_like(config: NetworkConfig) -> dict[str, Tensor]:
    """What NVIDIA's model.pt of this configuration holds, in bf16, with the by-products of its libraries."""
    tensors = nvidia_tensors(model(config).bfloat16().state_dict(), config)
    tensors["net.blocks.block0.blocks.0.block.attn.to_q.0._extra_state"] = torch.zeros(0)
    return tensors


@pytest.fixture
def nvidia_file(tmp_path: Path) -> Path:
    """A model.pt of the toy video2world size with our description beside it."""
    export(model(TOY_VIDEO).state_dict(), TOY_VIDEO, tmp_path / "base", "nvidia")
    return tmp_path / "base" / "model.pt"


# --- round trips


@pytest.mark.parametrize("config", [TOY, TOY_VIDEO, TOY_MULTIVIEW], ids=["single", "video", "multiview"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nvidia_to_ours_to_nvidia_is_bit_identical(tmp_path: Path, config: NetworkConfig, dtype: torch.dtype) -> None:
    export(model(config).to(dtype).state_dict(), config, tmp_path / "a", "nvidia")
    loaded, coverage = load_model(tmp_path / "a", Widths(), dtype=None)
    assert coverage.ignored == ("net.pos_embedder.seq",)
    save(loaded, tmp_path / "ours")
    again, _ = load_model(tmp_path / "ours", Widths(), dtype=None)
    export(again.state_dict(), again.net.config, tmp_path / "b", "nvidia")
    files = [torch.load(tmp_path / name / "model.pt", weights_only=True) for name in "ab"]
    assert same(files[1], files[0])


def test_ours_to_diffusers_to_ours_is_bit_identical(tmp_path: Path) -> None:
    ours = model(TOY_VIDEO, Widths(dense=3))
    export(ours.state_dict(), TOY_VIDEO, tmp_path / "d", "diffusers")
    again, coverage = load_model(tmp_path / "d", Widths(dense=3))
    assert again.net.config == TOY_VIDEO
    assert same(again.net.state_dict(), ours.net.state_dict())
    assert set(coverage.new_and_zero) == {"logvar.freqs", "logvar.phases", "logvar.proj.weight"}
    assert again.logvar(torch.ones(1)) == 0


def test_diffusers_itself_loads_the_export(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers", reason="diffusers not installed")
    export(model(TOY_VIDEO).state_dict(), TOY_VIDEO, tmp_path, "diffusers")
    theirs, report = diffusers.CosmosTransformer3DModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    theirs.save_pretrained(tmp_path / "pipe" / "transformer", max_shard_size="100KB")
    assert len(list((tmp_path / "pipe" / "transformer").glob("*.safetensors"))) > 1
    again, _ = load_model(tmp_path / "pipe", Widths())
    assert same(again.net.state_dict(), model(TOY_VIDEO).net.state_dict())


def test_carriers_survive_our_folder_and_an_nvidia_export(tmp_path: Path) -> None:
    ours = model(TOY_VIDEO, BOTH)
    save(ours, tmp_path / "ours")
    export(ours.state_dict(), TOY_VIDEO, tmp_path / "nvidia", "nvidia")
    for folder in ("ours", "nvidia"):
        again, coverage = load_model(tmp_path / folder, BOTH)
        assert same(again.state_dict(), ours.state_dict())
        assert not coverage.new_and_zero


def test_dense_columns_stand_between_the_masks(tmp_path: Path) -> None:
    """Where NVIDIA's network concatenates a camera pose: after the condition mask, before the padding mask."""
    ours = model(TOY_VIDEO, Widths(dense=3))
    weight_DK = nvidia_tensors(ours.state_dict(), TOY_VIDEO)["net.x_embedder.proj.1.weight"]
    assert weight_DK.shape == (48, 4 * (4 + 1 + 3 + 1))
    assert torch.equal(weight_DK[:, 20:32], GAIN * ours.net.dense_injection.proj.weight)
    assert torch.equal(weight_DK[:, 32:], ours.net.patch_embed.weight[:, 20:])


@pytest.mark.parametrize(
    ("config", "widths", "message"),
    [
        (TOY_MULTIVIEW, Widths(), "has no view channels"),
        (TOY, Widths(frame=7), "no place for a frame control"),
        (replace(TOY, base_fps_hz=30.0), Widths(), "base frame rate"),
    ],
)
def test_what_diffusers_cannot_express_is_refused(
    tmp_path: Path, config: NetworkConfig, widths: Widths, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        export(model(config, widths).state_dict(), config, tmp_path / "d", "diffusers")
    assert not (tmp_path / "d" / "config.json").exists()


def test_unknown_layout_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'diffusers'"):
        export({}, TOY, tmp_path, "difusers")


# --- growth


@pytest.mark.parametrize("dtype", [torch.float32, None])
def test_a_grown_base_is_the_base(tmp_path: Path, nvidia_file: Path, dtype: torch.dtype | None) -> None:
    base, plain = load_model(nvidia_file, Widths(), dtype=dtype)
    grown, coverage = load_model(nvidia_file, Widths(text=20, frame=7, dense=3), dtype=dtype)
    assert coverage.matched == plain.matched
    assert {key.split(".")[1] for key in coverage.new_and_zero} == {"frame_injection", "dense_injection"}
    assert grown.net.dense_injection.proj.weight.eq(0).all()
    given = inputs(TOY_VIDEO, BOTH)
    wanted = base.net(**{key: value for key, value in given.items() if key not in ("frame_BVTD", "dense_BVTHWC")})
    torch.testing.assert_close(grown.net(**given), wanted, rtol=1e-5, atol=1e-5)
    again, _ = load_model(nvidia_file, Widths(text=20, frame=7, dense=3), dtype=dtype)
    assert same(again.state_dict(), grown.state_dict()), "what is added must not depend on earlier random numbers"


def test_a_condition_mask_can_be_added(tmp_path: Path) -> None:
    export(model(TOY).state_dict(), TOY, tmp_path, "nvidia")
    base, _ = load_base(tmp_path, Widths())
    grown, coverage = load_model(tmp_path, Widths(), condition_mask=True)
    assert coverage.reshaped == ("net.patch_embed.weight",)
    assert grown.net.config == TOY_VIDEO
    given = inputs(TOY_VIDEO)
    wanted = base.net(**{key: value for key, value in given.items() if key != "condition_mask_BVTHW"})
    torch.testing.assert_close(grown.net(**given), wanted)


def test_everything_trains_in_float32_after_loading(nvidia_file: Path) -> None:
    loaded, coverage = load_base(nvidia_file, BOTH)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert all(parameter.requires_grad and not parameter.is_meta for parameter in loaded.parameters())
    assert not any(buffer.is_meta for buffer in loaded.buffers())
    assert str(coverage).startswith(f"{len(coverage.matched)} matched, 0 missing, 0 unexpected")


# --- files that are no good


def test_a_model_trained_for_another_control_is_refused(tmp_path: Path) -> None:
    save(model(TOY_VIDEO, BOTH), tmp_path)
    with pytest.raises(ValueError, match="5 unexpected tensors"):
        load_base(tmp_path, Widths())
    with pytest.raises(ValueError, match=r"weights of another size: net.dense_injection.proj.weight is \(48, 12\)"):
        load_base(tmp_path, Widths(frame=7, dense=4))


def test_missing_and_unknown_tensors_are_counted(nvidia_file: Path) -> None:
    tensors = torch.load(nvidia_file, weights_only=True)
    del tensors["net.final_layer.linear.weight"]
    tensors["net.surprise.weight"] = torch.zeros(1)
    torch.save(tensors, nvidia_file)
    with pytest.raises(ValueError, match=r"model.pt: .*1 missing .*final.proj.weight; 1 unexpected .*surprise"):
        load_base(nvidia_file, Widths())


@pytest.mark.parametrize("keep", [0, 100, 0.3, 0.9])
def test_a_truncated_pickle_is_named(nvidia_file: Path, keep: float) -> None:
    content = nvidia_file.read_bytes()
    nvidia_file.write_bytes(content[: int(keep if keep >= 1 else keep * len(content))])
    with pytest.raises(ValueError, match=r"model.pt: (damaged or cut short|refused)"):
        load_base(nvidia_file, Widths())


class Attack:
    """What a hostile pickle looks like."""

    def __reduce__(self):
        return (print, ("code was run",))


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_pickle_with_code_is_refused(nvidia_file: Path, writer: str, capsys: pytest.CaptureFixture) -> None:
    if writer == "torch":
        torch.save({"net.x": Attack()}, nvidia_file)
    else:
        nvidia_file.write_bytes(pickle.dumps({"net.x": Attack()}, protocol=2))
    with pytest.raises(ValueError, match=r"model.pt: refused, because it holds more than tensors"):
        load_base(nvidia_file, Widths())
    assert "code was run" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [[1, 2], {"net.x": 3}, {1: torch.zeros(1)}])
def test_another_content_is_named(nvidia_file: Path, content: object) -> None:
    torch.save(content, nvidia_file)
    with pytest.raises(ValueError, match=r"model.pt: .*wanted (only|a dictionary of) tensors"):
        load_base(nvidia_file, Widths())


@pytest.mark.parametrize("layout", ["ours", "diffusers"])
def test_a_truncated_safetensors_file_is_named(tmp_path: Path, layout: str) -> None:
    save(model(TOY), tmp_path) if layout == "ours" else export(model(TOY).state_dict(), TOY, tmp_path, "diffusers")
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match=rf"{path.name}: damaged or cut short"):
        load_base(tmp_path, Widths())


def test_a_checkpoint_of_another_size_is_named(tmp_path: Path) -> None:
    save(model(TOY), tmp_path)
    value = json.loads((tmp_path / "config.json").read_text())
    value["network"]["width"] = 96
    (tmp_path / "config.json").write_text(json.dumps(value))
    with pytest.raises(ValueError, match=r"model.safetensors: weights of another size: net\..* the network wants"):
        load_base(tmp_path, Widths())


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("network", {"widht": 3}, "unknown key 'widht': did you mean 'width'"),
        ("network", {"num_heads": 5}, "must split into 5 heads"),
        ("widths", {"dense": "many"}, "dense must be of type int"),
        ("kind", "lora", "not the description of a diffusion network"),
    ],
)
def test_a_bad_description_is_named(tmp_path: Path, part: str, change: object, message: str) -> None:
    save(model(TOY), tmp_path)
    value = json.loads((tmp_path / "config.json").read_text())
    value[part] = value[part] | change if isinstance(change, dict) else change
    (tmp_path / "config.json").write_text(json.dumps(value))
    with pytest.raises(ValueError, match=f"config.json: .*{message}"):
        load_base(tmp_path, Widths())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "WanTransformer3DModel"}, "not the configuration of a CosmosTransformer3DModel"),
        ({"use_crossattn_projection": True}, "belongs to Cosmos-2"),
        ({"patch_size": [2, 2, 2]}, "patch_size must be"),
        ({"num_layers": None}, "config.json: num_blocks must be of type int"),
    ],
)
def test_another_diffusers_model_is_named(tmp_path: Path, change: dict, message: str) -> None:
    export(model(TOY).state_dict(), TOY, tmp_path, "diffusers")
    (tmp_path / "worldtune.json").unlink()
    value = json.loads((tmp_path / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(value))
    with pytest.raises(ValueError, match=message):
        load_base(tmp_path, Widths())


def test_an_edited_diffusers_config_is_not_ignored(tmp_path: Path) -> None:
    export(model(TOY).state_dict(), TOY, tmp_path, "diffusers")
    value = json.loads((tmp_path / "config.json").read_text()) | {"_diffusers_version": "0.34.0"}
    (tmp_path / "config.json").write_text(json.dumps(value))
    load_base(tmp_path, Widths())
    (tmp_path / "config.json").write_text(json.dumps(value | {"rope_scale": [1.0, 3.0, 1.0]}))
    with pytest.raises(ValueError, match=r"config\.json: rope_scale is \[1\.0, 3\.0, 1\.0\], but .*worldtune\.json"):
        load_base(tmp_path, Widths())


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere: no such file"):
        load_base(tmp_path / "nowhere", Widths())
    with pytest.raises(ValueError, match="no diffusion checkpoint here"):
        load_base(tmp_path, Widths())
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"config.json: no such file"):
        load_base(tmp_path, Widths())


# --- released models


def test_an_nvidia_file_alone_needs_a_known_size(nvidia_file: Path) -> None:
    (nvidia_file.parent / "worldtune.json").unlink()
    with pytest.raises(ValueError, match=r"model.pt: no released model has width 48, 2 blocks and one view"):
        load_base(nvidia_file, Widths())


@pytest.mark.parametrize("config", [TOY, TOY_VIDEO, replace(TOY_MULTIVIEW, rope_ratio_t=1.0)])
def test_an_nvidia_file_alone_tells_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: NetworkConfig
) -> None:
    monkeypatch.setitem(
        PRESETS, "toy", replace(config, condition_mask=False, trajectory_numbers=0, trajectory_channels=0)
    )
    torch.save(cosmos_like(config), tmp_path / "model.pt")
    loaded, coverage = load_base(tmp_path / "model.pt", Widths())
    assert loaded.net.config == config
    assert len(coverage.ignored) == 2


def expected_shapes(width: int, blocks: int, in_features: int, learnable: bool) -> dict[str, tuple[int, ...]]:
    """NVIDIA's released checkpoints by their published rules."""
    shapes: dict[str, tuple[int, ...]] = {
        "x_embedder.proj.1.weight": (width, in_features),
        "pos_embedder.seq": (128,),
        "t_embedder.1.linear_1.weight": (width, width),
        "t_embedder.1.linear_2.weight": (3 * width, width),
        "affline_norm.weight": (width,),
        "final_layer.adaLN_modulation.1.weight": (256, width),
        "final_layer.adaLN_modulation.2.weight": (2 * width, 256),
        "final_layer.linear.weight": (64, width),
    }
    if learnable:
        shapes |= {
            f"extra_pos_embedder.pos_emb_{axis}": (size, width)
            for axis, size in zip("hwt", (120, 120, 128), strict=True)
        }
    else:
        shapes["view_embeddings.weight"] = (6, 6)
        shapes |= {"repeat_frame_embedding.weight": (6, 1), "repeat_frame_embedding.bias": (6,)}
    for block in range(blocks):
        for step in range(3):
            prefix = f"blocks.block{block}.blocks.{step}."
            shapes[f"{prefix}adaLN_modulation.1.weight"] = (256, width)
            shapes[f"{prefix}adaLN_modulation.2.weight"] = (3 * width, 256)
            if step == 2:
                shapes[f"{prefix}block.layer1.weight"] = (4 * width, width)
                shapes[f"{prefix}block.layer2.weight"] = (width, 4 * width)
                continue
            context = width if step == 0 else 1024
            for name, columns in (("to_q", width), ("to_k", context), ("to_v", context), ("to_out", width)):
                shapes[f"{prefix}block.attn.{name}.0.weight"] = (width, columns)
            shapes |= {f"{prefix}block.attn.{name}.1.weight": (128,) for name in ("to_q", "to_k")}
    named = {f"net.{key}": shape for key, shape in shapes.items()}
    return named | {"logvar.0.freqs": (128,), "logvar.0.phases": (128,), "logvar.1.weight": (1, 128)}


@pytest.mark.parametrize(
    ("name", "width", "blocks", "in_features", "billions"),
    [
        ("cosmos-7b-text2world", 4096, 28, 68, 7.236),
        ("cosmos-7b-video2world", 4096, 28, 72, 7.236),
        ("cosmos-14b-text2world", 5120, 36, 68, 14.267),
        ("cosmos-14b-video2world", 5120, 36, 72, 14.267),
        ("cosmos-7b-text2world-multiview", 4096, 28, 92, 7.235),
        ("cosmos-7b-video2world-multiview", 4096, 28, 96, 7.235),
    ],
)
def test_released_sizes_have_the_released_tensors(
    name: str, width: int, blocks: int, in_features: int, billions: float
) -> None:
    with torch.device("meta"):
        built = DiffusionModel(preset(name), Widths())
    got = {key: tuple(tensor.shape) for key, tensor in nvidia_tensors(built.state_dict(), preset(name)).items()}
    assert got == expected_shapes(width, blocks, in_features, learnable="multiview" not in name)
    assert round(sum(parameter.numel() for parameter in built.net.parameters()) / 1e9, 3) == billions


def test_nano_is_small_and_an_unknown_name_is_named() -> None:
    with torch.device("meta"):
        built = DiffusionModel(preset("nano"), Widths(text=256))
    assert sum(parameter.numel() for parameter in built.parameters()) < 10e6
    with pytest.raises(ValueError, match="did you mean 'cosmos-7b-text2world'"):
        preset("cosmos-7b-txt2world")


def test_a_failed_export_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(model(TOY).state_dict(), TOY, tmp_path / "d", "diffusers")
    shutil.copytree(tmp_path / "d", tmp_path / "before")

    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("worldtune.families.diffusion.weights.save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        export(model(TOY, seed=3).state_dict(), TOY, tmp_path / "d", "diffusers")
    files = sorted(path.name for path in (tmp_path / "d").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "before").iterdir())
    weights = "diffusion_pytorch_model.safetensors"
    assert same(load_file(tmp_path / "d" / weights), load_file(tmp_path / "before" / weights))
