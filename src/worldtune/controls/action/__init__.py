"""Action: what a robot does between one frame and the next, as the vectors it recorded.

Shape legend: B batch, V views, T latent frames, R actions of one latent frame, D numbers of one action.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from worldtune.contract.condition import Condition, Widths
from worldtune.contract.nouns import Clip, Field, Grid
from worldtune.controls.action.reach import POSE, reached

ACTION, STATE = "action", "observation.state"
FIELDS: dict[str, Field] = {
    ACTION: Field(shape=("D",), unit="the robot's own"),
    STATE: Field(shape=("S",), unit="the robot's own", optional=True),
}
"""Row t of the actions is what leads from frame t to frame t+1. Of the states only that of the first frame is read."""
GRIPPER_NUMBERS = 7
"""Length of actions and least length of states that `reach` understands."""

SMALLEST_STD = 1e-6
"""A number that varies less than this, relative to its size, is constant: its noise is not blown up."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the action control."""

    dropout: float = 0.1
    """Share of training samples that are not told the actions, so that guidance is defined. 0..1."""
    reach: bool = False
    """Tell also how far the gripper has come since the first frame, in the robot's axes. For actions of seven numbers
    in the gripper's own frame beside an `observation.state` that begins with its pose, as Bridge and our tabletop have
    them: where a hand goes in the picture depends on how it is turned, which is hard to see."""
    normalise: bool = True
    """Give every number mean 0 and variance 1 over the training clips. False passes actions as they are."""
    limit: float = 10.0
    """Normalised numbers are cut to -limit..limit, so that one never seen in training cannot drown the others."""

    def __post_init__(self) -> None:
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"control.action.dropout must be in 0..1, got {self.dropout}")
        if not self.limit > 0:
            raise ValueError(f"control.action.limit must be positive, got {self.limit}")


def align(clip: Clip, grid: Grid) -> dict[str, np.ndarray]:
    """Every action at the latent frame that it leads to. No setting changes them.

    "frames" float32 [T,R,D], raw: latent frame k >= 1 shows pixel frames (k-1)R+1 .. kR and gets the actions
    (k-1)R .. kR-1; latent frame 0 has none and holds zeros. The action at the last pixel frame leads out of the clip
    and is not used. ValueError naming the clip when there are no actions, not one per frame, or not finite.
    """
    if ACTION not in clip.features:
        raise ValueError(f"clip {clip.id}: the control 'action' needs the feature {ACTION!r}")
    actions_TD = np.asarray(clip.features[ACTION], np.float32)
    if actions_TD.ndim != 2 or len(actions_TD) != grid.num_pixel_frames:
        raise ValueError(
            f"clip {clip.id}: {ACTION} must be one vector for each of {grid.num_pixel_frames} frames, "
            f"got the shape {list(actions_TD.shape)}"
        )
    r = grid.frames_per_latent
    used_TD = actions_TD[: (grid.frames - 1) * r]
    if not np.isfinite(used_TD).all():
        raise ValueError(f"clip {clip.id}: {ACTION} at frame {np.argwhere(~np.isfinite(used_TD))[0, 0]} is not finite")
    frames_TRD = np.zeros((grid.frames, r, actions_TD.shape[1]), np.float32)
    frames_TRD[1:] = used_TD.reshape(grid.frames - 1, r, -1)
    aligned = {"frames": frames_TRD}
    state_TS = np.asarray(clip.features.get(STATE, np.zeros((1, 0))))
    if used_TD.shape[1] == GRIPPER_NUMBERS and state_TS.ndim == 2 and state_TS.shape[1] >= GRIPPER_NUMBERS:
        if not np.isfinite(state_TS[0]).all():
            raise ValueError(f"clip {clip.id}: {STATE} at frame 0 is not finite")
        aligned["reached"] = np.zeros((grid.frames, r, POSE), np.float32)
        aligned["reached"][1:] = reached(state_TS[0], used_TD).reshape(grid.frames - 1, r, -1)
    return aligned


def encoder(example: dict[str, Tensor], config: Config) -> nn.Module:
    """Normalisation only: the family's injection is the part that learns, and it starts at zero."""
    actions_per_latent, numbers = told(example, config).shape[-2:]
    return ActionFrames(actions_per_latent=actions_per_latent, numbers=numbers, config=config)


def told(arrays: dict[str, Tensor], config: Config) -> Tensor:
    """The numbers of every action that the model is given, [...,T,R,D]. ValueError when there is no reach to tell."""
    if not config.reach:
        return arrays["frames"]
    if "reached" not in arrays:
        raise ValueError(
            f"control.action.reach wants actions of {GRIPPER_NUMBERS} numbers and the feature {STATE!r} of as many; "
            "the clips of this cache have other ones, or it was prepared before there was reach: prepare it again"
        )
    return torch.cat([arrays["frames"], arrays["reached"]], -1)


class ActionFrames(nn.Module):
    """Raw actions -> one vector per latent frame. Its buffers come from `fit` and are saved with the weights."""

    mean_D: Tensor
    std_D: Tensor

    def __init__(self, *, actions_per_latent: int, numbers: int, config: Config) -> None:
        super().__init__()
        self.config = config
        self.shape = actions_per_latent, numbers
        self.register_buffer("mean_D", torch.zeros(numbers))
        self.register_buffer("std_D", torch.ones(numbers))
        self.widths = Widths(frame=actions_per_latent * numbers + 1)

    def fit(self, clips: Iterable[dict[str, Tensor]]) -> None:
        """Learn mean and standard deviation of every number of an action, over all actions of the training clips.

        A number that never changes keeps its size (standard deviation 1), so that it becomes 0.
        """
        if not self.config.normalise:
            return
        count = 0
        total_D = torch.zeros_like(self.mean_D, dtype=torch.float64)
        squares_D = torch.zeros_like(total_D)
        shift_D: Tensor | None = None
        for arrays in clips:
            actions_ND = told(arrays, self.config)[..., 1:, :, :].reshape(-1, self.shape[1]).double()
            if not len(actions_ND):
                continue
            # Sums of what is left after the first action: squares of large offsets would lose the variance.
            shift_D = actions_ND[0] if shift_D is None else shift_D
            count += len(actions_ND)
            total_D += (actions_ND - shift_D).sum(0)
            squares_D += (actions_ND - shift_D).square().sum(0)
        if shift_D is None:
            return
        mean_D = shift_D + total_D / count
        std_D = (squares_D / count - (total_D / count).square()).clamp(min=0).sqrt()
        is_constant_D = std_D <= SMALLEST_STD * mean_D.abs().clamp(min=1)
        self.mean_D.copy_(mean_D)
        self.std_D.copy_(torch.where(is_constant_D, 1.0, std_D))

    def forward(self, arrays: dict[str, Tensor], keep_B: Tensor) -> Condition:
        """Aligned arrays with a leading batch axis -> Condition with frame [B,1,T,R*D+1], the same for all views.

        The last channel is 1 where there is an action, and 0 at latent frame 0 and in dropped rows, which are zero
        throughout: no action differs from the average one. ValueError when the actions are of another width.
        """
        frames_BTRD = told(arrays, self.config)
        if tuple(frames_BTRD.shape[-2:]) != self.shape:
            got, wanted = list(frames_BTRD.shape[-2:]), list(self.shape)
            raise ValueError(
                f"control 'action': got {got[0]} actions of {got[1]} numbers per latent frame, "
                f"the model takes {wanted[0]} of {wanted[1]}"
            )
        # Half precision would round small motions of a large number away.
        with torch.autocast(frames_BTRD.device.type, enabled=False):
            scaled_BTRD = (frames_BTRD.float() - self.mean_D) / self.std_D
            if self.config.normalise:
                scaled_BTRD = scaled_BTRD.clamp(-self.config.limit, self.config.limit)
            flat_BTC = scaled_BTRD.flatten(-2)
            marked_BTC = torch.cat([flat_BTC, torch.ones_like(flat_BTC[..., :1])], -1)
            has_action_T = torch.arange(marked_BTC.shape[1], device=marked_BTC.device) > 0
            shown_BT = keep_B[:, None] & has_action_T
            return Condition(frame_BVTD=(marked_BTC * shown_BT[..., None])[:, None])
