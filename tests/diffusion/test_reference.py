"""Our network against NVIDIA's outputs and against diffusers' network."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from tests.diffusion.toy import TOY, TOY_MULTIVIEW, TOY_VIDEO, inputs, model
from worldtune.families.diffusion.config import NetworkConfig
from worldtune.families.diffusion.infer import diffusers_config
from worldtune.families.diffusion.naming import diffusers_from_ours
from worldtune.families.diffusion.reference import LIMIT, check_dit_case
from worldtune.families.diffusion.weights import nvidia_tensors

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"
CASES = ("text2world", "text2world_fps10", "video2world", "multiview_trajectory", "multiview_video2world")


@pytest.mark.parametrize("name", CASES)
def test_network_computes_what_nvidias_does(name: str) -> None:
    path = GOLDEN / f"dit_{name}.safetensors"
    if not path.exists():
        pytest.skip(f"no reference case {path}")
    error, limit = check_dit_case(path)
    assert error <= limit == LIMIT == 2e-5


@pytest.mark.parametrize(
    "config",
    [TOY, TOY_VIDEO, replace(TOY, positions="none", rope_ratio_h=2.0), replace(TOY, padding_mask=False, mlp_ratio=2.0)],
)
@pytest.mark.parametrize("noise", ["one", "per frame"])
def test_network_computes_what_diffusers_does(config: NetworkConfig, noise: str) -> None:
    cosmos = pytest.importorskip("diffusers.models.transformers.transformer_cosmos", reason="diffusers not installed")

    def resize(mask_B1HW: torch.Tensor, size: list[int], **_: object) -> torch.Tensor:
        return F.interpolate(mask_B1HW, size=size, mode="nearest")

    with pytest.MonkeyPatch.context() as patch:
        no_antialias = SimpleNamespace(NEAREST=0)
        stand_in = SimpleNamespace(functional=SimpleNamespace(resize=resize), InterpolationMode=no_antialias)
        patch.setattr(cosmos, "transforms", stand_in, raising=False)
        ours, given = model(config).net, inputs(config)
        settings = {key: value for key, value in diffusers_config(config, 0).items() if key != "_class_name"}
        theirs = cosmos.CosmosTransformer3DModel(**settings)
        named = {f"net.{key}": tensor for key, tensor in ours.state_dict().items()}
        theirs.load_state_dict({diffusers_from_ours(key): tensor for key, tensor in named.items()})
        given["fps_hz_B"] = torch.tensor([10.0, 10.0])
        given["padding_mask_BHW"] = given["padding_mask_BHW"][:1].expand(2, -1, -1)
        if noise == "per frame":
            given["c_noise_BT"] = torch.randn(2, 1, 3, generator=torch.Generator().manual_seed(3))
        mask = given.get("condition_mask_BVTHW")
        with torch.no_grad():
            wanted = theirs(
                hidden_states=given["x_BVTHWC"][:, 0].permute(0, 4, 1, 2, 3),
                timestep=given["c_noise_BT"] if noise == "one" else given["c_noise_BT"][..., None, None],
                encoder_hidden_states=given["text_BVLD"][:, 0],
                fps=10,
                condition_mask=mask,
                padding_mask=given["padding_mask_BHW"][:1, None],
                return_dict=False,
            )[0]
            got = ours(**given)[:, 0].permute(0, 4, 1, 2, 3)
    assert (got - wanted).abs().max() <= 2e-5 * wanted.abs().max()


MULTIVIEW = replace(TOY_MULTIVIEW, num_views=2, view_channels=3, frame_repeat=False, condition_mask=False)
OTHERS = {
    "width": replace(TOY, width=60, num_heads=3, latent_channels=3, adaln_rank=5, text_channels=7, mlp_ratio=2.5),
    "ratios": replace(TOY_VIDEO, rope_ratio_h=1.5, rope_ratio_w=3.0, rope_ratio_t=1.0),
    "patch": replace(TOY, patch_spatial=4, max_height=32, max_width=40),
    "no positions": replace(TOY, positions="none", num_blocks=1),
    "no padding mask": replace(TOY_VIDEO, padding_mask=False),
    "views": MULTIVIEW,
    "views and masks": replace(TOY_MULTIVIEW, trajectory_numbers=0, trajectory_channels=0),
}


def write_case(path: Path, config: NetworkConfig, **changes: object) -> None:
    """A case of our own network as NVIDIA's class would be called; changes go into its config."""
    ours, views = model(config), config.num_views or 1
    given = inputs(config, views=views)
    with torch.no_grad():
        out_BVTHWC = ours.net(**given)
    tensors = {f"state_dict.{key}": x for key, x in nvidia_tensors(ours.state_dict(), config).items() if "net." in key}
    tensors |= {
        "in.x": given["x_BVTHWC"].permute(0, 5, 1, 2, 3, 4).flatten(2, 3),
        "in.timesteps": given["c_noise_BT"],
        "in.crossattn_emb": given["text_BVLD"].flatten(1, 2),
        "in.fps": given["fps_hz_B"],
        "in.padding_mask": given["padding_mask_BHW"][:, None],
        "in.frame_repeat": given.get("frame_repeat_BV", torch.ones(2, views)),
        "out": out_BVTHWC.permute(0, 5, 1, 2, 3, 4).flatten(2, 3),
    }
    if config.condition_mask:
        tensors["in.condition_video_input_mask"] = given["condition_mask_BVTHW"].flatten(1, 2)[:, None]
    if config.trajectory_numbers:
        tensors["in.trajectory"] = given["trajectory_BK"]
    value: dict[str, object] = {
        "max_img_h": config.max_height + 1,
        "max_img_w": config.max_width,
        "max_frames": config.max_frames,
        "in_channels": config.latent_channels,
        "out_channels": config.latent_channels,
        "patch_spatial": config.patch_spatial,
        "patch_temporal": 1,
        "concat_padding_mask": config.padding_mask,
        "model_channels": config.width,
        "num_blocks": config.num_blocks,
        "num_heads": config.num_heads,
        "mlp_ratio": config.mlp_ratio,
        "crossattn_emb_channels": config.text_channels,
        "pos_emb_cls": "rope3d",
        "affline_emb_norm": True,
        "use_adaln_lora": True,
        "adaln_lora_dim": config.adaln_rank,
        **{f"rope_{axis}_extrapolation_ratio": getattr(config, f"rope_ratio_{axis}") for axis in "hwt"},
        "extra_per_block_abs_pos_emb": config.positions != "none",
        "extra_per_block_abs_pos_emb_type": "learnable",
    }
    tensors = {key: tensor.detach().contiguous() for key, tensor in tensors.items()}
    save_file(tensors, path, {"config": json.dumps(value | changes)})


@pytest.mark.parametrize("name", OTHERS)
def test_a_case_says_its_own_shape(name: str, tmp_path: Path) -> None:
    write_case(tmp_path / "x.safetensors", OTHERS[name])
    error, _ = check_dit_case(tmp_path / "x.safetensors")
    assert error <= 1e-6


@pytest.mark.parametrize(
    ("config", "changes", "words"),
    [
        (TOY, {"use_adaln_lora": False}, "use_adaln_lora must be True, got False"),
        (TOY, {"patch_temporal": 2}, "patch_temporal must be 1, got 2"),
        (TOY, {"block_config": "FA-MLP"}, "block_config must be 'FA-CA-MLP', got 'FA-MLP'"),
        (TOY, {"out_channels": 2}, "latent channels that go in must be out_channels 2, got 4"),
        (MULTIVIEW, {"extra_t_extrapolation_ratio": 2.0}, "extra_t_extrapolation_ratio must be 1.0, got 2.0"),
    ],
)
def test_a_variant_that_no_released_model_uses_is_refused(
    config: NetworkConfig, changes: dict[str, object], words: str, tmp_path: Path
) -> None:
    write_case(tmp_path / "x.safetensors", config, **changes)
    with pytest.raises(ValueError, match=words):
        check_dit_case(tmp_path / "x.safetensors")
