"""Evaluate: judge made clips. Imports no family, codec or training, so anybody's clips can be judged.

Several folders of the same clips, one per seed, are pooled: each clip is averaged over its seeds, then over clips.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from worldtune.contract.files import read_json_lines, write_json, write_whole
from worldtune.metrics import columns as measured
from worldtune.metrics.columns import ClipScores, clip_scores
from worldtune.metrics.frechet import ground
from worldtune.metrics.scores import MEASURES
from worldtune.report.film import film_uri, tiled
from worldtune.report.page import OBEDIENCE, ShownClip, render
from worldtune.report.tables import counted
from worldtune.report.verdict import verdict
from worldtune.stages.counter import Counter
from worldtune.stages.judges import Judge, judges
from worldtune.stages.made_clips import MEANINGS, REAL, ClipInfo, Made, MadeSet
from worldtune.stages.provenance import circumstances

COMPARISONS = (("post-trained", "base"), ("post-trained", "shuffled"), ("post-trained", "copy"))
MAX_SHOWN_CLIPS = 8
BOOTSTRAP_SEED = 0
_DIFFERS_BETWEEN_SEEDS = {"seed", "training_seed", "weights_hash"}
SHUFFLED, AS_TOLD = "shuffled", "shuffled, as told"
AS_TOLD_MEANING = "The shuffled clips against the control they were given instead of the true one: obedience lowers it."

Columns = dict[str, list[list[ClipScores]]]
"""Column -> [seed][clip]."""


def _no_scores(names: Sequence[str], sets: Sequence[MadeSet]) -> Columns:
    return {name: [[] for _ in sets] for name in names}


def evaluate(outs: Sequence[Path], report: Path | None = None) -> Path:
    """Judge the clips in `outs`, one folder per seed, and pool them; return the path of report.html.

    Writes report.json and report.html into `report`, by default the first of `outs`. ValueError when a folder holds no
    finished clips, the folders are not of the same clips and columns, or `report` is a file.
    """
    if report is not None and report.is_file():
        raise ValueError(f"{report}: a file, wanted a folder for the report")
    sets = [MadeSet.open(out) for out in outs]
    _require_alike(sets)
    console = Console()
    found, unjudged = judges(sets, console)
    columns, beside = _judged(sets, found, console)
    summary = _summary(sets, columns, beside, found, unjudged)
    folder = report or outs[0]
    write_json(folder / "report.json", summary)
    page = render(summary, [_shown(sets[0], place, columns) for place in range(len(sets[0].clips))[:MAX_SHOWN_CLIPS]])
    with write_whole(folder / "report.html") as temporary:
        temporary.write_text(page)
    return folder / "report.html"


def _require_alike(sets: Sequence[MadeSet]) -> None:
    first = sets[0]
    if not first.clips:
        raise ValueError(f"{first.folder}: generate.json lists no clips")
    if REAL not in first.columns or len(first.columns) < 2:
        raise ValueError(f"{first.folder}: wanted the column {REAL!r} and one to judge, got {', '.join(first.columns)}")
    for other in sets[1:]:
        if [clip.id for clip in other.clips] != [clip.id for clip in first.clips]:
            raise ValueError(
                f"{other.folder} and {first.folder} hold different clips; make the same ones for each seed"
            )
        if other.columns.keys() != first.columns.keys():
            raise ValueError(f"{other.folder} and {first.folder} hold different columns")
        names = sorted((other.settings.keys() | first.settings.keys()) - _DIFFERS_BETWEEN_SEEDS)
        if changed := [name for name in names if other.settings.get(name) != first.settings.get(name)]:
            raise ValueError(
                f"{other.folder} and {first.folder} were made with another {', '.join(changed)}; only seeds are "
                "pooled, evaluate each alone"
            )


def _judged(sets: Sequence[MadeSet], found: Sequence[Judge], console: Console) -> tuple[Columns, Columns]:
    """Every column but the truth, foreign ones first, measured on every clip; and what only judges say.

    That is the truth itself, whose errors are the judges' own, and the shuffled column against what it was told.
    """
    names = [name for name in sets[0].columns if name not in MEANINGS]
    names += [name for name in MEANINGS if name in sets[0].columns and name != REAL]
    columns = _no_scores(names, sets)
    has_foreign = SHUFFLED in names and _commanded(found)
    beside = _no_scores([*([AS_TOLD] if has_foreign else []), *([REAL] if found else [])], sets)
    with Counter("judging", sum(len(made.clips) for made in sets), console) as counter:
        for seed, made in enumerate(sets):
            for clip in made.clips:
                real = made.read(clip.id, REAL)
                for name in names:
                    one = made.read(clip.id, name)
                    scores = _scored(made.path(clip.id, name), one, real, clip)
                    scores.values.update(_errors(found, one, real, clip, clip.id))
                    columns[name][seed].append(scores)
                    if name == SHUFFLED and AS_TOLD in beside and clip.foreign_id is not None:
                        told = _errors(_commanded(found), one, real, clip, clip.foreign_id)
                        beside[AS_TOLD][seed].append(ClipScores(values=told))
                if REAL in beside:
                    beside[REAL][seed].append(ClipScores(values=_errors(found, real, real, clip, clip.id)))
                counter.add(1)
    return columns, beside


def _commanded(found: Sequence[Judge]) -> list[Judge]:
    return [judge for judge in found if judge.is_commanded]


def _errors(
    found: Sequence[Judge], made: Made, real: Made, clip: ClipInfo, commanded_by: str
) -> dict[str, float | None]:
    """What all judges say of a clip, against the control of the clip `commanded_by`."""
    pixels = made.pixels_VTHWC, real.pixels_VTHWC
    return {name: value for judge in found for name, value in judge.errors(*pixels, clip, commanded_by).items()}


def _scored(path: Path, made: Made, real: Made, clip: ClipInfo) -> ClipScores:
    part, latents = slice(clip.num_given_views, None), None
    if made.latent_VTHWC is not None and real.latent_VTHWC is not None:
        latents = made.latent_VTHWC[part], real.latent_VTHWC[part]
    pixels = made.pixels_VTHWC[part], real.pixels_VTHWC[part]
    try:
        return clip_scores(*pixels, clip.num_observed_frames, latents, clip.num_observed_latents)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _summary(
    sets: Sequence[MadeSet],
    columns: Columns,
    beside: Columns,
    found: Sequence[Judge],
    unjudged: Mapping[str, str],
) -> dict[str, Any]:
    """report.json: every number of the report."""
    first = sets[0]
    clips_are = "training" if first.settings.get("split") == "train" else "held-out"
    known = dict(MEASURES)
    for judge in found:
        known |= judge.measures
    episodes = [clip.episode or clip.id for clip in first.clips]
    values = {name: measured.means(column, BOOTSTRAP_SEED, episodes) for name, column in (columns | beside).items()}
    defined = [name for name in known if any(name in of_column for of_column in values.values())]
    real = next((cloud for cloud in map(measured.real_clouds, columns.values()) if cloud is not None), None)
    summary: dict[str, Any] = {
        "version": 1,
        "title": _title(first.settings),
        "subtitle": _subtitle(sets, clips_are, len(set(episodes))),
        "num_clips": len(first.clips),
        "num_episodes": len(set(episodes)),
        "clips_are": clips_are,
        "num_seeds": len(sets),
        "columns": {REAL: first.columns[REAL], **{name: first.columns.get(name, AS_TOLD_MEANING) for name in values}},
        "skipped": first.skipped | {f"{OBEDIENCE} {control}": reason for control, reason in unjudged.items()},
        "measures": {name: asdict(known[name]) for name in defined},
        "obedience": _obedience(found),
        "values": values,
        "differences": [
            {
                "left": left,
                "right": right,
                "values": measured.differences(columns[left], columns[right], BOOTSTRAP_SEED, episodes),
            }
            for left, right in COMPARISONS
            if left in columns and right in columns
        ],
        "fd_ground": None if real is None else ground(real[0], BOOTSTRAP_SEED),
        "per_frame_psnr_db": {
            "first_frame": first.clips[0].num_observed_frames,
            "columns": {name: measured.per_frame_psnr_db(column) for name, column in columns.items()},
        },
        "per_clip": _per_clip(first, columns | beside, defined),
        "training": [_curves(made.folder / "training.jsonl") for made in sets],
        "commands": _commands(sets),
        "made": [{"out": str(made.folder), "settings": made.settings, **made.circumstances} for made in sets],
        "evaluated": circumstances(),
    }
    return {"verdict": verdict(summary), **summary}


def _obedience(found: Sequence[Judge]) -> dict[str, dict[str, Any]]:
    """What is said of the judges of each control; measures of all of them, in their order."""
    said: dict[str, dict[str, Any]] = {}
    for judge in found:
        before, now = said.get(judge.control, {}), judge.to_json()
        said[judge.control] = now | before | {"measures": [*before.get("measures", ()), *now["measures"]]}
    return said


def _title(settings: Mapping[str, Any]) -> str:
    if "task" not in settings:
        return "Made clips, judged"
    return f"{settings['task'].capitalize()} post-training of {Path(settings['base']).name}"


def _subtitle(sets: Sequence[MadeSet], clips_are: str, num_episodes: int) -> str:
    first = sets[0]
    clip = first.clips[0]
    frames = counted(clip.num_observed_frames, "given frame")
    frames += ", the first view whole" if clip.num_given_views else ""
    which = f"{counted(len(first.clips), f'{clips_are} clip')} of {counted(num_episodes, 'episode')}"
    parts = [which, counted(len(sets), "seed"), frames]
    if "training_steps" in first.settings:
        parts.append(f"{first.settings['training_steps']} training steps")
    return ", ".join(parts)


def _per_clip(made: MadeSet, columns: Columns, measures: Sequence[str]) -> list[dict[str, Any]]:
    """Every clip with its scores, averaged over seeds."""
    tables = {
        name: {column: measured.per_clip(scores, name) for column, scores in columns.items() if _has(scores, name)}
        for name in measures
        if name != measured.FRECHET
    }
    return [
        {"id": clip.id, "texts": clip.texts}
        | {name: {column: values[place] for column, values in table.items()} for name, table in tables.items()}
        for place, clip in enumerate(made.clips)
    ]


def _has(column: Sequence[Sequence[ClipScores]], name: str) -> bool:
    return any(name in clip.values for clips in column for clip in clips)


def _curves(path: Path) -> dict[str, dict[str, list[float]]]:
    """Losses against the step, by name; empty without a training log. A half-written last row is left out."""
    curves: dict[str, dict[str, list[float]]] = {}
    for row in read_json_lines(path):
        for name, value in row.items():
            if name.startswith("loss"):
                curve = curves.setdefault(f"{row['kind']} {name.replace('_', ' ')}", {"step": [], "value": []})
                curve["step"].append(row["step"])
                curve["value"].append(value)
    return curves


def _commands(sets: Sequence[MadeSet]) -> list[str]:
    made = [made.circumstances["command"] for made in sets if "command" in made.circumstances]
    return [*made, f"worldtune evaluate {' '.join(str(made.folder) for made in sets)}"]


def _shown(made: MadeSet, place: int, columns: Columns) -> ShownClip:
    """A clip of the first seed with the PSNR of every column."""
    psnr_db = {name: column[0][place].values["psnr_db"] or 0.0 for name, column in columns.items()}
    return shown_clip(made, place, (REAL, *columns), psnr_db)


def shown_clip(made: MadeSet, place: int, names: Iterable[str], psnr_db: Mapping[str, float]) -> ShownClip:
    """A clip as pages show it: its films in the columns `names`, of which one is real."""
    clip = made.clips[place]
    videos = {name: tiled(made.read(clip.id, name).pixels_VTHWC) for name in names}
    frames, height, width, _ = videos[REAL].shape
    return ShownClip(
        id=clip.id,
        text=" | ".join(dict.fromkeys(clip.texts)),
        foreign_text=" | ".join(dict.fromkeys(clip.foreign_texts)) if "shuffled" in videos else "",
        fps_hz=clip.fps_hz,
        num_frames=frames,
        num_observed=clip.num_observed_frames,
        width_px=width,
        height_px=height,
        films={name: film_uri(video) for name, video in videos.items()},
        psnr_db=dict(psnr_db),
    )
