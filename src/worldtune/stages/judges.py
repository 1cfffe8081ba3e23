"""Who judges made clips beyond their pixels: probes and geometry, for every control of the run that they can judge."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from worldtune.contract.nouns import Measure
from worldtune.stages.geometry import geometry_judges
from worldtune.stages.made_clips import ClipInfo, MadeSet
from worldtune.stages.probes import readers, room_of
from worldtune.stages.source import Source
from worldtune.tasks import TASKS

GEOMETRIC = ("views", "camera")
"""Controls that geometry judges."""


class Judge(Protocol):
    """Compares a made clip with what a control commanded."""

    @property
    def control(self) -> str:
        """The control that it judges."""
        ...

    @property
    def measures(self) -> Mapping[str, Measure]:
        """What `errors` returns."""
        ...

    @property
    def is_commanded(self) -> bool:
        """Whether what was commanded plays a part, so that a foreign command is another question."""
        ...

    def errors(
        self, made_VTHWC: NDArray[np.uint8], real_VTHWC: NDArray[np.uint8], clip: ClipInfo, commanded_by: str
    ) -> dict[str, float | None]:
        """A made clip, beside the true one, against the control of the clip `commanded_by`; None is undefined."""
        ...

    def to_json(self) -> dict[str, Any]:
        """What the report says of it: at least "measures"."""
        ...


def judges(sets: Sequence[MadeSet], console: Console) -> tuple[list[Judge], dict[str, str]]:
    """All judges of these clips; and for controls that nobody can judge, why."""
    made = sets[0]
    judged = [name for name in made.settings.get("controls", ()) if name in GEOMETRIC or room_of(name) is not None]
    skipped = {}
    if "text" in judged and not _text_decides(made):
        judged.remove("text")
        skipped["text"] = (
            "captions say what the given frames show anyway; make clips with `worldtune generate --num-observed 0`"
        )
    if not judged:
        return [], skipped
    try:
        source = Source.open(made)
    except ValueError as error:
        return [], skipped | dict.fromkeys(judged, str(error))
    read, unread = readers(judged, source, made.clips, console)
    seen, unseen = geometry_judges(judged, source, made.clips, console)
    return [*seen, *read], skipped | unread | unseen


def _text_decides(made: MadeSet) -> bool:
    """Whether a clip can disobey its text: an instruction, or a caption when no frame shows what it says."""
    task = TASKS.get(made.settings.get("task", ""))
    return made.settings.get("num_observed") == 0 or (task is not None and task.instructs)
