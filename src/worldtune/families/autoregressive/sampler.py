"""Generation: tokens after the observed frames, of any length.

Shape legend: B batch, V views, T latent frames, H W latent grid, N cells, R = B or 2 B rows of the network, C channels,
L text rows, X vocabulary, Y cells of one latent frame.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worldtune.contract.condition import Condition, Released
from worldtune.contract.nouns import Batch
from worldtune.families.autoregressive.draw import draw
from worldtune.families.autoregressive.generate import fill
from worldtune.families.autoregressive.layout import Layout
from worldtune.families.autoregressive.network import VideoTransformer
from worldtune.families.autoregressive.objective import require_tokens


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Settings of generation. The defaults are those of NVIDIA's Cosmos-1 inference."""

    temperature: float = 1.0
    """Logits are divided by it; 0 takes the likeliest token."""
    top_p: float = 0.8
    """Least likely tokens are dropped down to about this total probability; 1 keeps all."""
    top_k: int = 0
    """Number of likeliest tokens to choose from; 0 is all."""
    guidance: float = 0.0
    """g in logits = cond + g (cond - null). 0 never evaluates the null condition. Needs training with dropout."""
    context_frames: int = 2
    """Latest latent frames that stay in sight when a clip is longer than the base's sequences."""
    sink_frames: int = 0
    """First latent frames that stay in sight then, before the latest ones."""

    def __post_init__(self) -> None:
        for name in ("temperature", "top_k", "guidance", "sink_frames"):
            if not vars(self)[name] >= 0:
                raise ValueError(f"sampler: {name} must not be negative, got {vars(self)[name]}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"sampler: top_p must lie above 0 and not above 1, got {self.top_p}")
        if self.context_frames < 1:
            raise ValueError(f"sampler: context_frames must be at least 1, got {self.context_frames}")


@dataclass(frozen=True, kw_only=True)
class Window:
    """Latent frames that the network sees at once."""

    frames: tuple[int, ...]
    """Their numbers in the clip, rising."""
    num_known: int
    """How many of them were made by earlier windows."""


def windows(frames: int, most: int, config: Sampler) -> Iterator[Window]:
    """Cut a clip into windows of at most `most` frames, every one showing the latest frames of the one before.

    ValueError when a window would hold nothing new.
    """
    yield Window(frames=tuple(range(min(frames, most))), num_known=0)
    kept = config.sink_frames + config.context_frames
    if frames > most and kept >= most:
        raise ValueError(
            f"sampler: sink_frames and context_frames must together be below {most}, the frames of the base, got {kept}"
        )
    done = most
    while done < frames:
        stop = min(done + most - kept, frames)
        seen = (*range(config.sink_frames), *range(done - config.context_frames, stop))
        yield Window(frames=seen, num_known=kept)
        done = stop


@torch.inference_mode()
def sample(
    model: nn.Module,
    batch: Batch,
    condition: Condition,
    null: Condition,
    generators: Sequence[torch.Generator],
    config: Sampler,
) -> Tensor:
    """Tokens like batch.target whose given frames (`Batch.given_BVT`) are the batch's.

    Other frames of batch.target are not looked at. A given view is seen up to the frame being made. Clips may have more
    latent frames than the base was trained on: the window then slides over the tokens, positions starting anew in each.
    `null` is used with guidance only. Raises ValueError for a grid larger than the base's, and when nothing is given to
    a base without a begin token.
    """
    assert isinstance(model, VideoTransformer)
    assert len(generators) == batch.size, f"{len(generators)} generators for {batch.size} rows"
    require_tokens(model, batch.target)
    _, views, frames, height, width = batch.target.shape
    layout = Layout(views=views, frames=frames, height=height, width=width, num_begin=model.config.num_begin)
    uniform_BTY = _uniform_by_row(layout, generators, batch.target.device)
    cells_BTY = layout.to_sequence(batch.target).unflatten(1, (frames, -1)).clone()
    given_BTY = _given_cells(batch)
    condition, null = (part.on_grid(views, frames, height, width) for part in (condition, null))
    guided = _stacked(condition, null) if config.guidance > 0 else condition
    for window in windows(frames, model.config.max_frames, config):
        new = list(window.frames[window.num_known :])
        made_BTY = _fill_window(model, window, layout, cells_BTY, given_BTY, uniform_BTY, guided, config)
        cells_BTY[:, new] = made_BTY[:, window.num_known :]
    return layout.to_grid(cells_BTY.flatten(1))


def _fill_window(
    model: VideoTransformer,
    window: Window,
    clip: Layout,
    cells_BTY: Tensor,
    given_BTY: Tensor,
    uniform_BTY: Tensor,
    condition: Condition,
    config: Sampler,
) -> Tensor:
    """The cells of a window's frames, [B, T of the window, Y]."""
    index_T = torch.tensor(window.frames, device=cells_BTY.device)
    layout = model.layout(clip.views, len(window.frames), clip.height, clip.width)
    cells_BN, uniform_BN = cells_BTY[:, index_T].flatten(1), uniform_BTY[:, index_T].flatten(1)
    given_BN = given_BTY[:, index_T].flatten(1)
    rows = model.guide(
        layout,
        text_BVLC=condition.text_BVLD,
        frame_BVTC=None if condition.frame_BVTD is None else condition.frame_BVTD[:, :, index_T],
        dense_BVTHWC=None if condition.dense_BVTHWC is None else condition.dense_BVTHWC[:, :, index_T],
        camera_BV=condition.released.camera_BV,
    )

    def choose(logits_RX: Tensor, cell: int) -> Tensor:
        drawn_B = draw(
            guide_logits(logits_RX, config.guidance),
            uniform_BN[:, cell],
            temperature=config.temperature,
            top_p=config.top_p,
            top_k=config.top_k,
        )
        return torch.where(given_BN[:, cell], cells_BN[:, cell], drawn_B)

    num_given = int(given_BN.all(0).long().cumprod(0).sum())
    num_known = max(window.num_known * layout.cells_per_frame, num_given)
    copies = 2 if config.guidance > 0 else 1
    filled_BN = fill(model, layout, rows, cells_BN, num_known, copies, choose)
    return filled_BN.unflatten(1, (layout.frames, -1))


def _given_cells(batch: Batch) -> Tensor:
    """bool [B, T, Y]."""
    given_BVT = batch.given_BVT()
    if given_BVT is None:
        given_BVT = torch.zeros(batch.target.shape[:3], dtype=torch.bool, device=batch.target.device)
    cells_per_view = batch.target.shape[3] * batch.target.shape[4]
    return given_BVT.transpose(1, 2).repeat_interleave(cells_per_view, dim=2)


def guide_logits(logits_RX: Tensor, guidance: float) -> Tensor:
    """cond + g (cond - null) in float32, [B, X]; without guidance there is only cond."""
    if guidance == 0:
        return logits_RX.float()
    cond_BX, null_BX = logits_RX.float().chunk(2)
    return cond_BX + guidance * (cond_BX - null_BX)


def _uniform_by_row(layout: Layout, generators: Sequence[torch.Generator], device: torch.device) -> Tensor:
    """One number per cell, drawn on the CPU, each row from its own generator: a clip does not depend on its batch."""
    shape = (layout.frames, layout.cells_per_frame)
    return torch.stack([torch.rand(shape, generator=generator) for generator in generators]).to(device)


def _stacked(condition: Condition, null: Condition) -> Condition:
    """Both along the batch axis."""

    def cat(name: str, first: Tensor | None, second: Tensor | None) -> Tensor | None:
        assert (first is None) == (second is None), f"condition and null disagree about {name}"
        return None if first is None or second is None else torch.cat([first, second])

    return Condition(
        text_BVLD=cat("text", condition.text_BVLD, null.text_BVLD),
        frame_BVTD=cat("frame", condition.frame_BVTD, null.frame_BVTD),
        dense_BVTHWC=cat("dense", condition.dense_BVTHWC, null.dense_BVTHWC),
        released=Released(camera_BV=cat("camera", condition.released.camera_BV, null.released.camera_BV)),
    )
