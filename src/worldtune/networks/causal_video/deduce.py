"""The configuration of a tokenizer from its tensors: NVIDIA's files carry weights but no hyper-parameters."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from worldtune.networks.causal_video.config import Step, TokenizerConfig

# Tensors that are constants of the network, not weights.
_CONSTANT_OWNERS = ("patcher3d.", "unpatcher3d.", "quantizer.")


def is_constant(name: str) -> bool:
    """Whether a tensor of NVIDIA's files is recomputed and never loaded: wavelet, patch size, quantiser tables."""
    return any(owner in name for owner in _CONSTANT_OWNERS)


def deduce_config(tensors: Mapping[str, Tensor], source: str) -> TokenizerConfig:
    """Read the hyper-parameters off names and shapes. ValueError when this is no tokenizer of the factorised kind."""
    first = _shape(tensors, "encoder.conv_in.0.conv3d.weight", source)
    num_levels = _count(tensors, "encoder.down.{}.block.0.conv1.0.conv3d.weight")
    widths = [_shape(tensors, f"encoder.down.{i}.block.0.conv1.0.conv3d.weight", source)[0] for i in range(num_levels)]
    if not widths or any(width % first[0] for width in widths):
        raise ValueError(f"{source}: encoder levels of {widths} channels are not multiples of the first {first[0]}")
    patch_size = _patch_size(tensors, first[1], source)
    down = [_step(tensors, f"encoder.down.{i}.downsample.conv{{}}", 1, 2) for i in range(num_levels - 1)]
    resolution = TokenizerConfig().resolution
    attended = (i for i in range(num_levels) if f"encoder.down.{i}.attn.0.0.q.conv3d.weight" in tensors)
    config = TokenizerConfig(
        in_channels=first[1] // patch_size**3,
        out_channels=_shape(tensors, "decoder.conv_out.0.conv3d.weight", source)[0] // patch_size**3,
        channels=first[0],
        channels_mult=tuple(width // first[0] for width in widths),
        num_res_blocks=_count(tensors, "encoder.down.0.block.{}.conv1.0.conv3d.weight"),
        attn_resolutions=tuple(resolution // patch_size // 2**i for i in attended),
        patch_size=patch_size,
        patch_method=_patch_method(tensors),
        z_channels=_shape(tensors, "encoder.conv_out.0.conv3d.weight", source)[0],
        latent_channels=_shape(tensors, "quant_conv.conv3d.weight", source)[0],
        spatial_compression=patch_size * 2 ** sum(step.spatial for step in down),
        temporal_compression=patch_size * 2 ** sum(step.temporal for step in down),
    )
    return _with_decoder_mode(config, tensors, source)


def deduce_levels(tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
    """The quantiser's levels where a file has them, else nothing."""
    for name in ("quantizer._levels", "inv_quant.quantizer._levels"):
        if name in tensors:
            return tuple(int(level) for level in tensors[name])
    return ()


def _shape(tensors: Mapping[str, Tensor], name: str, source: str) -> tuple[int, ...]:
    if name not in tensors:
        raise ValueError(f"{source}: no tensor {name}: not a factorised Cosmos video tokenizer")
    return tuple(tensors[name].shape)


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    num = 0
    while pattern.format(num) in tensors:
        num += 1
    return num


def _step(tensors: Mapping[str, Tensor], pattern: str, spatial: int, temporal: int) -> Step:
    def has(index: int) -> bool:
        return f"{pattern.format(index)}.conv3d.weight" in tensors

    return Step(spatial=has(spatial), temporal=has(temporal))


def _patch_size(tensors: Mapping[str, Tensor], folded_channels: int, source: str) -> int:
    if "encoder.patcher3d.patch_size_buffer" in tensors:
        return int(tensors["encoder.patcher3d.patch_size_buffer"].item())
    for size in (1, 2, 4, 8):
        if 3 * size**3 == folded_channels:
            return size
    raise ValueError(f"{source}: {folded_channels} input channels are not 3 colours folded by 1, 2, 4 or 8")


def _patch_method(tensors: Mapping[str, Tensor]) -> str:
    wavelet = tensors.get("encoder.patcher3d.wavelets")
    return "rearrange" if wavelet is not None and bool((wavelet == 1).all()) else "haar"


def _with_decoder_mode(config: TokenizerConfig, tensors: Mapping[str, Tensor], source: str) -> TokenizerConfig:
    up = tuple(_step(tensors, f"decoder.up.{i}.upsample.conv{{}}", 2, 1) for i in reversed(range(1, config.num_levels)))
    for legacy_mode in (False, True):
        candidate = replace(config, legacy_mode=legacy_mode)
        if candidate.up_steps == up:
            return candidate
    raise ValueError(f"{source}: the decoder's upsampling layers fit neither order that NVIDIA has used")
