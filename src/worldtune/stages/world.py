"""Assemble a world model: a family's network, the encoders of the controls, and the rules of dropping them.

Shape legend: B batch, V views, L text tokens, D width.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from worldtune.contract import rooms
from worldtune.contract.cache import Cache
from worldtune.contract.condition import Condition, Widths
from worldtune.contract.nouns import Batch, Coverage
from worldtune.contract.protocols import Family
from worldtune.run import Run, load_run
from worldtune.stages.base import Base, find_base

VERSIONS = ("ema", "raw")
"""Weights that a finished run has: their average over the steps, and as the last step left them."""


class WorldModel(nn.Module):
    """What the loop trains and the samplers call: a batch in, a loss or a sample out."""

    def __init__(self, *, run: Run, family: Any, network: nn.Module, controls: dict[str, nn.Module]) -> None:
        super().__init__()
        self.run = run
        self.family: Family = family
        self.network = network
        self.controls = nn.ModuleDict(controls)

    def condition(self, batch: Batch, keep: dict[str, Tensor]) -> Condition:
        """Every control's condition, joined. `keep` maps a control to bool [B]; absent means keep all."""
        everything_B = torch.ones(batch.size, dtype=torch.bool, device=batch.target.device)
        parts = [encoder(batch.controls[name], keep.get(name, everything_B)) for name, encoder in self.controls.items()]
        condition = Condition.join(parts)
        if condition.text_BVLD is None:
            # Families are pre-trained with text; a task without text gives them the empty one: zero rows.
            rows_BVLD = torch.zeros_like(batch.controls["text"]["tokens"], dtype=torch.float32)
            condition = Condition.join([Condition(text_BVLD=rows_BVLD), condition])
        return condition

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Draw which controls are dropped, then the family's objective."""
        keep = {}
        for name in self.controls:
            draws_B = torch.rand(batch.size, generator=generator)
            keep[name] = (draws_B >= self.run.control[name].dropout).to(batch.target.device)
        condition = self.condition(batch, keep)
        missing = getattr(self.run.control.get("views"), "view_dropout", 0.0)
        if self.training and missing > 0:
            # A view that is to be given whole needs another one to follow it.
            fewest = 2 if getattr(self.run.objective, "first_view_observed", 0) > 0 else 1
            chosen = present_views(batch.target.shape[1], missing, fewest, generator)
            batch, condition = batch.of_views(chosen), condition.of_views(chosen)
        return self.family.loss(self.network, batch, condition, generator, self.run.objective)

    @torch.inference_mode()
    def sample(self, batch: Batch, generators: Sequence[torch.Generator], sampler: Any) -> Tensor:
        """Generate what follows the observed frames; guidance is between all controls and none."""
        nothing_B = torch.zeros(batch.size, dtype=torch.bool, device=batch.target.device)
        null = self.condition(batch, dict.fromkeys(self.controls, nothing_B))
        return self.family.sample(self.network, batch, self.condition(batch, {}), null, generators, sampler)


def present_views(num_views: int, missing: float, fewest: int, generator: torch.Generator) -> list[int]:
    """Views of a training step: each is missing with a probability of its own, but so many stay at least."""
    draws_V = torch.rand(num_views, generator=generator)
    order = draws_V.argsort(descending=True).tolist()
    return sorted(order[: max(min(fewest, num_views), int((draws_V >= missing).sum()))])


def assemble(run: Run, cache: Cache) -> tuple[WorldModel, Coverage]:
    """Base weights, grown for the run's controls. Raises ValueError when base and cache do not belong together."""
    base = find_base(run.base, run.codec_path, run.text_encoder_path)
    require_same_base(base, cache)
    controls = _encoders(run, cache)
    widths = Widths(text=cache.header.arrays["text/tokens"][-1])
    for encoder in controls.values():
        widths = widths + encoder.widths  # type: ignore[operator]
    family = rooms.load("families", base.family)
    if missing := widths.carriers - family.CARRIERS:
        raise ValueError(f"{base.name}: the {base.family} family cannot take {', '.join(sorted(missing))} controls")
    network, coverage = family.load_base(base.network, widths)
    return WorldModel(run=run, family=family, network=network, controls=controls), coverage


def require_same_base(base: Base, cache: Cache) -> None:
    """ValueError unless the cache was made with the base's codec and text encoder."""
    header = cache.header
    for what, mine, theirs in (
        ("codec", base.codec().identity, header.codec),
        ("text encoder", base.text_encoder().identity, header.text_encoder),
    ):
        if mine != theirs:
            raise ValueError(
                f"{cache.folder}: made with another {what} ({theirs[:12]}, base {header.base}) than {base.name} has "
                f"({mine[:12]}); run `worldtune prepare` with --base {base.name}"
            )


def _encoders(run: Run, cache: Cache) -> dict[str, nn.Module]:
    encoders = {}
    for name in run.controls:
        if name not in cache.header.controls:
            known = ", ".join(cache.header.controls)
            again = f"prepare one with --task {run.task}, or --controls {','.join(run.controls)}"
            raise ValueError(f"{cache.folder}: has no {name} control, only {known}; {again}")
        example = control_arrays(cache.tensors(0), name)
        encoders[name] = rooms.load("controls", name).encoder(example, run.control[name])
    return encoders


def fit_controls(world: WorldModel, cache: Cache) -> None:
    """Let every encoder that learns from data as a whole (see `Control.encoder`) see the training clips."""
    for name, encoder in world.controls.items():
        if hasattr(encoder, "fit"):
            indices = cache.indices("train")
            encoder.fit(control_arrays(cache.tensors(index, f"{name}/"), name) for index in indices)  # type: ignore[operator]


def control_arrays(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The arrays of one control out of a cache entry, keys without the control's name."""
    return {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}


def load_world(folder: Path, cache: Cache, weights: str = "ema") -> WorldModel:
    """The post-trained model of a finished run; `weights` is "ema" or "raw"."""
    require_same_controls(folder, cache, weights)
    world, path = base_world(folder, cache), weights_path(folder, weights)
    try:
        world.load_state_dict(load_file(path), strict=True)
    except RuntimeError as error:
        first = " ".join(str(error).splitlines()[1:2]).strip()
        raise ValueError(
            f"{path}: does not fit the model that run.json describes; was another version used? {first}"
        ) from None
    return world.eval()


def require_same_controls(folder: Path, cache: Cache, weights: str = "ema") -> None:
    """ValueError unless the controls of a cache are as wide as those that a run was trained on. Loads no network."""
    path = weights_path(folder, weights)
    for name, encoder in _encoders(load_run(folder), cache).items():
        saved = _saved_control(path, name)
        _adopt(encoder, saved)
        _require_same_sizes(name, encoder, saved, path, cache)


def base_world(folder: Path, cache: Cache) -> WorldModel:
    """The same run's model before post-training."""
    world, path = assemble(load_run(folder), cache)[0].eval(), weights_path(folder, "ema")
    for name, encoder in world.controls.items():
        _adopt(encoder, _saved_control(path, name))
    return world


def weights_path(folder: Path, weights: str) -> Path:
    """The file of a finished run; `weights` is "ema" or "raw". ValueError when it is not finished, or damaged."""
    if weights not in VERSIONS:
        raise ValueError(f"--weights must be one of {', '.join(VERSIONS)}, got {weights!r}")
    path = folder / "weights" / f"{weights}.safetensors"
    if not path.exists():
        raise ValueError(f"{path}: no such file; the run is not finished, start the same `worldtune train` again")
    try:
        with safe_open(path, framework="pt"):
            return path
    except SafetensorError as error:
        again = f"delete {path.parent} and start the same `worldtune train` again"
        raise ValueError(f"{path}: damaged or cut short ({error}); {again}") from None


def _saved_control(path: Path, name: str) -> dict[str, Tensor]:
    """The tensors of a control's encoder in a run's weights, keys without the control's name."""
    prefix = f"controls.{name}."
    with safe_open(path, framework="pt") as stream:
        return {key.removeprefix(prefix): stream.get_tensor(key) for key in stream.keys() if key.startswith(prefix)}  # noqa: SIM118


def _adopt(encoder: nn.Module, saved: dict[str, Tensor]) -> None:
    """Let a control that can take over what the run knew, such as its cameras, do so."""
    if hasattr(encoder, "adopt"):
        encoder.adopt(saved)  # type: ignore[operator]


def _require_same_sizes(name: str, encoder: nn.Module, saved: dict[str, Tensor], path: Path, cache: Cache) -> None:
    """ValueError when a control of the cache is not as wide as the one that the run was trained on."""
    for key, tensor in encoder.state_dict().items():
        trained = saved.get(key)
        if trained is None or trained.shape != tensor.shape:
            had = "none" if trained is None else f"{list(trained.shape)}"
            raise ValueError(
                f"{path}: trained on another {name} control than {cache.folder} has ({key} is {had}, the cache needs "
                f"{list(tensor.shape)}); use a cache of the same kind of data"
            )
