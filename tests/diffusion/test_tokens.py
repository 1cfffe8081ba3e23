"""Token channels of the diffusion decoder: how they enter, NVIDIA's names and shapes, files that tell what they are."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tests.diffusion.test_weights import cosmos_like, expected_shapes, export, same
from tests.diffusion.toy import TOY, inputs, model, network
from worldtune.contract.condition import Widths
from worldtune.families.diffusion.config import NetworkConfig
from worldtune.families.diffusion.logvariance import DiffusionModel
from worldtune.families.diffusion.naming import nvidia_from_ours, ours_from_nvidia
from worldtune.families.diffusion.presets import PRESETS, preset
from worldtune.families.diffusion.weights import load_base, load_model, nvidia_tensors, save

TOY_DECODER = replace(TOY, positions="none", num_tokens=10, token_channels=3)


def tokens() -> torch.Tensor:
    """On half the height and width of the latents of `toy.inputs`."""
    return torch.randint(10, (2, 1, 3, 4, 6), generator=torch.Generator().manual_seed(3))


def test_tokens_change_nothing_at_the_start_and_are_learnt() -> None:
    torch.manual_seed(0)
    net, given = DiffusionModel(TOY_DECODER, Widths()).net, inputs(TOY_DECODER)
    out = net(**given, tokens_BVTHW=tokens())
    assert torch.equal(out, net(**given, tokens_BVTHW=torch.zeros_like(tokens())))
    out.square().mean().backward()
    assert net.token_channels.embed.weight.grad.abs().max() > 0


def test_tokens_enter_between_the_latent_and_the_padding_mask_spread_bilinearly() -> None:
    """The same planes given to a network without tokens, whose latent is wider, embed to the same patches."""
    net, given = network(TOY_DECODER), inputs(TOY_DECODER)
    x_BVTHWC, padding_BHW = given["x_BVTHWC"], given["padding_mask_BHW"]
    planes_BCTHW = net.token_channels.embed(tokens()[:, 0]).movedim(-1, 1)
    spread_BCTHW = F.interpolate(planes_BCTHW, scale_factor=(1, 2, 2), mode="trilinear")
    wide = network(replace(TOY, latent_channels=7, positions="none"))
    wide.patch_embed.weight = net.patch_embed.weight
    joined_BVTHWC = torch.cat([x_BVTHWC, spread_BCTHW.movedim(1, -1)[:, None]], -1)
    wanted = wide._embed(joined_BVTHWC, None, padding_BHW, None, None, None, None)
    torch.testing.assert_close(net._embed(x_BVTHWC, None, padding_BHW, None, None, tokens(), None), wanted)


def test_a_token_acts_on_its_own_frame_most() -> None:
    net, given, changed = network(TOY_DECODER), inputs(TOY_DECODER), tokens()
    changed[:, :, 1] = (changed[:, :, 1] + 1) % 10
    change_T = (net(**given, tokens_BVTHW=changed) - net(**given, tokens_BVTHW=tokens())).abs().amax((0, 1, 3, 4, 5))
    assert change_T.argmax() == 1


@pytest.mark.parametrize(
    ("config", "given", "message"),
    [
        (TOY, tokens(), "was not built for a token grid"),
        (TOY_DECODER, None, "built for a token grid and got none"),
        (TOY_DECODER, tokens()[:, :, :2], r"token grid must be \[2, 1, 3, 4, 6\], got \[2, 1, 2, 4, 6\]"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(config: NetworkConfig, given: torch.Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(config)(**inputs(config), tokens_BVTHW=given)


def test_num_tokens_and_token_channels_need_each_other() -> None:
    with pytest.raises(ValueError, match="num_tokens 10 and token_channels 0 need each other"):
        replace(TOY, num_tokens=10)


def test_nvidia_to_ours_to_nvidia_is_bit_identical(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "toy", TOY_DECODER)
    theirs = cosmos_like(TOY_DECODER)
    assert theirs["net.token_embedder.weight"].shape == (10, 3)
    torch.save(theirs, tmp_path / "model.pt")
    loaded, _ = load_model(tmp_path / "model.pt", Widths(), dtype=None)
    assert loaded.net.config == TOY_DECODER
    save(loaded, tmp_path / "ours")
    again, _ = load_model(tmp_path / "ours", Widths(), dtype=None)
    export(again.state_dict(), again.net.config, tmp_path / "again", "nvidia")
    kept = {name: tensor for name, tensor in theirs.items() if not name.endswith("_extra_state")}
    assert same(torch.load(tmp_path / "again" / "model.pt", weights_only=True), kept)


def test_a_decoder_of_an_unknown_size_is_named(tmp_path: Path) -> None:
    torch.save(cosmos_like(TOY_DECODER), tmp_path / "model.pt")
    with pytest.raises(ValueError, match="width 48, 2 blocks and one view and token channels"):
        load_base(tmp_path / "model.pt", Widths())


def test_diffusers_has_no_decoder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no token channels"):
        export(model(TOY_DECODER).state_dict(), TOY_DECODER, tmp_path, "diffusers")


def test_the_released_decoder_has_the_released_tensors() -> None:
    config = preset("cosmos-7b-decoder")
    assert config.input_channels == 49
    with torch.device("meta"):
        built = DiffusionModel(config, Widths())
    theirs = nvidia_tensors(built.state_dict(), config)
    learnable = {f"net.extra_pos_embedder.pos_emb_{axis}" for axis in "hwt"}
    wanted = expected_shapes(4096, 28, 196, learnable=True)
    wanted = {name: shape for name, shape in wanted.items() if name not in learnable}
    wanted["net.token_embedder.weight"] = (64_000, 32)
    assert {name: tuple(tensor.shape) for name, tensor in theirs.items()} == wanted
    ours = {name: ours_from_nvidia(name) for name in theirs if name != "net.pos_embedder.seq"}
    assert set(ours.values()) == built.state_dict().keys()
    assert all(nvidia_from_ours(str(name)) == theirs_name for theirs_name, name in ours.items())
