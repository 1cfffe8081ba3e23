"""Our network against NVIDIA's outputs and against diffusers' network."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from tests.diffusion.toy import TOY, TOY_VIDEO, inputs, model
from worldtune.families.diffusion.config import NetworkConfig
from worldtune.families.diffusion.infer import diffusers_config
from worldtune.families.diffusion.naming import diffusers_from_ours
from worldtune.families.diffusion.reference import LIMIT, check_dit_case
from worldtune.stages.verify import verify

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


def test_verify_names_what_it_cannot_run(tmp_path: Path) -> None:
    save_file({"out": torch.zeros(1)}, tmp_path / "ar_x.safetensors", {"config": json.dumps({"n_layers": 2})})
    (result,) = verify(tmp_path)
    assert (result.name, result.passed, result.max_error) == ("ar_x", False, None)
    assert "not supported" in result.note


def test_verify_refuses_what_is_no_case(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no reference cases"):
        verify(tmp_path)
    path = tmp_path / "x.safetensors"
    save_file({"out": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"x.safetensors: not a reference case"):
        verify(tmp_path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match=r"x.safetensors: damaged or cut short"):
        verify(tmp_path)
