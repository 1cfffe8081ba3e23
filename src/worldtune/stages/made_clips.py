"""Made clips on disk: what `generate` writes and `evaluate` judges. Knows no model, so anybody's clips can be judged.

    OUT/generate.json                  how the clips were made, what each column means, and the list of clips
    OUT/training.jsonl                 metrics of the run that made them, when there is one
    OUT/clips/<clip id>/<column>.npz   "pixels" uint8 [V,T,H,W,3], and "latent" float32 [V,t,h,w,C] where there is one
    OUT/clips/<clip id>/<column>.mp4   the same pixels, for people (lossy; never judged)

The column `real` is the truth. To judge clips of another model, add its <column>.npz to every clip and its meaning to
"columns" of generate.json.

Shape legend: V views, T pixel frames, H W rows and columns, C channels; t h w are those of the latent grid.
"""

import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worldtune.contract.files import read_json, write_json, write_whole

REAL = "real"
MEANINGS: dict[str, str] = {
    REAL: "The recorded clip: the truth.",
    "post-trained": "The model after post-training.",
    "base": "The same model before post-training, with the same noise.",
    "shuffled": "The post-trained model with the control of another clip: the worse it does, the more it obeys.",
    "copy": "Floor: the last given frame, repeated.",
    "codec": "Ceiling: the recorded clip through the codec and back; no model that uses this codec can be closer.",
}
"""Columns in the order of every table."""


@dataclass(frozen=True, kw_only=True)
class ClipInfo:
    """What is known of one clip besides its pixels."""

    id: str
    texts: list[str]
    """One per view."""
    views: list[str]
    fps_hz: float
    num_observed_frames: int
    """Leading pixel frames that the model was given."""
    num_observed_latents: int
    """The same in latent frames."""
    episode: str = ""
    """Recording of which the clip is a window; intervals draw whole ones. Empty where a clip is all there is of it."""
    num_given_views: int = 0
    """Leading views that the model was given whole: they show nothing of what it can do."""
    foreign_id: str | None = None
    """Clip whose control the shuffled column was given."""
    foreign_texts: list[str] = field(default_factory=list)
    """Texts of that clip."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """One column of one clip."""

    pixels_VTHWC: NDArray[np.uint8]
    latent_VTHWC: NDArray[np.float32] | None = None
    """Normalised: unit variance per channel."""


@dataclass(frozen=True, kw_only=True)
class MadeSet:
    """A folder of made clips."""

    folder: Path
    settings: dict[str, Any]
    """What decides the pixels. Two folders with equal settings hold equal clips."""
    circumstances: dict[str, Any]
    """What should not decide them: versions, machine, command."""
    columns: dict[str, str]
    """Column -> what it means."""
    skipped: dict[str, str]
    """Column that is not there -> why."""
    clips: list[ClipInfo]

    def path(self, clip_id: str, column: str) -> Path:
        """Where a column of a clip is."""
        return self.folder / "clips" / clip_id / f"{column}.npz"

    def has(self, clip_id: str, column: str) -> bool:
        """Whether it is there already, and whole."""
        return self.path(clip_id, column).exists()

    def add(self, clip_id: str, column: str, made: Made) -> None:
        """Write a column of a clip, whole."""
        arrays: dict[str, Any] = {"pixels": made.pixels_VTHWC}
        if made.latent_VTHWC is not None:
            arrays["latent"] = made.latent_VTHWC
        with write_whole(self.path(clip_id, column)) as temporary:
            np.savez_compressed(temporary, **arrays)

    def read(self, clip_id: str, column: str) -> Made:
        """ValueError naming the file when it is absent, corrupt or of a wrong type."""
        path = self.path(clip_id, column)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                made = Made(
                    pixels_VTHWC=arrays["pixels"],
                    latent_VTHWC=arrays.get("latent"),
                )
        except FileNotFoundError:
            raise ValueError(f"{path}: missing; run the same `worldtune generate` again to finish") from None
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path}: not a made clip, or corrupt ({error}); delete it and generate again") from None
        if made.pixels_VTHWC.dtype != np.uint8 or made.pixels_VTHWC.ndim != 5:
            got = f"{made.pixels_VTHWC.dtype} {made.pixels_VTHWC.shape}"
            raise ValueError(f"{path}: pixels must be uint8 [V,T,H,W,3], got {got}")
        return made

    def save(self) -> None:
        """Write generate.json, keeping other people's columns. ValueError when its clips were made otherwise."""
        path, foreign = self.folder / "generate.json", {}
        if path.exists():
            kept = MadeSet.open(self.folder)
            before, now = kept.settings, self.settings
            if changed := sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name)):
                raise ValueError(
                    f"{self.folder}: holds clips made with another {', '.join(changed)}; choose another folder"
                )
            foreign = {name: meaning for name, meaning in kept.columns.items() if name not in MEANINGS}
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise ValueError(f"{self.folder}: not empty and not made by `worldtune generate`; choose another folder")
        value = asdict(self)
        value["columns"] |= foreign
        del value["folder"]
        write_json(path, value)

    @staticmethod
    def open(folder: Path) -> "MadeSet":
        """ValueError when the folder holds no made clips."""
        path = folder / "generate.json"
        if not path.exists():
            raise ValueError(f"{folder}: no made clips (no generate.json); make them with `worldtune generate`")
        value = read_json(path)
        try:
            clips = [ClipInfo(**clip) for clip in value.pop("clips")]
            return MadeSet(folder=folder, clips=clips, **value)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: not a description of made clips ({error})") from None
