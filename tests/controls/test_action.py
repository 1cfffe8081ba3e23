"""The action control: alignment, normalisation, and its way into both families.

Shape legend: T latent frames, R actions of one latent frame, D numbers of one action.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.autoregressive import toy as ar_toy
from tests.diffusion import toy as dit_toy
from worldtune.contract.condition import Condition
from worldtune.contract.nouns import Batch, Clip, Grid
from worldtune.contract.poses import rotations_from_euler
from worldtune.contract.protocols import Family
from worldtune.contract.randomness import generator
from worldtune.controls import action
from worldtune.controls.action import obedience, steering
from worldtune.dataset.actions import COSMOS_SCALE, relative_actions
from worldtune.families import autoregressive, diffusion
from worldtune.families.autoregressive import weights as ar_weights
from worldtune.families.diffusion import weights as dit_weights

R, D = 4, 3
GRID = Grid(views=1, frames=3, height=2, width=2, frames_per_latent=R, pixels_per_latent=8)
KEEP = torch.tensor([True, True])


def clip(actions: np.ndarray | None, frames: int = 9) -> Clip:
    return Clip(
        id="data-000000-000000",
        video_VTHWC=np.zeros((1, frames, 16, 16, 3), np.uint8),
        fps_hz=10.0,
        views=("front",),
        texts=("",),
        features={} if actions is None else {"action": actions},
    )


def counting() -> np.ndarray:
    return np.arange(9 * D, dtype=np.float32).reshape(9, D) + 1


def aligned(actions: np.ndarray) -> np.ndarray:
    return action.align(clip(actions), GRID)["frames"]


def arrays(seed: int = 0, batch: int = 2) -> dict[str, torch.Tensor]:
    random = np.random.default_rng(seed)
    return {
        "frames": torch.from_numpy(np.stack([aligned(random.normal(size=(9, D)) * [1, 5, 0.1]) for _ in range(batch)]))
    }


def test_every_action_lands_on_the_latent_frame_it_leads_to():
    frames_TRD = aligned(counting())
    assert frames_TRD.shape == (3, R, D)
    assert not frames_TRD[0].any()
    assert (frames_TRD[1:].reshape(8, D) == counting()[:8]).all()


@pytest.mark.parametrize(("frame", "row", "place"), [(0, 1, 0), (3, 1, 3), (4, 2, 0), (7, 2, 3)])
def test_one_action_changes_one_place(frame: int, row: int, place: int):
    changed = counting()
    changed[frame] += 100
    differs = (aligned(changed) != aligned(counting())).any(-1)
    assert np.argwhere(differs).tolist() == [[row, place]]


def test_the_action_that_leads_out_of_the_clip_is_not_read():
    changed = counting()
    changed[8] = np.nan
    assert (aligned(changed) == aligned(counting())).all()


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        (None, "needs the feature 'action'"),
        (np.zeros((8, D)), r"one vector for each of 9 frames, got the shape \[8, 3\]"),
        (np.zeros(9), r"got the shape \[9\]"),
        (np.where(np.arange(9)[:, None] == 5, np.inf, np.zeros((9, D))), "at frame 5 is not finite"),
    ],
)
def test_bad_actions_are_named(actions: np.ndarray | None, words: str):
    with pytest.raises(ValueError, match=words):
        action.align(clip(actions), GRID)


def fitted(clips: list[np.ndarray], config: action.Config | None = None) -> nn.Module:
    given = [{"frames": torch.from_numpy(aligned(one))} for one in clips]
    encoder = action.encoder(given[0], config or action.Config())
    encoder.fit(iter(given))
    return encoder


def test_normalisation_is_of_the_actions_alone_and_constants_stay_finite():
    random = np.random.default_rng(0)
    clips = [(random.normal(size=(9, D)) * [3, 0.01, 0] + [1000, 0, 0.3]).astype(np.float32) for _ in range(20)]
    encoder = fitted(clips)
    used = np.concatenate([one[:8] for one in clips]).astype(np.float64)
    assert np.allclose(encoder.mean_D, used.mean(0), rtol=1e-6)
    assert np.allclose(encoder.std_D[:2], used.std(0)[:2], rtol=1e-4)
    assert encoder.std_D[2] == 1
    batch = torch.from_numpy(np.stack([aligned(one) for one in clips[:2]]))
    frame_BTC = encoder({"frames": batch}, KEEP).frame_BVTD[:, 0]
    assert frame_BTC[..., :-1].reshape(2, 3, R, D)[:, :, :, 2].abs().max() < 1e-5
    assert frame_BTC.abs().max() < 5


def test_what_was_never_seen_is_cut():
    encoder = fitted([counting()], action.Config(limit=2.0))
    frame = encoder({"frames": torch.from_numpy(aligned(counting() + 1000))[None]}, KEEP[:1]).frame_BVTD
    assert (frame[0, 0, 1:, :-1] == 2).all()


def test_normalisation_travels_with_the_weights():
    first, second = fitted([counting()]), action.encoder(arrays(), action.Config())
    assert not torch.equal(first(arrays(), KEEP).frame_BVTD, second(arrays(), KEEP).frame_BVTD)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(arrays(), KEEP).frame_BVTD, second(arrays(), KEEP).frame_BVTD)


def test_raw_actions_pass_when_asked_for():
    encoder = fitted([counting()], action.Config(normalise=False))
    given = torch.from_numpy(aligned(counting()))[None]
    assert torch.equal(encoder({"frames": given}, KEEP[:1]).frame_BVTD[0, 0, 1:, :-1], given[0, 1:].flatten(1))


def test_no_action_differs_from_the_average_action():
    encoder = fitted([counting()])
    average = {"frames": encoder.mean_D.expand(2, 3, R, D)}
    frame_BTC = encoder(average, torch.tensor([True, False])).frame_BVTD[:, 0]
    assert frame_BTC[0].sum(-1).tolist() == [0, 1, 1]
    assert not frame_BTC[1].any()


def test_another_width_is_refused():
    encoder = action.encoder(arrays(), action.Config())
    with pytest.raises(ValueError, match="got 4 actions of 2 numbers per latent frame, the model takes 4 of 3"):
        encoder({"frames": arrays()["frames"][..., :2]}, KEEP)


@pytest.mark.parametrize("setting", [{"dropout": 1.5}, {"limit": 0.0}])
def test_bad_settings_are_refused(setting: dict[str, float]):
    with pytest.raises(ValueError, match=f"control.action.{next(iter(setting))}"):
        action.Config(**setting)


def test_text_and_actions_stand_side_by_side():
    encoder = action.encoder(arrays(), action.Config())
    told = encoder(arrays(), KEEP)
    joined = Condition.join([Condition(text_BVLD=torch.ones(2, 1, 5, 8)), told])
    assert joined.widths.text == 8
    assert joined.widths.frame == encoder.widths.frame == R * D + 1
    assert joined.frame_BVTD is told.frame_BVTD or torch.equal(joined.frame_BVTD, told.frame_BVTD)


def both_families(folder: Path) -> list[tuple[Family, nn.Module, nn.Module, Batch]]:
    """Family, its base, the base grown for actions, and a batch, with real loading from saved files."""
    widths = action.encoder(arrays(), action.Config()).widths
    dit_weights.save(dit_toy.model(dit_toy.TOY_VIDEO), folder / "dit")
    ar_weights.save(ar_toy.model(ar_toy.TOY), folder / "ar")
    latents = torch.randn(2, 1, 3, 8, 12, 4, generator=torch.Generator().manual_seed(0))
    found = []
    for family, name, target in ((diffusion, "dit", latents), (autoregressive, "ar", ar_toy.tokens())):
        none = type(widths)()
        base, _ = family.load_base(folder / name, none)
        grown, coverage = family.load_base(folder / name, widths)
        assert coverage.new_and_zero
        fps_hz_B = torch.full((2,), 10.0)
        batch = Batch(
            target=target, controls={}, fps_hz_B=fps_hz_B, clip_ids=("a", "b"), num_observed_B=torch.ones(2).long()
        )
        found.append((family, base.eval(), grown.eval(), batch))
    return found


def test_it_starts_at_zero_and_then_matters_in_both_families(tmp_path: Path):
    encoder = action.encoder(arrays(), action.Config())
    told = encoder(arrays(), KEEP)
    shuffled = encoder({"frames": arrays()["frames"].roll(1, 0)}, KEEP)
    for family, base, grown, batch in both_families(tmp_path):

        def loss(model: nn.Module, condition: Condition, family=family, batch=batch) -> float:
            with torch.no_grad():
                return family.loss(model, batch, condition, generator(0, 0, "a"), family.Objective())[0].item()

        assert loss(grown, told) == pytest.approx(loss(base, Condition()), rel=1e-6)
        for name, parameter in grown.named_parameters():
            if "frame_injection" in name and not parameter.any():
                nn.init.normal_(parameter, std=0.3)
        assert abs(loss(grown, told) - loss(base, Condition())) > 1e-4
        assert abs(loss(grown, told) - loss(grown, shuffled)) > 1e-4, family.__name__


def test_relative_actions_are_seen_from_the_gripper():
    """A gripper turned left by 90 degrees moves 2 m along the world's x: to its own right, which is -y."""
    quarter = np.pi / 2
    states = np.array([[0, 0, 1, 0, 0, quarter, 0.2], [2, 0, 1, 0, 0, quarter, 0.7], [2, 0, 1, quarter, 0, 0, 0.9]])
    # From Rz(90) to Rx(90) is Rz(-90) Rx(90): roll 90 and yaw -90.
    wanted = [[0, -2, 0, 0, 0, 0, 0.7], [0, 0, 0, quarter, 0, -quarter, 0.9]]
    assert np.allclose(relative_actions(states), wanted, atol=1e-6)
    scaled = relative_actions(states, scale=COSMOS_SCALE)
    assert np.allclose(scaled[:, :6], 20 * np.array(wanted)[:, :6], atol=1e-5)
    assert np.allclose(scaled[:, 6], [0.7, 0.9])


def test_relative_actions_lead_back_to_the_states():
    states = np.random.default_rng(0).uniform(-1, 1, (6, 7))
    rotation, place = rotations_from_euler(states[:1, 3:6])[0], states[0, :3]
    for row, then in zip(relative_actions(states), states[1:], strict=True):
        place = place + rotation @ row[:3]
        rotation = rotation @ rotations_from_euler(row[None, 3:6])[0]
        assert np.allclose(place, then[:3], atol=1e-6)
        assert np.allclose(rotation, rotations_from_euler(then[None, 3:6])[0], atol=1e-6)


@pytest.mark.parametrize("states", [np.zeros((1, 7)), np.zeros((4, 6)), np.full((3, 7), np.nan)])
def test_bad_states_are_refused(states: np.ndarray):
    with pytest.raises(ValueError, match="states"):
        relative_actions(states)


def test_the_error_is_of_made_frames_in_deviations():
    commanded = obedience.targets({"frames": aligned(counting())})
    assert commanded.shape == (3, R * D)
    assert (commanded[1] == counting()[:R].ravel()).all()
    read = commanded.copy()
    read[:2] += 100
    read[2] += 0.5
    assert obedience.errors(read, commanded, 2) == {"action_error_std": pytest.approx(0.5)}
    assert obedience.errors(read, commanded, 1)["action_error_std"] == pytest.approx(((100**2 + 0.25) / 2) ** 0.5)
    assert obedience.errors(read, commanded, 0) == obedience.errors(read, commanded, 1)
    with pytest.raises(ValueError, match="all 3 latent frames are given"):
        obedience.errors(read, commanded, 3)


def test_numbers_that_never_vary_do_not_count():
    commanded = np.ones((3, 2))
    commanded[:, 1] = np.nan
    assert obedience.errors(commanded + 2, commanded, 1) == {"action_error_std": 2.0}
    assert np.isnan(obedience.errors(commanded * np.nan, commanded * np.nan, 1)["action_error_std"])


def gripper_clip(seed: int) -> Clip:
    """States of a hand that turns and goes, and the actions between them."""
    steps = np.random.default_rng(seed).normal(size=(9, 7)) * [0.05, 0.05, 0.05, 0.2, 0.2, 0.4, 0.3]
    states = steps.cumsum(0) + [0, 0, 0, 0, 0, 1, 0]
    actions = np.concatenate([relative_actions(states), np.zeros((1, 7), np.float32)])
    return replace(clip(actions), features={"action": actions, "observation.state": states})


def test_reach_is_the_way_from_the_first_state_and_reads_no_later_one():
    given = gripper_clip(3)
    reached = action.align(given, GRID)["reached"]
    states = given.features["observation.state"][:, :6]
    assert not reached[0].any()
    assert np.allclose(reached[1:].reshape(8, 6), states[1:] - states[0], atol=1e-5)
    given.features["observation.state"][1:] = 1e6
    assert (action.align(given, GRID)["reached"] == reached).all()


def test_reach_is_told_when_asked_for_and_missed_where_it_is_not():
    aligned_arrays = {k: torch.from_numpy(v)[None] for k, v in action.align(gripper_clip(3), GRID).items()}
    without, config = action.encoder(aligned_arrays, action.Config()), action.Config(reach=True)
    encoder = action.encoder(aligned_arrays, config)
    assert encoder.widths.frame == without.widths.frame + 6 * R
    encoder.fit(iter([{name: value[0] for name, value in aligned_arrays.items()}]))
    assert encoder(aligned_arrays, KEEP[:1]).frame_BVTD.shape[-1] == encoder.widths.frame
    with pytest.raises(ValueError, match="control.action.reach wants actions of 7 numbers"):
        action.encoder(arrays(), config)
    with pytest.raises(ValueError, match="prepare it again"):
        encoder({"frames": aligned_arrays["frames"]}, KEEP[:1])


def test_a_steered_state_follows_the_actions():
    given = gripper_clip(5)
    states, actions = given.features["observation.state"], given.features["action"]
    names = [row[0] for row in steering.GRIPPER]
    last = {name: value[0] for name, value in given.features.items()}
    made = steering.extend(last, {name: actions[:8, i] for i, name in enumerate(names)}, 10.0)
    assert np.allclose(made["observation.state"], states, atol=1e-5)
    assert np.allclose(made["action"][:8], actions[:8])
