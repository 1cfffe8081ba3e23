"""Next-token cross-entropy with z-loss.

Shape legend: B batch, V views, T latent frames, H W latent grid, N cells, S rows that predict a cell, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worldtune.contract.condition import Condition
from worldtune.contract.nouns import Batch, leading
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
    token_noise: float = 0.0
    """Of every clip a share between 0 and this of the tokens that are not given are shown as random ones in training,
    0..1. Right tokens beside the one to predict tell most of what a control says, and in generation they are the
    model's own: with noise it has to listen, and learns to go on from its mistakes."""

    def __post_init__(self) -> None:
        if not 0 <= self.num_observed_min <= self.num_observed_max:
            raise ValueError(
                f"objective: wanted 0 <= num_observed_min <= num_observed_max, got {self.num_observed_min} and "
                f"{self.num_observed_max}"
            )
        if not self.z_loss >= 0:
            raise ValueError(f"objective: z_loss must not be negative, got {self.z_loss}")
        if not 0 <= self.token_noise <= 1:
            raise ValueError(f"objective: token_noise must lie in 0..1, got {self.token_noise}")


def loss(
    model: nn.Module, batch: Batch, condition: Condition, generator: torch.Generator, config: Objective
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean over scored tokens of -log p(token) + z_loss log(Z)^2, in float32 whatever the logits' dtype.

    Tokens of given frames are not scored by either term, nor is the very first token when no begin token predicts it.
    When the batch says which frames are given (validation), those are. Every token sees only earlier ones,
    so unscored tokens serve as context. All randomness comes from the CPU generator, whatever the device.

    Parts: `cross_entropy`, `log_z_squared` and `accuracy` (share of tokens whose most likely id is right).

    Raises ValueError when every frame would be given, or the batch does not hold token ids that the network knows.
    """
    assert isinstance(model, VideoTransformer)
    require_tokens(model, batch.target)
    layout = model.layout(*batch.target.shape[1:])
    condition = condition.on_grid(*batch.target.shape[1:])
    given_BVT = _draw_given(batch, generator, config)
    sequence_BS = with_begin(model, layout.to_sequence(batch.target), layout)
    seen_BS = sequence_BS
    if config.token_noise > 0 and model.training:
        noisy_BVTHW = _with_noise(batch.target, given_BVT, model.config.vocab_size, generator, config.token_noise)
        seen_BS = with_begin(model, layout.to_sequence(noisy_BVTHW), layout)
    rows = model.guide(
        layout,
        text_BVLC=condition.text_BVLD,
        frame_BVTC=condition.frame_BVTD,
        dense_BVTHWC=condition.dense_BVTHWC,
        camera_BV=condition.released.camera_BV,
    )
    hidden_BSD = model.hidden(seen_BS[:, :-1], rows)
    scored_BS = _scored_rows(layout, given_BVT)
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


def _scored_rows(layout: Layout, given_BVT: Tensor) -> Tensor:
    """bool [B, S]: True where a row predicts a cell that is not given."""
    cells_BVTHW = given_BVT[..., None, None].expand(-1, -1, -1, layout.height, layout.width)
    return ~layout.to_sequence(cells_BVTHW)[:, 1 - layout.num_begin :]


def _with_noise(
    target_BVTHW: Tensor, given_BVT: Tensor, vocab_size: int, generator: torch.Generator, most: float
) -> Tensor:
    """Tokens of which, in each clip, a share drawn from 0..most is random; given frames stay as they are."""
    shape, device = target_BVTHW.shape, target_BVTHW.device
    share_B1111 = most * torch.rand(len(target_BVTHW), 1, 1, 1, 1, generator=generator)
    is_noise = (torch.rand(shape, generator=generator) < share_B1111).to(device) & ~given_BVT[..., None, None]
    random_BVTHW = torch.randint(vocab_size, shape, generator=generator).to(device)
    return torch.where(is_noise, random_BVTHW, target_BVTHW)


def _draw_given(batch: Batch, generator: torch.Generator, config: Objective) -> Tensor:
    """Latent frames that are given, bool [B,V,T] on the batch's device. The draw is made in any case."""
    drawn_B = torch.randint(config.num_observed_min, config.num_observed_max + 1, (batch.size,), generator=generator)
    given_BVT, most = batch.given_BVT(), config.num_observed_max
    if given_BVT is None:
        given_BVT = leading(drawn_B, batch.target)
    else:
        most = int(given_BVT.sum(2).amin(1).max())
    if most >= batch.target.shape[2]:
        raise ValueError(
            f"up to {most} latent frames are given, but clips have {batch.target.shape[2]}: lower num_observed_max, "
            "or take longer clips"
        )
    return given_BVT
