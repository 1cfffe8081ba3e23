"""The EDM loss against closed forms and hand computations."""

import math

import pytest
import torch

from tests.diffusion.fakes import SD, KnownModel, batch_of, perfect_for_gaussian
from worldtune.contract.condition import Condition
from worldtune.contract.randomness import generator
from worldtune.families.diffusion.objective import Objective, draw_sigma, loss

NOTHING = Condition()


def zero(x, sigma):
    return 0 * x


def test_loss_equals_a_hand_computation():
    batch, config = batch_of(), Objective(sigma_p_mean=0.3, sigma_p_std=0.7, loss_scale=10.0)
    total, parts = loss(KnownModel(zero, slope=0.5), batch, NOTHING, generator(0, 0, "noise"), config)
    draws = generator(0, 0, "noise")
    wanted = []
    sigmas = (torch.randn(2, generator=draws) * 0.7 + 0.3).exp()
    noise = torch.randn(batch.target.shape, generator=draws)
    for row, sigma in enumerate(sigmas.tolist()):
        clean = batch.target[row] * SD
        x0 = SD**2 / (sigma**2 + SD**2) * (clean + sigma * noise[row])
        weighted = (sigma**2 + SD**2) / (sigma * SD) ** 2 * (x0 - clean).square().mean().item()
        u = 0.5 * math.log(sigma) / 4
        wanted.append(10 * (math.exp(-u) * weighted + u))
    assert total.item() == pytest.approx(sum(wanted) / 2, rel=1e-5)
    assert parts["sigma"].item() == pytest.approx(sigmas.mean().item())
    assert all(not value.requires_grad and value.ndim == 0 for value in parts.values())


def test_perfect_denoiser_reaches_the_analytic_minimum():
    """Gaussian latents: E (x0 - clean)^2 = sd^2 sigma^2 / (sd^2 + sigma^2), so the weighted error is 1."""
    batch = batch_of(size=64, frames=8)
    _, parts = loss(KnownModel(perfect_for_gaussian(SD)), batch, NOTHING, generator(0, 0, "a"), Objective())
    assert parts["weighted"].item() == pytest.approx(1.0, abs=0.02)
    _, worse = loss(KnownModel(perfect_for_gaussian(2 * SD)), batch, NOTHING, generator(0, 0, "a"), Objective())
    assert worse["weighted"] > parts["weighted"]


def test_network_sees_unit_variance_and_a_quarter_log_sigma():
    model = KnownModel(zero)
    loss(model, batch_of(size=8, frames=8), NOTHING, generator(0, 0, "a"), Objective(sigma_p_mean=1.0))
    call = model.net.calls[0]
    assert call["x"].std().item() == pytest.approx(1.0, abs=0.03)
    draws = draw_sigma(8, generator(0, 0, "a"), Objective(sigma_p_mean=1.0))
    torch.testing.assert_close(call["c_noise"], draws.log() / 4)
    assert call["condition_mask_BVTHW"] is None


def test_sigma_is_log_normal():
    config = Objective(sigma_p_mean=-0.5, sigma_p_std=1.5, sigma_multiplier=4.0)
    logs = draw_sigma(40_000, generator(0, 0, "sigma"), config).log()
    assert logs.mean().item() == pytest.approx(math.log(4) - 0.5, abs=0.03)
    assert logs.std().item() == pytest.approx(1.5, abs=0.03)


def test_given_frames_arrive_at_their_own_scale_and_do_not_count():
    batch = batch_of(views=2, num_observed=[1, 3])
    model = KnownModel(lambda x, sigma: x * model.slope, condition_mask=True, slope=0.1)
    total, parts = loss(
        model, batch, NOTHING, generator(0, 0, "a"), Objective(augment_sigma_p_mean=-9.0, learn_variance=False)
    )
    call = model.net.calls[0]
    assert call["condition_mask_BVTHW"].shape == (2, 2, 4, 4, 4)
    assert call["condition_mask_BVTHW"][:, :, :, 0, 0].tolist() == [[[1, 0, 0, 0]] * 2, [[1, 1, 1, 0]] * 2]
    torch.testing.assert_close(call["x"][1, :, :3], batch.target[1, :, :3], atol=0.05, rtol=0.05)
    assert total.item() == pytest.approx(parts["weighted"].item())


def test_given_frames_receive_no_gradient():
    seen = []

    def remember(x, sigma):
        seen.append((0 * x).requires_grad_())
        return seen[-1]

    total, _ = loss(
        KnownModel(remember, condition_mask=True),
        batch_of(num_observed=[2, 0]),
        NOTHING,
        generator(0, 0, "a"),
        Objective(),
    )
    total.backward()
    touched_BT = seen[0].grad.abs().amax((1, 3, 4, 5)) > 0
    assert touched_BT.tolist() == [[False, False, True, True], [True] * 4]


def test_number_of_given_frames_is_uniform_and_hidden_frames_are_zero():
    config = Objective(num_observed_min=1, num_observed_max=2, observed_dropout=0.5)
    model = KnownModel(zero, condition_mask=True)
    total, _ = loss(model, batch_of(size=400), NOTHING, generator(0, 0, "a"), config)
    call = model.net.calls[0]
    told_BT = call["condition_mask_BVTHW"][:, 0, :, 0, 0]
    hidden_B = call["x"][:, 0, 0].abs().amax((1, 2, 3)) == 0
    assert torch.equal(told_BT[:, 0] == 0, hidden_B)
    assert hidden_B.float().mean().item() == pytest.approx(0.5, abs=0.07)
    assert told_BT[~hidden_B, 1].mean().item() == pytest.approx(0.5, abs=0.1)
    assert torch.isfinite(total)


def test_error_is_measured_on_generated_frames():
    """x0 = 0 errs by the variance of the latents, whatever share of the frames is given."""

    def answer_zero(seen, sigma):
        total = sigma**2 + SD**2
        return -(SD**2 / total * seen * total.sqrt()) / (sigma * SD / total.sqrt())

    batch = batch_of(num_observed=[3, 3])
    _, parts = loss(KnownModel(answer_zero, condition_mask=True), batch, NOTHING, generator(0, 0, "a"), Objective())
    assert parts["x0_mse"].item() == pytest.approx(batch.target[:, :, 3:].square().mean().item(), rel=1e-3)


def test_all_randomness_comes_from_the_generator():
    def run(seed: int) -> float:
        model = KnownModel(perfect_for_gaussian(0.3), condition_mask=True, slope=0.2)
        return loss(model, batch_of(), NOTHING, generator(seed, 3, "noise"), Objective())[0].item()

    torch.manual_seed(1)
    first = run(0)
    torch.manual_seed(2)
    assert run(0) == first
    assert run(1) != first


def test_condition_reaches_the_network():
    model = KnownModel(zero)
    condition = Condition(text_BVLD=torch.ones(2, 1, 3, 5), frame_BVTD=torch.ones(2, 1, 4, 6))
    loss(model, batch_of(), condition, generator(0, 0, "a"), Objective())
    call = model.net.calls[0]
    assert torch.equal(call["text_BVLD"], condition.text_BVLD)
    assert torch.equal(call["frame_BVTD"], condition.frame_BVTD)
    assert call["dense_BVTHWC"] is None


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match="no condition mask"):
        loss(KnownModel(zero), batch_of(num_observed=[1, 0]), NOTHING, generator(0, 0, "a"), Objective())
    with pytest.raises(ValueError, match="up to 4 latent frames are given, but clips have 4"):
        loss(KnownModel(zero, True), batch_of(), NOTHING, generator(0, 0, "a"), Objective(num_observed_max=4))


@pytest.mark.parametrize(
    "bad",
    [
        {"num_observed_min": 3},
        {"num_observed_min": -1},
        {"observed_dropout": 1.5},
        {"sigma_p_std": -1.0},
        {"sigma_multiplier": 0.0},
        {"loss_scale": float("nan")},
    ],
)
def test_bad_settings_die(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Objective(**bad)
