"""Which injection is best: `python -m recipes.injections --task TASK --base BASE --data CACHE --out NAME.json`.

TASK is action or camera, CACHE what `worldtune prepare` wrote for it and for BASE. Every way of
`recipes.injection_variants` is trained on the same clips in the same order with the same noise, from the base exactly
(asserted), and judged on held-out clips with its own and with another episode's control. A command that was killed
continues where it was.

Shape legend: B batch, V views, T latent frames, H W latent grid, C channels.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recipes.injection_variants import SHIPPED, VARIANTS, Variant, built
from worldtune import settings
from worldtune.contract.cache import Cache
from worldtune.contract.files import read_json, write_json
from worldtune.contract.nouns import Batch
from worldtune.contract.randomness import generator
from worldtune.metrics.intervals import Interval, bootstrap_mean, paired_difference
from worldtune.run import Run, compose
from worldtune.stages.base import find_base
from worldtune.stages.provenance import circumstances
from worldtune.stages.train_plan import require_base_loss
from worldtune.stages.world import WorldModel, assemble
from worldtune.training import loop
from worldtune.training.batches import Clips, rows, training_batches, with_foreign
from worldtune.training.parallel import Processes
from worldtune.training.precision import autocast, resolved_precision
from worldtune.training.state import TrainState

SETTINGS: dict[str, tuple[str, ...]] = {
    # Noise at which the sampler of one step, which starts at 40, has to tell where things go.
    "diffusion": ("optim.lr=1e-3", "objective.sigma_multiplier=24"),
    "autoregressive": ("optim.lr=1e-3",),
}
"""Few steps want a high rate."""
REACH = ("control.action.reach=true",)
"""Actions are told in the robot's axes as well: small networks follow them sooner."""
ERROR = {
    "diffusion": "Squared error of sampled latents, in units of the latents' variance, first frame given",
    "autoregressive": "Cross-entropy in nats per token, first frame given",
}
CLIPS_AT_ONCE = 20
Scores = dict[str, list[float]]
""""own" and "foreign" -> error of each held-out clip."""


def planned(args: argparse.Namespace, seed: int, variant: Variant) -> Run:
    """The run of one variant."""
    base = find_base(args.base)
    reach = REACH if args.task == "action" else ()
    assignments = (*SETTINGS[base.family], *reach, "loop.validate_every=0", *variant.settings, *args.set)
    return compose(task=args.task, base=base, data=args.data, seed=seed, steps=args.steps, assignments=assignments)


def held_out(cache: Cache, clips: Clips) -> Batch:
    """All held-out clips, their first latent frame given, so ordered that the next one is of another episode."""
    order = sorted(cache.indices("val"), key=lambda index: (cache.info(index)["start"], cache.info(index)["episode"]))
    batch = clips.batch(order)
    batch.num_observed_B = torch.ones(batch.size, dtype=torch.long)
    return batch


def errors(world: WorldModel, batch: Batch) -> list[float]:
    """Error of every clip. Noise belongs to the clip: it is the same for all models and controls."""
    if world.family.MODELS_TOKENS:
        found = []
        for place, name in enumerate(batch.clip_ids):
            clip = rows(batch, place, place + 1)
            condition, noise = world.condition(clip, {}), generator(0, 0, name)
            _, parts = world.family.loss(world.network, clip, condition, noise, world.run.objective)
            found.append(parts["cross_entropy"].item())
        return found
    made = []
    for start in range(0, batch.size, CLIPS_AT_ONCE):
        part = rows(batch, start, start + CLIPS_AT_ONCE)
        made.append(world.sample(part, [generator(0, 0, name) for name in part.clip_ids], world.run.sampler))
    missed_BVTHWC = (torch.cat(made) - batch.target.float())[:, :, 1:]
    return missed_BVTHWC.square().flatten(1).mean(1).tolist()


@torch.no_grad()
def scores(world: WorldModel, batch: Batch, control: str, precision: str) -> Scores:
    """Errors with the clip's own and with another episode's control."""
    world.eval()
    with autocast(precision, batch.target.device):
        return {"own": errors(world, batch), "foreign": errors(world, with_foreign(batch, control))}


def trained(world: WorldModel, cache: Cache, clips: Clips, precision: str) -> TrainState:
    """After the run's steps, by the loop of `worldtune train`."""
    run, where = world.run, Processes()
    state = TrainState.fresh(world.train(), run.optim, run.ema)

    def report(kind: str, step: int, values: Mapping[str, float]) -> None:
        if step % 50 == 0:
            print(f"  step {step}: loss {values['loss']:.4f}, {values['seconds']:.2f} s", flush=True)

    return loop.train(
        state,
        training_batches(clips, cache.indices("train"), seed=run.seed, batch_size=run.loop.batch_size),
        world.loss,
        config=run.loop,
        optim=run.optim,
        precision=precision,
        seed=run.seed,
        where=where,
        report=report,
        validate=dict,
        save=lambda validation_loss: None,
    )


def measured(run: Run, cache: Cache, variant: Variant, control: str) -> dict[str, Any]:
    """Train one variant with one seed: errors before and after."""
    clips = Clips(cache, ("text", *run.controls))
    precision = resolved_precision(run.loop.precision, torch.device("cpu"))
    world, batch = built(run, cache, variant, control), held_out(cache, clips)
    require_base_loss(world, cache, clips.batch(cache.indices("train")[:2]))
    before = scores(world, batch, control, precision)
    state = trained(world, cache, clips, precision)
    with state.ema.applied():
        after = scores(world, batch, control, precision)
    plain, _ = assemble(replace(run, controls=tuple(name for name in run.controls if name == "text")), cache)
    return {
        "new_parameters": count_parameters(world) - count_parameters(plain),
        "base": rounded(before["own"]),
        "own": rounded(after["own"]),
        "foreign": rounded(after["foreign"]),
    }


def count_parameters(world: WorldModel) -> int:
    """All of them."""
    return sum(parameter.numel() for parameter in world.parameters())


def rounded(values: list[float]) -> list[float]:
    """Digits that are worth keeping."""
    return [round(value, 5) for value in values]


def by_episode(values: list[float], episodes: list[int]) -> list[float]:
    """Clips of an episode overlap: its mean is one observation."""
    places = sorted(set(episodes))
    return [float(np.mean([v for v, e in zip(values, episodes, strict=True) if e == place])) for place in places]


def summary(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Means and intervals over held-out episodes, errors averaged over the seeds that all variants have."""
    runs: dict[str, dict[str, Any]] = report["runs"]
    seeds = sorted(set.intersection(*({run["seed"] for run in of.values()} for of in runs.values())))

    def pooled(name: str, kind: str) -> list[float]:
        chosen = [run[kind] for run in runs[name].values() if run["seed"] in seeds]
        return by_episode(np.mean(chosen, 0).tolist(), report["episodes"])

    def shown(interval: Interval) -> dict[str, float | None]:
        return {k: None if v is None else round(v, 5) for k, v in asdict(interval).items() if k != "num_clips"}

    table = {}
    for name in runs:
        own = pooled(name, "own")
        table[name] = {
            "seeds": seeds,
            "own": shown(bootstrap_mean(own, 0)),
            "foreign_minus_own": shown(paired_difference(pooled(name, "foreign"), own, 0)),
            "minus_base": shown(paired_difference(own, pooled(name, "base"), 0)),
        }
        if SHIPPED in runs and name != SHIPPED:
            table[name]["minus_shipped"] = shown(paired_difference(own, pooled(SHIPPED, "own"), 0))
    return table


def markdown(report: dict[str, Any]) -> str:
    """The table of one task on one base."""

    def cell(value: dict[str, float] | None) -> str:
        return "" if value is None else f"{value['value']:+.4f} [{value['low']:+.4f}, {value['high']:+.4f}]"

    first = next(iter(report["summary"].values()))
    base = first["own"]["value"] - first["minus_base"]["value"]
    lines = [
        "| injection | new weights | error | other's control minus own | minus shipped |",
        "|---|---|---|---|---|",
        f"| the base, without control | | {base:.4f} | | |",
    ]
    for name, row in report["summary"].items():
        count = next(iter(report["runs"][name].values()))["new_parameters"]
        own, gap, gain = row["own"]["value"], cell(row["foreign_minus_own"]), cell(row.get("minus_shipped"))
        lines.append(f"| {name}: {report['ways'][name]} | {count:,} | {own:.4f} | {gap} | {gain} |")
    return "\n".join(lines)


def begun(args: argparse.Namespace, cache: Cache, ways: Mapping[str, Variant]) -> dict[str, Any]:
    """The report so far. ValueError when the file holds one of other settings."""
    batch, family = held_out(cache, Clips(cache, ("text",))), find_base(args.base).family
    episode_of = {cache.info(index)["id"]: cache.info(index)["episode"] for index in cache.indices("val")}
    run = settings.to_json(replace(planned(args, 0, ways[SHIPPED]), data=""))
    fresh = {
        "command": " ".join(["python -m recipes.injections", *sys.argv[1:]]),
        "task": args.task,
        "base": args.base,
        "error": ERROR[family],
        "num_train_clips": len(cache.indices("train")),
        "episodes": [episode_of[name] for name in batch.clip_ids],
        "run": run,
        "ways": {name: variant.way for name, variant in ways.items()},
        "runs": {},
    }
    if not args.out.exists():
        return fresh
    found: dict[str, Any] = read_json(args.out)
    for name in ("task", "base", "episodes", "num_train_clips", "run"):
        if found[name] != fresh[name]:
            raise ValueError(f"{args.out}: holds results of another {name}; choose another --out")
    return {**found, "ways": fresh["ways"]}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=("action", "camera"), required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--data", type=Path, required=True, help="cache of that task for that base")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", default=[], help="names of variants; default: all")
    parser.add_argument("--set", nargs="+", default=[], help="settings of the runs, as a.b=c")
    args = parser.parse_args()
    cache, ways = Cache.open(args.data), VARIANTS[args.task, find_base(args.base).family]
    if unknown := set(args.only) - ways.keys():
        raise ValueError(f"--only {', '.join(sorted(unknown))}: wanted some of {', '.join(ways)}")
    # Now: the checkout may move on while this trains.
    report, made = begun(args, cache, ways), circumstances()
    for seed in args.seeds:
        for name, variant in ways.items():
            if (args.only and name not in args.only) or str(seed) in report["runs"].get(name, {}):
                continue
            print(f"{name}, seed {seed}", flush=True)
            found = measured(planned(args, seed, variant), cache, variant, args.task)
            report["runs"].setdefault(name, {})[str(seed)] = {"seed": seed, **made, **found}
            write_json(args.out, {**report, "summary": summary(report)})
    print(markdown({**report, "summary": summary(report)}))


if __name__ == "__main__":
    main()
