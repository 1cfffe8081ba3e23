"""Cross-view consistency: one probe per camera, each sees its own view only, and all are asked the same question.

Views that show one moment give one answer. A probe that sees all views at once could read a single one and would never
notice that the others disagree.

Shape legend: N clips, V views, T frames (pixel or latent, as said), H W rows and columns, C = 3 V colours, D numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from worldtune.metrics.probe import Probe, Schooling, load_probe, save_probe, train_probe


@dataclass(frozen=True, kw_only=True)
class ViewProbes:
    """A probe per view, and how each was trained."""

    views: list[tuple[Probe, Schooling]]

    @property
    def schooling(self) -> Schooling:
        """Of all views: visits add up, `explained` is the mean, `explained_D` is view after view."""
        parts = [schooling for _, schooling in self.views]
        return Schooling(
            num_clips=parts[0].num_clips,
            num_held_out=parts[0].num_held_out,
            visits=sum(part.visits for part in parts),
            explained=float(np.mean([part.explained for part in parts])),
            explained_D=[value for part in parts for value in part.explained_D],
        )

    def read(self, video_VTHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """A clip -> what every view shows on its own, views one after another, [t, V D]; row 0 is zero."""
        if len(video_VTHWC) != len(self.views):
            raise ValueError(f"there are probes for {len(self.views)} views, the clip has {len(video_VTHWC)}")
        pairs = zip(self.views, video_VTHWC, strict=True)
        return np.concatenate([probe.read(view_THWC[None]) for (probe, _), view_THWC in pairs], axis=1)

    def save(self, key: str, folder: Path) -> None:
        """Write a folder for each view; `key` says what they were trained on."""
        for number, (probe, schooling) in enumerate(self.views):
            save_probe(probe, schooling, key, folder / f"view-{number}")


def load_view_probes(folder: Path, key: str, num_views: int) -> ViewProbes | None:
    """What `ViewProbes.save` wrote; None unless all are there and were trained on the same."""
    found = [load_probe(folder / f"view-{number}", key) for number in range(num_views)]
    views = [pair for pair in found if pair is not None]
    return ViewProbes(views=views) if len(views) == num_views else None


def train_view_probes(
    pictures_NTCHW: Tensor,
    targets_NTD: NDArray[np.float32],
    groups_N: Sequence[int],
    seed: int = 0,
    progress: Callable[[int], None] = lambda visits: None,
) -> ViewProbes:
    """`probe.train_probe` for every view on its own; the targets of all views are side by side, [N,T,V D].

    `progress` is told the visits so far, of all views together.
    """
    num_views = pictures_NTCHW.shape[2] // 3
    numbers, rest = divmod(targets_NTD.shape[-1], num_views)
    assert not rest, "pictures and targets are of another number of views"
    views: list[tuple[Probe, Schooling]] = []
    seen = 0
    for number in range(num_views):
        heard = [0]

        def report(visits: int, before: int = seen, heard: list[int] = heard) -> None:
            heard.append(visits)
            progress(before + visits)

        pictures_NT3HW = pictures_NTCHW[:, :, 3 * number : 3 * number + 3]
        wanted_NTD = np.ascontiguousarray(targets_NTD[..., numbers * number : numbers * (number + 1)])
        views.append(train_probe(pictures_NT3HW, wanted_NTD, groups_N, seed, report))
        seen += heard[-1]
    return ViewProbes(views=views)
