"""Samplers against the exact solution for Gaussian latents, hand-written formulas and diffusers."""

import math

import pytest
import torch

from tests.diffusion.fakes import SD, KnownModel, batch_of, perfect_for_gaussian
from worldtune.contract.condition import Condition
from worldtune.contract.randomness import generator
from worldtune.families.diffusion.sampler import Sampler, noise_levels, sample, solve

NOTHING = Condition()
START = torch.linspace(-2, 2, 9, dtype=torch.float64) * 80


def gaussian(std: float):
    return lambda x, sigma: x * std**2 / (std**2 + sigma**2)


def error(name: str, steps: int, std: float = 0.5) -> float:
    """Relative error at sigma_min against the exact flow x sqrt((std^2 + s^2) / (std^2 + 80^2))."""
    config = Sampler(name=name, steps=steps, end="sigma_min")
    exact = START * math.sqrt((std**2 + config.sigma_min**2) / (std**2 + 80**2))
    return ((solve(gaussian(std), START, config) - exact).norm() / exact.norm()).item()


def test_euler_converges_with_order_one_and_res_with_order_two():
    euler, res = ([error(name, steps) for steps in (32, 64, 128)] for name in ("euler", "res"))
    assert [a / b for a, b in zip(euler[:-1], euler[1:], strict=True)] == pytest.approx([2, 2], abs=0.3)
    assert [a / b for a, b in zip(res[:-1], res[1:], strict=True)] == pytest.approx([4, 4], abs=0.8)
    assert all(better < worse / 3 for better, worse in zip(res, euler, strict=True))
    assert error("res", 35) < 0.02


def test_constant_target_is_reached_exactly_by_both():
    target = torch.full_like(START, 0.7)
    for name in ("res", "euler"):
        config = Sampler(name=name, steps=5, end="sigma_min")
        exact = target + (START - target) * config.sigma_min / 80
        torch.testing.assert_close(solve(lambda x, sigma: target, START, config), exact)
        clean = Sampler(name=name, steps=5)
        assert torch.equal(solve(lambda x, sigma: target, START, clean), target)


def test_res_is_exact_where_x0_is_linear_in_log_sigma_after_the_first_step():
    """dx/dlambda = -(x - x0) with x0 = a + b lambda has x = a + b (lambda - 1) + c exp(-lambda)."""
    config = Sampler(steps=6, end="sigma_min", sigma_max=10.0, sigma_min=0.1)
    sigmas = noise_levels(config)
    a, b = 0.3, 0.2
    got = solve(lambda x, sigma: torch.full_like(x, a - b * math.log(sigma)), torch.ones(1).double(), config)
    x1 = sigmas[1] / sigmas[0] + (1 - sigmas[1] / sigmas[0]) * (a - b * math.log(sigmas[0]))
    c = (x1 - a - b * (-math.log(sigmas[1]) - 1)) / sigmas[1]
    exact = a + b * (-math.log(sigmas[-1]) - 1) + c * sigmas[-1]
    assert got.item() == pytest.approx(exact, rel=1e-12)


def test_two_res_steps_equal_the_published_formula():
    config = Sampler(steps=2, sigma_max=5.0, sigma_min=0.5, rho=1.0, end="sigma_min")
    s0, s1, s2 = noise_levels(config)
    assert (s0, s1, s2) == pytest.approx((5.0, 2.75, 0.5))
    x0 = gaussian(1.0)
    x = torch.tensor([3.0], dtype=torch.float64)
    d0 = x0(x, s0)
    x1 = s1 / s0 * x + (1 - s1 / s0) * d0
    lambdas = [-math.log(s) for s in (s0, s1, s2)]
    h = lambdas[2] - lambdas[1]
    r = (lambdas[0] - lambdas[1]) / h
    phi1 = (math.exp(-h) - 1) / -h
    phi2 = (phi1 - 1) / -h
    b2 = phi2 / r
    wanted = math.exp(-h) * x1 + h * ((phi1 - b2) * x0(x1, s1) + b2 * d0)
    torch.testing.assert_close(solve(x0, x, config), wanted)


def test_noise_levels_are_karras():
    levels = noise_levels(Sampler())
    assert len(levels) == 36
    assert (levels[0], levels[-1]) == pytest.approx((80.0, 0.002))
    assert levels[7] == pytest.approx((80 ** (1 / 7) + 0.2 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7)


@pytest.mark.parametrize(("end", "final"), [("clean", "zero"), ("sigma_min", "sigma_min")])
def test_euler_equals_diffusers(end, final):
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.EDMEulerScheduler(
        sigma_min=0.002, sigma_max=80.0, sigma_data=SD, rho=7.0, final_sigmas_type=final, prediction_type="epsilon"
    )
    scheduler.set_timesteps(12)
    x = START.float()
    for index, step in enumerate(scheduler.timesteps):
        sigma = scheduler.sigmas[index].item()
        skip, out = SD**2 / (sigma**2 + SD**2), sigma * SD / math.sqrt(sigma**2 + SD**2)
        scheduler.scale_model_input(x, step)
        x = scheduler.step((torch.tanh(x) / (1 + sigma) - skip * x) / out, step, x).prev_sample
    ours = solve(lambda y, sigma: torch.tanh(y) / (1 + sigma), START, Sampler(name="euler", steps=11, end=end))
    torch.testing.assert_close(ours.float(), x, atol=2e-4, rtol=2e-4)


def run(model, batch, seeds, **settings):
    generators = [generator(seed, 0, "sample") for seed in seeds]
    config = Sampler(**{"steps": 4, "guidance": 0.0, **settings})
    return sample(model, batch, NOTHING, Condition(text_BVLD=torch.zeros(batch.size, 1, 1, 2)), generators, config)


def test_gaussian_latents_come_out_with_unit_variance():
    out = run(KnownModel(perfect_for_gaussian(SD)), batch_of(size=4, frames=16), range(4), steps=35)
    assert out.dtype == torch.float32
    assert out.std().item() == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("num_observed", [None, [1, 0, 3]])
def test_a_clip_does_not_depend_on_its_batch(num_observed):
    model = KnownModel(perfect_for_gaussian(0.3), condition_mask=True)
    whole = batch_of(size=3, num_observed=num_observed)
    together = run(model, whole, [7, 8, 9])
    for row in range(3):
        alone = batch_of(size=1, num_observed=None if num_observed is None else [num_observed[row]])
        alone.target = whole.target[row : row + 1]
        torch.testing.assert_close(run(model, alone, [7 + row])[0], together[row])
    assert not torch.allclose(together[0, :, 3], together[1, :, 3])


def test_given_frames_are_shown_pinned_and_returned():
    batch = batch_of(views=2, num_observed=[2, 1])
    hidden_tail = torch.arange(4)[None] >= batch.num_observed_B[:, None]
    batch.target[hidden_tail[:, None].expand(-1, 2, -1)] = float("nan")
    model = KnownModel(perfect_for_gaussian(0.3), condition_mask=True)
    out = run(model, batch, [1, 2])
    assert torch.equal(out[0, :, :2], batch.target[0, :, :2])
    assert torch.equal(out[1, :, :1], batch.target[1, :, :1])
    assert torch.isfinite(out).all()
    for call in model.net.calls:
        assert call["condition_mask_BVTHW"][:, 0, :, 0, 0].tolist() == [[1, 1, 0, 0], [1, 0, 0, 0]]
        torch.testing.assert_close(call["x"][0, :, :2], batch.target[0, :, :2], atol=0.02, rtol=0.01)


def test_given_frames_are_not_shown_below_their_own_noise_level():
    model = KnownModel(perfect_for_gaussian(0.3), condition_mask=True)
    run(model, batch_of(num_observed=[2, 2]), [1, 2], augment_sigma=0.01)
    shown = [call["x"][:, :, :2] for call in model.net.calls]
    assert torch.equal(shown[0], shown[1])
    assert not torch.equal(shown[0], shown[-1])


def test_guidance_extrapolates_from_the_null_condition():
    def answer(x, sigma):
        text = model.net.calls[-1]["text_BVLD"]
        x0 = 1.0 if text is None else 0.25
        skip, out = SD**2 / (sigma**2 + SD**2), sigma * SD / (sigma**2 + SD**2) ** 0.5
        return (x0 - skip * x * (sigma**2 + SD**2) ** 0.5) / out

    model = KnownModel(answer)
    out = run(model, batch_of(), [1, 2], guidance=2.0)
    torch.testing.assert_close(out * SD, torch.full_like(out, 1.0 + 2.0 * 0.75), atol=1e-3, rtol=1e-3)
    assert len(model.net.calls) == 2 * 5
    model.net.calls.clear()
    run(model, batch_of(), [1, 2], guidance=0.0)
    assert len(model.net.calls) == 5


def test_frames_given_to_a_network_without_a_mask_are_an_error():
    with pytest.raises(ValueError, match="no condition mask"):
        run(KnownModel(perfect_for_gaussian(0.3)), batch_of(num_observed=[1, 0]), [1, 2])


@pytest.mark.parametrize(
    "bad",
    [{"name": "heun"}, {"end": "zero"}, {"steps": 0}, {"sigma_min": 90.0}, {"rho": 0.0}, {"guidance": -1.0}],
)
def test_bad_settings_die(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Sampler(**bad)
