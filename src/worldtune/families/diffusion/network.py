"""GeneralDIT, the network of the Cosmos-1 diffusion models, for training and generation (facts: Cosmos GeneralDIT).

Several cameras are laid one after another along time; positions restart in each view and each view reads its own text.

Shape legend: B batch, V views, T latent frames of one view, F = V T, G = 1 or F (one noise level per sample, or per
frame), H W latent grid, S tokens of one frame, C channels, L text rows, D width.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldtune.contract.condition import Widths
from worldtune.families.diffusion.blocks import NORM_EPS, Block, Modulation, modulate
from worldtune.families.diffusion.config import NetworkConfig
from worldtune.families.diffusion.inject import DenseInjection, FrameInjection
from worldtune.families.diffusion.positions import LearnablePositions, rotary_tables, sincos_positions
from worldtune.families.diffusion.tokens import TokenChannels
from worldtune.families.diffusion.views import TrajectoryChannels, ViewChannels
from worldtune.networks.rms_norm import RMSNorm


def sinusoid(c_noise: Tensor, width: int) -> Tensor:
    """Sinusoidal embedding of the noise level, cosines then sines, float32 [..., width]."""
    half = width // 2
    rate = torch.exp(-math.log(10000.0) / half * torch.arange(half, device=c_noise.device, dtype=torch.float32))
    angles = c_noise.float()[..., None] * rate
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def patchify(x_BVTHWC: Tensor, patch: int) -> Tensor:
    """[B, F, S, C patch patch]: channel slowest, then row, then column of the patch."""
    batch, views, frames, height, width, channels = x_BVTHWC.shape
    split = x_BVTHWC.reshape(batch, views * frames, height // patch, patch, width // patch, patch, channels)
    return split.permute(0, 1, 2, 4, 6, 3, 5).flatten(4).flatten(2, 3)


def unpatchify(x_BFSK: Tensor, patch: int, shape: torch.Size) -> Tensor:
    """Back to [B, V, T, H, W, C] of the sizes in `shape`, from row, column, channel (fastest): not patchify's order."""
    batch, views, frames, height, width = shape[:5]
    split = x_BFSK.unflatten(3, (patch, patch, -1)).unflatten(2, (height // patch, width // patch))
    return split.transpose(3, 4).reshape(batch, views, frames, height, width, -1)


def check_given(name: str, tensor: Tensor | None, shape: Sequence[int] | None) -> None:
    """ValueError unless the input is there exactly when the network was built for it (has a shape), in that shape."""
    if shape is None and tensor is not None:
        raise ValueError(f"the network was not built for a {name}")
    if shape is not None and tensor is None:
        raise ValueError(f"the network was built for a {name} and got none")
    if shape is not None and tensor is not None and tensor.shape != tuple(shape):
        raise ValueError(f"the {name} must be {list(shape)}, got {list(tensor.shape)}")


def padding_plane(x_BVTHWC: Tensor, padding_mask_BHW: Tensor | None) -> Tensor:
    """The padding mask on the latent grid (nearest), [B, V, T, H, W, 1]; zero when there is none."""
    if padding_mask_BHW is None:
        return x_BVTHWC.new_zeros(*x_BVTHWC.shape[:5], 1)
    size = (x_BVTHWC.shape[3], x_BVTHWC.shape[4])
    mask_B1HW = F.interpolate(padding_mask_BHW[:, None].to(x_BVTHWC.dtype), size=size, mode="nearest")
    return mask_B1HW[:, :, None, ..., None].expand(*x_BVTHWC.shape[:5], 1)


class TimestepEmbedding(nn.Module):
    """From the sinusoid to the shared AdaLN-LoRA vector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, width, bias=False)
        self.down = nn.Linear(width, 3 * width, bias=False)

    def reset_parameters(self) -> None:
        """Normal, std 0.02."""
        nn.init.normal_(self.up.weight, std=0.02)
        nn.init.normal_(self.down.weight, std=0.02)

    def forward(self, sinusoid_BGD: Tensor) -> Tensor:
        """[B, G, 3D]."""
        return self.down(F.silu(self.up(sinusoid_BGD)))


class FinalLayer(nn.Module):
    """Modulated norm and projection to patches."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.modulation = Modulation(config, 2)
        self.proj = nn.Linear(config.width, config.patch_spatial**2 * config.latent_channels, bias=False)

    def forward(self, x_BFSD: Tensor, embedding_BGD: Tensor, lora_BGK: Tensor) -> Tensor:
        """[B, F, S, patch patch C]; only the first 2D of the AdaLN-LoRA vector are used."""
        shift, scale = self.modulation(embedding_BGD, lora_BGK[..., : 2 * x_BFSD.shape[-1]])
        return self.proj(modulate(x_BFSD, shift, scale))


OWN_INITIALISATION = (
    TimestepEmbedding,
    RMSNorm,
    LearnablePositions,
    ViewChannels,
    TrajectoryChannels,
    TokenChannels,
    FrameInjection,
    DenseInjection,
)


class GeneralDIT(nn.Module):
    """The denoising network F(c_in x, c_noise).

    `widths` says which carriers it is built for. Frame and dense inputs start with zero output. Weights may be of
    another dtype than the input only under autocast; activations have the dtype of x.
    """

    def __init__(self, config: NetworkConfig, widths: Widths) -> None:
        super().__init__()
        if widths.text not in (0, config.text_channels):
            raise ValueError(
                f"the network reads text of width {config.text_channels}, the controls bring {widths.text}"
            )
        self.config, self.widths = config, widths
        patch = config.patch_spatial
        self.patch_embed = nn.Linear(config.input_channels * patch**2, config.width, bias=False)
        self.timestep = TimestepEmbedding(config.width)
        self.timestep_norm = RMSNorm(config.width, NORM_EPS)
        self.learnable_positions = LearnablePositions(config) if config.positions == "learnable" else None
        self.view_channels = ViewChannels(config) if config.num_views else None
        self.trajectory_channels = TrajectoryChannels(config) if config.trajectory_numbers else None
        self.token_channels = TokenChannels(config) if config.num_tokens else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_blocks))
        self.final = FinalLayer(config)
        self.frame_injection = FrameInjection(widths.frame, config.width) if widths.frame else None
        self.dense_injection = DenseInjection(widths.dense, patch, config.width) if widths.dense else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise as the released models were: Xavier, small timestep layers, zero AdaLN outputs in the blocks."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
        for module in self.modules():
            if isinstance(module, Block):
                for modulation in (module.self_modulation, module.cross_modulation, module.mlp_modulation):
                    nn.init.zeros_(modulation.up.weight)
        for module in self.modules():
            if isinstance(module, OWN_INITIALISATION):
                module.reset_parameters()

    def forward(
        self,
        x_BVTHWC: Tensor,
        c_noise_BT: Tensor,
        *,
        text_BVLD: Tensor | None,
        fps_hz_B: Tensor | None = None,
        condition_mask_BVTHW: Tensor | None = None,
        padding_mask_BHW: Tensor | None = None,
        frame_BVTD: Tensor | None = None,
        dense_BVTHWC: Tensor | None = None,
        camera_BV: Tensor | None = None,
        frame_repeat_BV: Tensor | None = None,
        trajectory_BK: Tensor | None = None,
        tokens_BVTHW: Tensor | None = None,
    ) -> Tensor:
        """The raw network output, [B, V, T, H, W, C].

        x is already scaled by c_in. c_noise = 0.25 ln(sigma) is [B], or [B, V, T] for a level per latent frame.
        Text rows that are zero are padding; None is the same as zero text. fps may be None for single frames only.
        condition_mask is 1 where a frame is given; padding_mask is 1 where there is no picture, of any size (None: all
        picture). camera is which of the network's views each one is (None: in order). frame_repeat is how often a
        camera's frames were repeated, divided by 10 (None: never). tokens have the latent frames of x on a grid of
        their own height and width. Raises ValueError for an input that the network was not built for, for a missing
        one, and for a grid larger than the configured one.
        """
        self._check_shapes(x_BVTHWC, c_noise_BT, text_BVLD, fps_hz_B, frame_repeat_BV)
        config, grid = self.config, x_BVTHWC.shape[:5]
        check_given("condition mask", condition_mask_BVTHW, grid if config.condition_mask else None)
        check_given("frame carrier", frame_BVTD, (*grid[:3], self.widths.frame) if self.widths.frame else None)
        check_given("dense carrier", dense_BVTHWC, (*grid, self.widths.dense) if self.widths.dense else None)
        trajectory = (grid[0], config.trajectory_numbers) if config.trajectory_numbers else None
        check_given("trajectory", trajectory_BK, trajectory)
        sides = grid[3:] if tokens_BVTHW is None else tokens_BVTHW.shape[-2:]
        check_given("token grid", tokens_BVTHW, (*grid[:3], *sides) if config.num_tokens else None)
        who = None if self.view_channels is None else self.view_channels(x_BVTHWC, camera_BV, frame_repeat_BV)
        x_BFSD = self._embed(
            x_BVTHWC, condition_mask_BVTHW, padding_mask_BHW, who, trajectory_BK, tokens_BVTHW, dense_BVTHWC
        )
        embedding_BGD, lora_BGK, token_BF1D = self._embed_noise(c_noise_BT, frame_BVTD, x_BVTHWC.dtype)
        if token_BF1D is not None:
            x_BFSD = x_BFSD + token_BF1D
        rotary, position_BFSD = self._positions(x_BVTHWC, fps_hz_B)
        text_BVLD = None if text_BVLD is None else text_BVLD.to(x_BVTHWC.dtype)
        for block in self.blocks:
            x_BFSD = block(x_BFSD, position_BFSD, embedding_BGD, lora_BGK, text_BVLD, rotary)
        out_BFSK = self.final(x_BFSD, embedding_BGD, lora_BGK)
        return unpatchify(out_BFSK, config.patch_spatial, x_BVTHWC.shape)

    def _check_shapes(
        self,
        x_BVTHWC: Tensor,
        c_noise_BT: Tensor,
        text_BVLD: Tensor | None,
        fps_hz_B: Tensor | None,
        frame_repeat_BV: Tensor | None,
    ) -> None:
        """ValueError for a grid, text or noise level that does not fit."""
        config, (batch, views, frames, height, width, channels) = self.config, x_BVTHWC.shape
        if channels != config.latent_channels:
            raise ValueError(f"the network models {config.latent_channels} latent channels, got {channels}")
        limit = (config.max_frames, config.max_height, config.max_width)
        if any(size > most for size, most in zip((frames, height, width), limit, strict=True)):
            raise ValueError(f"latent grid (T, H, W) {(frames, height, width)} is larger than the network's {limit}")
        if height % config.patch_spatial or width % config.patch_spatial:
            raise ValueError(f"latent grid {height}x{width} does not divide into patches of {config.patch_spatial}")
        if config.num_views and views > config.num_views:
            raise ValueError(f"the network knows {config.num_views} views, got {views}")
        if c_noise_BT.shape not in ((batch,), (batch, views, frames)):
            raise ValueError(
                f"c_noise must be [B] or [B, V, T] for x {tuple(x_BVTHWC.shape)}, got {tuple(c_noise_BT.shape)}"
            )
        if text_BVLD is None and self.widths.text:
            raise ValueError("the network was built for a text carrier and got none")
        if text_BVLD is not None and (*text_BVLD.shape[:2], text_BVLD.shape[-1]) != (
            batch,
            views,
            config.text_channels,
        ):
            raise ValueError(
                f"text must be [{batch}, {views}, L, {config.text_channels}], got {tuple(text_BVLD.shape)}"
            )
        if fps_hz_B is None and frames > 1:
            raise ValueError(f"fps is needed for {frames} frames; only a single frame may come without")
        if frame_repeat_BV is not None and not config.frame_repeat:
            raise ValueError("the network was not built for frame_repeat")

    def _embed(
        self,
        x_BVTHWC: Tensor,
        condition_mask_BVTHW: Tensor | None,
        padding_mask_BHW: Tensor | None,
        view_channels_BVTHWC: Tensor | None,
        trajectory_BK: Tensor | None,
        tokens_BVTHW: Tensor | None,
        dense_BVTHWC: Tensor | None,
    ) -> Tensor:
        """Lay all input channels side by side and embed the patches, [B, F, S, D]."""
        patch, dtype = self.config.patch_spatial, x_BVTHWC.dtype
        planes = [x_BVTHWC]
        if condition_mask_BVTHW is not None:
            planes.append(condition_mask_BVTHW[..., None].to(dtype))
        if self.token_channels is not None:
            planes.append(self.token_channels(x_BVTHWC, tokens_BVTHW))
        if self.config.padding_mask:
            planes.append(padding_plane(x_BVTHWC, padding_mask_BHW))
        if view_channels_BVTHWC is not None:
            planes.append(view_channels_BVTHWC)
        if self.trajectory_channels is not None:
            planes.append(self.trajectory_channels(x_BVTHWC, trajectory_BK))
        x_BFSD = self.patch_embed(patchify(torch.cat(planes, dim=-1), patch))
        if self.dense_injection is not None and dense_BVTHWC is not None:
            x_BFSD = x_BFSD + self.dense_injection(patchify(dense_BVTHWC.to(dtype), patch))
        return x_BFSD

    def _embed_noise(
        self, c_noise_BT: Tensor, frame_BVTD: Tensor | None, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """What every block shares, the activated embedding [B, G, D] and the AdaLN-LoRA vector [B, G, 3D]; and what
        the frame carrier adds to the tokens [B, F, 1, D]."""
        level_BG = c_noise_BT[:, None] if c_noise_BT.ndim == 1 else c_noise_BT.flatten(1)
        embedding_BGD = sinusoid(level_BG, self.config.width).to(dtype)
        lora_BGK, token_BF1D = self.timestep(embedding_BGD), None
        if self.frame_injection is not None and frame_BVTD is not None:
            embedding_BFD, lora_BFK, token_BF1D = self.frame_injection(frame_BVTD.flatten(1, 2).to(dtype))
            embedding_BGD, lora_BGK = embedding_BGD + embedding_BFD, lora_BGK + lora_BFK
        return F.silu(self.timestep_norm(embedding_BGD)), lora_BGK, token_BF1D

    def _positions(self, x_BVTHWC: Tensor, fps_hz_B: Tensor | None) -> tuple[tuple[Tensor, Tensor], Tensor | None]:
        """Rotary tables [B or 1, F S, 1, E] and the absolute embedding [1, F, S, D], restarting in every view."""
        patch, (_, views, frames, height, width, _) = self.config.patch_spatial, x_BVTHWC.shape
        grid = (frames, height // patch, width // patch)
        tables = rotary_tables(self.config, *grid, fps_hz_B, x_BVTHWC.device)
        cos, sin = (table.repeat(1, views, 1, 1).flatten(1, 2).unsqueeze(2) for table in tables)
        if self.learnable_positions is not None:
            position = self.learnable_positions(*grid)
        elif self.config.positions == "sincos":
            position = sincos_positions(self.config.width, *grid, x_BVTHWC.device)
        else:
            return (cos, sin), None
        return (cos, sin), position.repeat(1, views, 1, 1).to(x_BVTHWC.dtype)
