"""The shapes that are compared, and the floating point operations that one training step of each must do."""

from dataclasses import dataclass, replace

from worldtune.families.diffusion.config import NetworkConfig
from worldtune.families.diffusion.presets import preset


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A network and the batch it sees."""

    name: str
    network: NetworkConfig
    batch_size: int
    frames: int
    """Latent frames."""
    height: int
    """Latent rows."""
    width: int
    """Latent columns."""
    text_rows: int
    fps_hz: float = 24.0

    @property
    def tokens_per_frame(self) -> int:
        """Patches of one latent frame."""
        return self.height * self.width // self.network.patch_spatial**2

    @property
    def num_tokens(self) -> int:
        """Tokens of one clip."""
        return self.frames * self.tokens_per_frame

    def smaller(self) -> "Shape":
        """The same network on few tokens: enough to see whether two networks are equal."""
        return replace(self, frames=2, height=8, width=8, text_rows=16)


def _video(name: str, *, width: int, heads: int, blocks: int) -> Shape:
    network = NetworkConfig(
        width=width, num_blocks=blocks, num_heads=heads, rope_ratio_t=2.0, positions="none", condition_mask=True
    )
    return Shape(name=name, network=network, batch_size=1, frames=4, height=32, width=32, text_rows=512)


SHAPES = {
    "tiny": _video("tiny", width=512, heads=4, blocks=8),
    "wide": _video("wide", width=2048, heads=16, blocks=2),
    "nano": Shape(name="nano", network=preset("nano"), batch_size=8, frames=5, height=8, width=8, text_rows=32),
}


def forward_flops(shape: Shape) -> float:
    """Multiplications and additions of one forward pass, one noise level per latent frame."""
    net, tokens = shape.network, shape.num_tokens
    width, rank, text = net.width, net.adaln_rank, shape.text_rows
    cells = net.patch_spatial**2
    modulation = 2 * shape.frames * (width * rank + rank * 3 * width)
    self_attention = 2 * tokens * 4 * width**2 + 4 * tokens**2 * width
    cross_attention = 2 * tokens * 2 * width**2 + 2 * text * 2 * net.text_channels * width + 4 * tokens * text * width
    mlp = 2 * tokens * 2 * net.mlp_ratio * width**2
    block = 3 * modulation + self_attention + cross_attention + mlp
    ends = 2 * tokens * width * cells * (net.input_channels + net.latent_channels)
    ends += 2 * shape.frames * (4 * width**2 + width * rank + rank * 2 * width)
    return shape.batch_size * (net.num_blocks * block + ends)


def step_flops(shape: Shape, *, frozen: bool) -> float:
    """Of forward and backward. Frozen weights need no gradient of their own; no credit for what is computed twice."""
    return forward_flops(shape) * (2 if frozen else 3)
