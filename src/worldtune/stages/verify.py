"""Reference cases: do our networks compute what NVIDIA's do?"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

from safetensors import SafetensorError, safe_open

from worldtune.codecs.continuous_video.reference import check_tokenizer_case as check_continuous_case
from worldtune.codecs.discrete_video.reference import check_tokenizer_case as check_discrete_case
from worldtune.families.autoregressive.reference import check_ar_case
from worldtune.families.diffusion.reference import check_dit_case

Check = Callable[[Path], tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of one reference case."""

    name: str
    max_error: float | None
    """Largest error relative to the reference's own largest value; None when nothing here can run the case."""
    limit: float | None
    """Largest error allowed."""
    note: str = ""
    """Why the case could not be run, one sentence."""

    @property
    def passed(self) -> bool:
        """True when the case ran and its error is within the limit; NaN is not."""
        return self.max_error is not None and self.limit is not None and self.max_error <= self.limit


def verify(folder: Path) -> list[Result]:
    """Run every `*.safetensors` case in a folder; one that cannot be run fails with a note. ValueError when none."""
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise ValueError(f"{folder}: no reference cases (*.safetensors) here")
    return [_run(path) for path in paths]


def _run(path: Path) -> Result:
    try:
        max_error, limit = _room_of(path)(path)
    except KeyError as error:
        note = f"not a complete reference case, {error.args[0]} is missing"
    except ValueError as error:
        note = str(error).removeprefix(f"{path}: ")
    except Exception as error:
        # What a file holds can break a network anywhere; the other cases must be heard all the same.
        note = shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
    else:
        return Result(name=path.stem, max_error=max_error, limit=limit)
    return Result(name=path.stem, max_error=None, limit=None, note=note)


def _room_of(path: Path) -> Check:
    """Which room runs a case, told by the hyper-parameters in its metadata. ValueError when none does."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: damaged or cut short ({error})") from None
    if "config" not in metadata:
        raise ValueError(f"{path}: not a reference case, its metadata has no config")
    try:
        config = json.loads(metadata["config"])
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: config in its metadata is not valid JSON ({error})") from None
    if "model_channels" in config:
        return check_dit_case
    if "n_heads" in config:
        return check_ar_case
    if "z_channels" in config:
        return check_discrete_case if "levels" in config else check_continuous_case
    raise ValueError("not supported: no room here runs a network with this config")
