"""The folder is the registry: a room is a package inside controls/, families/ or codecs/."""

import importlib
import pkgutil
from types import ModuleType

from worldtune.contract.errors import suggest

KINDS = ("controls", "families", "codecs", "layouts")


def names(kind: str) -> list[str]:
    """Names of all rooms of a kind, sorted."""
    assert kind in KINDS, kind
    package = importlib.import_module(f"worldtune.{kind}")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def load(kind: str, name: str) -> ModuleType:
    """Import a room by name. ValueError naming the nearest room when there is none."""
    module_name = name.replace("-", "_")
    if module_name not in names(kind):
        raise ValueError(f"no {name!r} in {kind}: {suggest(name, names(kind))}")
    return importlib.import_module(f"worldtune.{kind}.{module_name}")
