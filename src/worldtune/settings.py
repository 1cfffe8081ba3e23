"""Frozen dataclasses as settings: to JSON, back, and `--set a.b=c` with the type checked and a hint on a typo."""

import dataclasses
import json
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from worldtune.contract.errors import suggest

T = TypeVar("T")


def to_json(config: Any) -> dict[str, Any]:
    """A dataclass as plain JSON values."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def from_json(kind: type[T], value: dict[str, Any], where: str) -> T:
    """Build a dataclass from JSON values. ValueError naming the key that is unknown or of a wrong type."""
    hints = get_type_hints(kind)
    unknown = [key for key in value if key not in hints]
    if unknown:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}: {suggest(unknown[0], hints)}")
    return kind(**{key: _typed(hints[key], item, f"{where}.{key}") for key, item in value.items()})


def replace(config: T, assignment: str, where: str = "") -> T:
    """`config` with one field set from "a.b=c". ValueError on an unknown key, a wrong type or a forbidden value."""
    path, separator, text = assignment.partition("=")
    if not separator:
        raise ValueError(f"--set {assignment}: wanted key=value, e.g. --set optim.lr=1e-4")
    return _replaced(config, path.strip().split("."), text.strip(), f"--set {path.strip()}")


def _replaced(config: T, path: list[str], text: str, where: str) -> T:
    head, *rest = path
    if isinstance(config, dict):
        if head not in config:
            raise ValueError(f"{where}: unknown key {head!r}: {suggest(head, config)}")
        return {**config, head: _replaced(config[head], rest, text, where)}  # type: ignore[return-value]
    if not dataclasses.is_dataclass(config):
        raise ValueError(f"{where}: {head!r} has no fields to set")
    hints = get_type_hints(type(config))
    if head not in hints:
        raise ValueError(f"{where}: unknown key {head!r}: {suggest(head, hints)}")
    old = getattr(config, head)
    if rest:
        value = _replaced(old, rest, text, where)
    elif dataclasses.is_dataclass(old) or isinstance(old, dict):
        raise ValueError(f"{where}: is a group, set one of its keys: {', '.join(_keys(old))}")
    else:
        value = _typed(hints[head], _parsed(text), where)
    return dataclasses.replace(config, **{head: value})  # type: ignore[type-var]


def _keys(group: Any) -> list[str]:
    return list(group) if isinstance(group, dict) else [field.name for field in dataclasses.fields(group)]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _typed(hint: Any, value: Any, where: str) -> Any:
    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise ValueError(f"{where}: got {value!r}: {reason}") from None
