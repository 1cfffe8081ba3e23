"""Next-token cross-entropy with z-loss.

Shape legend: B batch, V views, T latent frames, H W latent grid, N cells, S rows that predict a cell, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worldtune.contract.condition import Condition
from worldtune.contract.nouns import Batch
from worldtune.families.autoregressive.layout import Layout
from worldtune.families.autoregressive.network import VideoTransformer
from worldtune.families.autoregressive.scoring import score


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Settings of the training objective. The defaults are those of Cosmos-Predict1's post-training."""

    z_loss: float = 1e-4
    """Weight of the squared log-normaliser, which keeps logits from drifting. The Cosmos paper takes 3e-4."""
    num_observed_min: int = 1
    """Fewest leading latent frames that are given, and so not scored."""
    num_observed_max: int = 1
    """Most leading latent frames that are given. With causal attention more of them only scores fewer tokens."""

    def __post_init__(self) -> None:
        if not 0 <= self.num_observed_min <= self.num_observed_max:
            raise ValueError(
                f"objective: wanted 0 <= num_observed_min <= num_observed_max, got {self.num_observed_min} and "
                f"{self.num_observed_max}"
            )
        if not self.z_loss >= 0:
            raise ValueError(f"objective: z_loss must not be negative, got {self.z_loss}")


def loss(
    model: nn.Module, batch: Batch, condition: Condition, generator: torch.Generator, config: Objective
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean over scored tokens of -log p(token) + z_loss log(Z)^2, in float32 whatever the logits' dtype.

    Tokens of given frames are not scored by either term, nor is the very first token when no begin token predicts it.
    When the batch says how many frames are given (validation), that number is used. Every token sees only earlier ones,
    so unscored tokens serve as context. All randomness comes from the CPU generator, whatever the device.

    Parts: `cross_entropy`, `log_z_squared` and `accuracy` (share of tokens whose most likely id is right).

    Raises ValueError when every frame would be given, or the batch does not hold token ids that the network knows.
    """
    assert isinstance(model, VideoTransformer)
    require_tokens(model, batch.target)
    layout = model.layout(*batch.target.shape[1:])
    given_B = _draw_given(batch, generator, config)
    sequence_BS = with_begin(model, layout.to_sequence(batch.target), layout)
    rows = model.guide(
        layout,
        text_BVLC=condition.text_BVLD,
        frame_BVTC=condition.frame_BVTD,
        dense_BVTHWC=condition.dense_BVTHWC,
    )
    hidden_BSD = model.hidden(sequence_BS[:, :-1], rows)
    scored_BS = _frame_of_target(layout, batch.target.device) >= given_B[:, None]
    scores = score(model.output, hidden_BSD[scored_BS], sequence_BS[:, 1:][scored_BS], config.z_loss)
    return scores.loss, {name: vars(scores)[name] for name in ("cross_entropy", "log_z_squared", "accuracy")}


def require_tokens(model: VideoTransformer, target_BVTHW: Tensor) -> None:
    """ValueError unless these are ids of the network's vocabulary."""
    if target_BVTHW.is_floating_point() or target_BVTHW.ndim != 5:
        raise ValueError(
            f"the autoregressive family models token ids [B,V,T,H,W], got {target_BVTHW.dtype} "
            f"{list(target_BVTHW.shape)}: take a base with a discrete codec"
        )
    low, high = int(target_BVTHW.min()), int(target_BVTHW.max())
    if low < 0 or high >= model.config.vocab_size:
        raise ValueError(f"token ids must lie in 0..{model.config.vocab_size - 1}, got {low}..{high}")


def with_begin(model: VideoTransformer, cells_BN: Tensor, layout: Layout) -> Tensor:
    """[B, N + begin]: the begin token before the cells, if the network has one."""
    begin_BK = cells_BN.new_full((len(cells_BN), layout.num_begin), model.config.vocab_size)
    return torch.cat([begin_BK, cells_BN], dim=1)


def _frame_of_target(layout: Layout, device: torch.device) -> Tensor:
    """Latent frame of the cell that each row predicts, [S]."""
    return layout.frame_of_cell(device)[1 - layout.num_begin :]


def _draw_given(batch: Batch, generator: torch.Generator, config: Objective) -> Tensor:
    """Latent frames that are given, [B] on the batch's device. The draw is made in any case."""
    drawn_B = torch.randint(config.num_observed_min, config.num_observed_max + 1, (batch.size,), generator=generator)
    given_B, most = drawn_B, config.num_observed_max
    if batch.num_observed_B is not None:
        given_B, most = batch.num_observed_B, int(batch.num_observed_B.max())
    if most >= batch.target.shape[2]:
        raise ValueError(
            f"up to {most} latent frames are given, but clips have {batch.target.shape[2]}: lower num_observed_max, "
            "or take longer clips"
        )
    return given_B.to(batch.target.device)
