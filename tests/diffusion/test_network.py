"""The network: carriers start at nothing, noise levels per frame, views, and inputs that do not fit."""

from dataclasses import replace

import pytest
import torch

from tests.diffusion.toy import TOY, TOY_MULTIVIEW, TOY_VIDEO, inputs, network
from worldtune.contract.condition import Widths
from worldtune.families.diffusion.config import NetworkConfig
from worldtune.families.diffusion.logvariance import LogVariance
from worldtune.families.diffusion.network import patchify, unpatchify
from worldtune.families.diffusion.positions import rotary_tables

EVERY_CARRIER = Widths(text=20, frame=7, dense=3)


def close(got: torch.Tensor, wanted: torch.Tensor, limit: float = 2e-6) -> bool:
    """Relative to the largest value wanted."""
    return bool((got - wanted).abs().max() <= limit * wanted.abs().max())


@pytest.mark.parametrize("carrier", ["frame", "dense", "both"])
@pytest.mark.parametrize(("config", "views"), [(TOY, 1), (TOY_VIDEO, 2), (TOY_MULTIVIEW, 3)])
def test_a_new_carrier_changes_nothing_at_the_start(config: NetworkConfig, views: int, carrier: str) -> None:
    widths = Widths(frame=7 * (carrier != "dense"), dense=3 * (carrier != "frame"))
    base, grown = network(config), network(config, widths, seed=5)
    missing, unexpected = grown.load_state_dict(base.state_dict(), strict=False)
    assert not unexpected
    assert all(key.startswith(("frame_injection", "dense_injection")) for key in missing)
    given = inputs(config, widths, views=views)
    plain = {key: value for key, value in given.items() if key not in ("frame_BVTD", "dense_BVTHWC")}
    got, wanted = grown(**given), base(**plain)
    assert torch.equal(got, wanted) if carrier == "dense" else close(got, wanted)


@pytest.mark.parametrize("carrier", ["frame", "dense"])
def test_a_carrier_acts_on_its_own_frame_and_learns_from_the_start(carrier: str) -> None:
    widths = Widths(**{carrier: 3})
    net, given = network(TOY, widths), inputs(TOY, widths)
    key = {"frame": "frame_BVTD", "dense": "dense_BVTHWC"}[carrier]
    net(**given).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for name, p in net.named_parameters() if ".out." in name)
    injection = getattr(net, f"{carrier}_injection")
    torch.nn.init.normal_(injection.out.weight if carrier == "frame" else injection.proj.weight)
    before = net(**given)
    given[key] = given[key].clone()
    given[key][:, :, 1] += 1
    change_T = (net(**given) - before).abs().amax((0, 1, 3, 4, 5))
    assert change_T.argmax() == 1


@pytest.mark.parametrize(("config", "views"), [(TOY, 1), (TOY_MULTIVIEW, 3)])
def test_equal_noise_in_every_frame_is_one_noise_level(config: NetworkConfig, views: int) -> None:
    net, given = network(config), inputs(config, views=views)
    wanted = net(**given)
    given["c_noise_BT"] = given["c_noise_BT"][:, None, None].expand(2, views, 3)
    assert close(net(**given), wanted)


def test_noise_of_one_frame_acts_most_on_that_frame() -> None:
    net, given = network(TOY), inputs(TOY)
    given["c_noise_BT"] = given["c_noise_BT"][:, None, None].repeat(1, 1, 3)
    before = net(**given)
    given["c_noise_BT"][:, :, 2] += 1
    assert (net(**given) - before).abs().amax((0, 1, 3, 4, 5)).argmax() == 2


def test_each_view_reads_only_its_own_text() -> None:
    """With attention between views cut (its output zero), another view's text must not matter."""
    net, given = network(TOY), inputs(TOY, views=2)
    for block in net.blocks:
        torch.nn.init.zeros_(block.self_attention.to_out.weight)
    before = net(**given)
    given["text_BVLD"] = given["text_BVLD"].clone()
    given["text_BVLD"][:, 1] += 1
    after = net(**given)
    assert torch.equal(after[:, 0], before[:, 0])
    assert not torch.equal(after[:, 1], before[:, 1])


def test_no_text_is_zero_text() -> None:
    net, given = network(TOY), inputs(TOY)
    given["text_BVLD"] = torch.zeros_like(given["text_BVLD"])
    assert close(net(**{**given, "text_BVLD": None}), net(**given))


def test_positions_restart_in_every_view() -> None:
    """Two equal views give equal outputs when nothing names the view."""
    net, given = network(TOY), inputs(TOY)
    twice = {"x_BVTHWC": given["x_BVTHWC"].repeat(1, 2, 1, 1, 1, 1), "text_BVLD": given["text_BVLD"].repeat(1, 2, 1, 1)}
    out = net(**{**given, **twice})
    assert close(out[:, 0], out[:, 1])


def test_time_is_counted_in_frames_of_24_hz() -> None:
    half_rate = rotary_tables(TOY, 2, 1, 1, torch.tensor([12.0]), torch.device("cpu"))[1]
    full_rate = rotary_tables(TOY, 3, 1, 1, torch.tensor([24.0]), torch.device("cpu"))[1]
    torch.testing.assert_close(half_rate[:, 1], full_rate[:, 2])


def test_patch_order_is_channel_first_in_and_channel_last_out() -> None:
    x_BVTHWC = torch.arange(8.0).reshape(1, 1, 1, 2, 2, 2)
    assert patchify(x_BVTHWC, 2).flatten().tolist() == [0, 2, 4, 6, 1, 3, 5, 7]
    assert torch.equal(unpatchify(torch.arange(8.0).reshape(1, 1, 1, 8), 2, x_BVTHWC.shape), x_BVTHWC)


def test_activations_have_the_dtype_of_the_input() -> None:
    given = inputs(TOY_MULTIVIEW, EVERY_CARRIER, views=3)
    net = network(TOY_MULTIVIEW, EVERY_CARRIER)
    wanted = net(**given)
    given["x_BVTHWC"] = given["x_BVTHWC"].bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = net(**given)
    as_bf16 = net.bfloat16()(**given)
    assert under_autocast.dtype == as_bf16.dtype == torch.bfloat16
    assert close(under_autocast.float(), wanted, 0.05)
    assert close(as_bf16.float(), wanted, 0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame_BVTD": None}, "was built for a frame carrier and got none"),
        ({"dense_BVTHWC": None}, "was built for a dense carrier and got none"),
        ({"text_BVLD": None}, "was built for a text carrier and got none"),
        ({"frame_BVTD": torch.zeros(2, 1, 3, 4)}, "frame carrier must be .* 7"),
        ({"dense_BVTHWC": torch.zeros(2, 1, 3, 8, 12, 1)}, "dense carrier must be .* 3"),
        ({"trajectory_BK": torch.zeros(2, 9)}, "not built for a trajectory"),
        ({"condition_mask_BVTHW": torch.zeros(2, 1, 3, 8, 12)}, "not built for a condition mask"),
        ({"frame_repeat_BV": torch.zeros(2, 1)}, "not built for frame_repeat"),
        ({"fps_hz_B": None}, "fps is needed"),
        ({"c_noise_BT": torch.zeros(2, 3)}, "c_noise must be"),
        ({"text_BVLD": torch.zeros(2, 1, 7, 21)}, "text must be"),
        ({"x_BVTHWC": torch.zeros(2, 1, 3, 8, 12, 5)}, "models 4 latent channels, got 5"),
        ({"x_BVTHWC": torch.zeros(2, 1, 7, 8, 12, 4)}, "larger than the network's"),
        ({"x_BVTHWC": torch.zeros(2, 1, 3, 7, 12, 4)}, "does not divide into patches of 2"),
    ],
)
def test_an_input_that_does_not_fit_is_named(change: dict, message: str) -> None:
    net, given = network(TOY, EVERY_CARRIER), inputs(TOY, EVERY_CARRIER)
    with pytest.raises(ValueError, match=message):
        net(**{**given, **change})


def test_too_many_views_are_named() -> None:
    with pytest.raises(ValueError, match="knows 3 views, got 4"):
        network(TOY_MULTIVIEW)(**inputs(TOY_MULTIVIEW, views=4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": 5}, "must split into 5 heads"),
        ({"adaln_rank": 0}, "adaln_rank must be positive, got 0"),
        ({"positions": "sine"}, "positions must be one of"),
        ({"max_height": 15}, "15x20 must divide"),
        ({"num_views": 2}, "num_views 2 and view_channels 0"),
        ({"frame_repeat": True}, "frame_repeat needs view channels"),
        ({"trajectory_numbers": 9}, "trajectory_numbers 9"),
    ],
)
def test_a_bad_configuration_dies(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TOY, **change)


def test_log_variance_by_hand() -> None:
    head = LogVariance(2)
    assert head(torch.randn(3)).tolist() == [0, 0, 0]
    head.freqs.copy_(torch.tensor([1.0, 2.0]))
    head.phases.copy_(torch.tensor([0.5, 0.0]))
    head.proj.weight.data.copy_(torch.tensor([[3.0, -1.0]]))
    c = torch.tensor([0.2, -0.4])
    wanted = 2**0.5 * (3 * torch.cos(c + 0.5) - torch.cos(2 * c))
    torch.testing.assert_close(head(c), wanted)


@pytest.mark.parametrize("config", [TOY, TOY_MULTIVIEW])
def test_block_and_checkpointed_block_agree(config: NetworkConfig) -> None:
    """Nothing in a block depends on state outside its arguments."""
    net, given = network(config), inputs(config, views=3 if config.num_views else 1)
    wanted = net(**given)
    for block in net.blocks:
        block.forward = (lambda inner: lambda *a: torch.utils.checkpoint.checkpoint(inner, *a, use_reentrant=False))(
            block.forward
        )
    assert torch.equal(net(**given), wanted)
