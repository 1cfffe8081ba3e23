"""Views: cameras are told apart by name, in both families; single views can be given."""

import numpy as np
import pytest
import torch

from tests.autoregressive import toy as ar_toy
from tests.diffusion import toy as diffusion_toy
from worldtune.contract.condition import Condition, Widths
from worldtune.contract.nouns import Batch, Clip, Grid
from worldtune.contract.randomness import generator
from worldtune.controls import text, trajectory, views
from worldtune.families import autoregressive, diffusion

GRID = Grid(views=3, frames=3, height=8, width=12, frames_per_latent=4, pixels_per_latent=8)
KEEP_2 = torch.ones(2, dtype=torch.bool)


def turned(yaw_rad: float, x_m: float) -> np.ndarray:
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw_rad), -np.sin(yaw_rad)], [np.sin(yaw_rad), np.cos(yaw_rad)]]
    pose[0, 3] = x_m
    return pose


def clip_of(names: tuple[str, ...] = ("front", "left", "right"), *, has_poses: bool = False) -> Clip:
    features = {}
    if has_poses:
        ego = np.stack([turned(0.1 * frame, 2.0 * frame) for frame in range(9)])
        rig = np.stack([turned(yaw, 1.0) for yaw in (0.0, 1.0, -1.0)])
        features = {"ego.world_from_ego": ego, "camera.world_from_camera": ego @ rig[:, None]}
    video = np.zeros((len(names), 9, 16, 16, 3), np.uint8)
    return Clip(id="toy", video_VTHWC=video, fps_hz=10, views=names, texts=("",) * len(names), features=features)


def batched(clip: Clip) -> dict[str, torch.Tensor]:
    arrays = views.align(clip, GRID)
    return {name: torch.from_numpy(np.stack([array, array])) for name, array in arrays.items()}


def condition(config: views.Config | None = None) -> Condition:
    config, arrays = config or views.Config(), batched(clip_of(has_poses=True))
    return views.encoder(arrays, config)(arrays, KEEP_2).on_grid(3, 3, 8, 12)


def swapped(given: Condition) -> torch.Tensor:
    assert given.dense_BVTHWC is not None
    return given.dense_BVTHWC[:, [1, 0, 2]]


def same(got: torch.Tensor, wanted: torch.Tensor) -> bool:
    return bool(torch.allclose(got, wanted, atol=1e-4, rtol=1e-4))


def test_extrinsics_are_the_rig_whatever_the_way():
    poses = views.align(clip_of(has_poses=True), GRID)["rig_from_camera"]
    for view, yaw in enumerate((0.0, 1.0, -1.0)):
        wanted = [1, 0, 0, np.cos(yaw), np.sin(yaw), 0, -np.sin(yaw), np.cos(yaw), 0]
        np.testing.assert_allclose(poses[view], [wanted] * 3, atol=1e-5)


def test_carrier_has_its_widths_and_is_dropped_only_where_training_drops_it():
    arrays = batched(clip_of(has_poses=True))
    for config, width in (
        (views.Config(dropout=0.5), 8),
        (views.Config(dropout=0.5, extrinsics=True), 17),
        (views.Config(), 8),
    ):
        encoder = views.encoder(arrays, config)
        made = encoder(arrays, torch.tensor([True, False]))
        assert made.widths == encoder.widths == Widths(dense=width)
        assert made.dense_BVTHWC is not None
        assert made.dense_BVTHWC[0].any()
        assert bool(made.dense_BVTHWC[1].any()) == (config.dropout == 0)
    with pytest.raises(ValueError, match="control.views.extrinsics is true, but the cache has no camera poses"):
        views.encoder(batched(clip_of()), views.Config(extrinsics=True))


def test_another_rig_is_refused_after_training():
    encoder = views.encoder(batched(clip_of()), views.Config()).eval()
    for names in (("left", "front", "right"), ("front", "left")):
        with pytest.raises(ValueError, match="trained with the cameras front, left, right, .* clips have " + names[0]):
            encoder(batched(clip_of(names)), KEEP_2)
    with pytest.raises(ValueError, match="cameras must have different names, got a, a"):
        batched(clip_of(("a", "a")))


def test_diffusion_starts_at_its_base_which_cannot_tell_views_apart():
    made = condition()
    given = diffusion_toy.inputs(diffusion_toy.TOY, views=3)
    network, base = diffusion_toy.network(diffusion_toy.TOY, made.widths), diffusion_toy.network(diffusion_toy.TOY)
    out = network(**given, dense_BVTHWC=made.dense_BVTHWC)
    assert torch.equal(out, base(**given))
    order = [1, 0, 2]
    mixed = {**given, "x_BVTHWC": given["x_BVTHWC"][:, order], "text_BVLD": given["text_BVLD"][:, order]}
    assert same(base(**mixed), base(**given)[:, order])
    alone = {**given, "x_BVTHWC": given["x_BVTHWC"][:, :1], "text_BVLD": given["text_BVLD"][:, :1]}
    assert not same(base(**alone), base(**given)[:, :1])  # views see each other
    diffusion_toy.randomise(network.dense_injection)
    out = network(**given, dense_BVTHWC=made.dense_BVTHWC)
    assert not same(network(**given, dense_BVTHWC=swapped(made)), out)


def test_autoregressive_starts_at_its_base_and_learns_to_look():
    made, tokens = condition(), ar_toy.tokens(views=3)
    dense = made.dense_BVTHWC[:, :, :, :3, :4]
    network = ar_toy.model(ar_toy.TOY, made.widths)
    layout = network.layout(3, 3, 3, 4)

    def logits(dense_BVTHWC: torch.Tensor) -> torch.Tensor:
        return network(layout.to_sequence(tokens), network.guide(layout, dense_BVTHWC=dense_BVTHWC))

    assert not same(logits(dense[:, [1, 0, 2]]), logits(dense))
    network.dense_injection.reset_parameters()
    network.view_embedding.reset_parameters()
    base = ar_toy.model(ar_toy.TOY)
    base.load_state_dict({name: value for name, value in network.state_dict().items() if name in base.state_dict()})
    assert same(logits(dense), base(layout.to_sequence(tokens), base.guide(layout)))


def test_views_compose_with_text_trajectory_and_an_action():
    clip = clip_of(has_poses=True)
    path = {name: torch.from_numpy(array)[None] for name, array in trajectory.align(clip, GRID).items()}
    path = {name: array.expand(2, *array.shape[1:]) for name, array in path.items()}
    tokens = {"tokens": torch.randn(2, 3, 7, 20)}
    action = Condition(frame_BVTD=torch.randn(2, 1, 3, 5))
    parts = [
        text.encoder(tokens, text.Config())(tokens, KEEP_2),
        condition(),
        trajectory.encoder(path, trajectory.Config(kind="motion", pose=False))(path, KEEP_2),
        action,
        Condition(dense_BVTHWC=torch.randn(2, 3, 3, 8, 12, 6)),
    ]
    joined = Condition.join(parts).on_grid(3, 3, 8, 12)
    assert joined.widths == Widths(text=20, frame=16 + 5, dense=8 + 6)
    given = diffusion_toy.inputs(diffusion_toy.TOY, views=3) | {"text_BVLD": joined.text_BVLD}
    network = diffusion_toy.network(diffusion_toy.TOY, joined.widths)
    out = network(**given, frame_BVTD=joined.frame_BVTD, dense_BVTHWC=joined.dense_BVTHWC)
    assert same(out, diffusion_toy.network(diffusion_toy.TOY)(**given))


def test_carriers_of_another_size_are_refused():
    made = condition()
    network = diffusion_toy.network(diffusion_toy.TOY, made.widths)
    given = diffusion_toy.inputs(diffusion_toy.TOY, views=3)
    with pytest.raises(ValueError, match=r"dense carrier must be \[2, 3, 3, 8, 12, 8\], got \[2, 2, 3, 8, 12, 8\]"):
        network(**given, dense_BVTHWC=made.dense_BVTHWC[:, :2])


def first_view_given(target: torch.Tensor) -> Batch:
    observed_BVT = torch.zeros(target.shape[:3], dtype=torch.bool)
    observed_BVT[:, 0] = True
    observed_BVT[:, :, 0] = True
    fps_hz_B = torch.full((len(target),), 24.0)
    return Batch(target=target, controls={}, fps_hz_B=fps_hz_B, clip_ids=("a", "b"), observed_BVT=observed_BVT)


def test_diffusion_follows_a_given_view():
    model = diffusion_toy.model(diffusion_toy.TOY_VIDEO)
    batch = first_view_given(torch.randn(2, 2, 3, 8, 12, 4))

    def made(given: Batch) -> torch.Tensor:
        draws = [generator(0, 0, name) for name in given.clip_ids]
        config = diffusion.Sampler(steps=2, guidance=0.0)
        return diffusion.sample(model, given, Condition(), Condition(), draws, config)

    out = made(batch)
    assert torch.equal(out[:, 0], batch.target[:, 0])
    assert torch.equal(out[:, 1, 0], batch.target[:, 1, 0])
    other = batch.target.clone()
    other[:, 1, 1:] += 1  # not given: not looked at
    assert torch.equal(made(first_view_given(other)), out)
    other[:, 0, 2] += 1  # the last frame of the given view
    assert not same(made(first_view_given(other))[:, 1], out[:, 1])


def test_diffusion_trains_on_a_given_view():
    model = diffusion_toy.model(diffusion_toy.TOY_VIDEO)
    target = torch.randn(2, 2, 3, 8, 12, 4)
    free = Batch(target=target, controls={}, fps_hz_B=torch.full((2,), 24.0), clip_ids=("a", "b"))
    config = diffusion.Objective(num_observed_max=0, first_view_observed=1.0)
    model.zero_grad()
    _, parts = diffusion.loss(model, free, Condition(), generator(0, 0, "loss"), config)
    plain = diffusion.Objective(num_observed_max=0)
    _, plain_parts = diffusion.loss(model, free, Condition(), generator(0, 0, "loss"), plain)
    assert parts["sigma"] == plain_parts["sigma"]
    assert parts["x0_mse"] != plain_parts["x0_mse"]
    single = Batch(target=target[:, :1], controls={}, fps_hz_B=free.fps_hz_B, clip_ids=("a", "b"))
    with pytest.raises(ValueError, match="first_view_observed needs clips of several views"):
        diffusion.loss(model, single, Condition(), generator(0, 0, "loss"), config)


def test_autoregressive_follows_a_given_view():
    model = ar_toy.model(ar_toy.TOY)
    batch = first_view_given(ar_toy.tokens(views=2))

    def made(given: Batch) -> torch.Tensor:
        draws = [generator(0, 0, name) for name in given.clip_ids]
        config = autoregressive.Sampler(top_p=1.0)
        return autoregressive.sample(model, given, Condition(), Condition(), draws, config)

    out = made(batch)
    assert torch.equal(out[:, 0], batch.target[:, 0])
    assert torch.equal(out[:, 1, 0], batch.target[:, 1, 0])
    other = batch.target.clone()
    other[:, 1, 1:] = 0
    assert torch.equal(made(first_view_given(other)), out)
    other[:, 0, 1:] = (other[:, 0, 1:] + 7) % ar_toy.TOY.vocab_size
    assert not torch.equal(made(first_view_given(other))[:, 1], out[:, 1])


def test_autoregressive_scores_only_what_is_not_given():
    model = ar_toy.model(ar_toy.TOY)
    batch = first_view_given(ar_toy.tokens(views=2))
    layout = model.layout(2, 3, 3, 4)
    sequence = layout.to_sequence(batch.target)
    nll = torch.nn.functional.cross_entropy(
        model(sequence[:, :-1], model.guide(layout)).flatten(0, 1), sequence[:, 1:].flatten(), reduction="none"
    )
    scored = layout.to_grid(torch.nn.functional.pad(nll.view(2, -1), (1, 0)))[:, 1, 1:]
    _, parts = autoregressive.loss(model, batch, Condition(), generator(0, 0, "loss"), autoregressive.Objective())
    assert parts["cross_entropy"].item() == pytest.approx(scored.mean().item(), rel=1e-5)
