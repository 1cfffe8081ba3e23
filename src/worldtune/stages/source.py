"""Where made clips come from: their cache and its dataset, for judges that need more than the clips themselves."""

import math
from dataclasses import dataclass
from pathlib import Path

from worldtune.contract.cache import Cache
from worldtune.contract.files import file_hash
from worldtune.contract.nouns import Clip
from worldtune.dataset import Dataset, Window
from worldtune.stages.made_clips import MadeSet


@dataclass(frozen=True, kw_only=True)
class Source:
    """A cache and its dataset."""

    cache: Cache
    dataset: Dataset

    @staticmethod
    def open(made: MadeSet) -> "Source":
        """ValueError when either is not there or has changed."""
        cache = _cache_of(made)
        return Source(cache=cache, dataset=Dataset.of_cache(cache))

    def training(self, most: int) -> list[int]:
        """Places of at most so many training clips, spread evenly over the split."""
        every = self.cache.indices("train")
        return every[:: max(1, math.ceil(len(every) / most))]

    def places(self) -> dict[str, int]:
        """Clip id -> place in the cache."""
        return {clip_id: index for index, clip_id in enumerate(self.cache.ids)}

    def clip(self, index: int) -> Clip:
        """The true clip, read from the dataset."""
        info = self.cache.info(index)
        return self.dataset.read_clip(info["episode"], info["start"], Window(**self.cache.header.window))


def _cache_of(made: MadeSet) -> Cache:
    """The cache of generate.json, or the one that the run was trained on when it is the same."""
    known = [made.circumstances.get("data"), made.circumstances.get("run", {}).get("data")]
    folders = [Path(folder) for folder in dict.fromkeys(known) if folder]
    for folder in folders:
        index = folder / "index.json"
        if index.exists() and file_hash(index) == made.settings.get("clips_hash"):
            return Cache.open(folder)
    names = ", ".join(map(str, folders)) or "none is named in generate.json"
    raise ValueError(f"the cache that the clips were made from is not there ({names})")
