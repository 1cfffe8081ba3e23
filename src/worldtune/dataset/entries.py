"""Reading foreign JSON and text files: every mistake names the file and the field."""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worldtune.dataset.episode import text_fault

_log = logging.getLogger(__name__)


def entry(path: Path, value: Any, name: str, kind: type | tuple[type, ...], where: str = "") -> Any:
    """value[name]. ValueError naming the file when it is absent or not of that kind. where: e.g. "frame 3"."""
    place = f"{path}: {where}: " if where else f"{path}: "
    if not isinstance(value, dict) or name not in value:
        raise ValueError(f"{place}no entry {name!r}")
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value[name], kinds) or (isinstance(value[name], bool) and bool not in kinds):
        wanted = " or ".join(k.__name__ for k in kinds)
        raise ValueError(f"{place}{name} is {str(value[name])[:60]!r}, wanted {wanted}")
    return value[name]


def numbers(source: str, value: Any, shape: Sequence[int | None]) -> np.ndarray:
    """A value as float64 of that shape; None means any size. ValueError naming the source, "FILE: field"."""
    words = "a list of numbers" if len(shape) == 1 else "numbers"
    wanted = f"{words} of shape [{','.join('any' if size is None else str(size) for size in shape)}]"
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{source} is {str(value)[:60]!r}, wanted {wanted}") from None
    is_right = array.ndim == len(shape) and all(
        want is None or got == want for got, want in zip(array.shape, shape, strict=True)
    )
    if not is_right:
        raise ValueError(f"{source} has shape {list(array.shape)}, wanted {wanted}")
    if not np.isfinite(array).all():
        raise ValueError(f"{source} has a value that is not finite at {np.argwhere(~np.isfinite(array))[0].tolist()}")
    return array


def lines(path: Path) -> list[str]:
    """Lines of a UTF-8 text file, with or without a byte order mark. ValueError naming the file."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8 text; save it as UTF-8") from None


def natural_order(name: str) -> tuple[tuple[int | str, ...], str]:
    """Sort key of names that count: digits are numbers, so that 2.png comes before 10.png."""
    # Texts and numbers take turns, so a text never meets a number; the name itself tells 1 from 01.
    parts = re.split("([0-9]+)", name)
    return tuple(int(part) if place % 2 else part for place, part in enumerate(parts)), name


def caption(candidates: Sequence[Path], name: str, allow_missing: bool) -> str:
    """Text of the first candidate that exists.

    ValueError when none does, or it is empty, unless that is allowed; and when it is too long.
    """
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        if allow_missing:
            return ""
        raise ValueError(f"{candidates[0]}: no caption for {name}; write one, or give --allow-missing-captions")
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: the caption is not UTF-8 text; save it as UTF-8") from None
    if not text and not allow_missing:
        raise ValueError(f"{path}: the caption of {name} is empty; write one, or give --allow-missing-captions")
    return not_too_long(text, str(path))


def not_too_long(text: str, source: str) -> str:
    """The text itself. ValueError naming the source, "FILE: field", where it can be shortened."""
    if fault := text_fault(text):
        raise ValueError(f"{source}: {fault}")
    return text


def refuse_rate(fps_hz: float | None, told_by: str) -> None:
    """ValueError when the user names a frame rate although the files tell it."""
    if fps_hz is not None:
        raise ValueError(f"--fps-hz {fps_hz:g}: {told_by} tell the frame rate; leave the option out")


def require_rate(fps_hz: float | None, source: Path) -> float:
    """The frame rate that the user named. ValueError when it is missing or not positive."""
    if fps_hz is None:
        raise ValueError(f"{source}: this layout tells no frame rate; give it with --fps-hz")
    if not fps_hz > 0:
        raise ValueError(f"--fps-hz must be positive, got {fps_hz:g}")
    return fps_hz


def splits_of(counts: Mapping[str, int]) -> dict[str, str]:
    """Episodes per split, in the order in which they are written -> LeRobot's ranges. Empty splits are left out."""
    ranges, first = {}, 0
    for name, count in counts.items():
        if count:
            ranges[name] = f"{first}:{first + count}"
        first += count
    return ranges


def warn_some(concerned: Sequence[Any], total: int, what: str) -> None:
    """One warning for many things that share a fate; the first is named."""
    if concerned:
        _log.warning(f"{len(concerned)} of {total} {what}, e.g. {concerned[0]}")
