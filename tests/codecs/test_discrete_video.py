"""The discrete codec computes what NVIDIA's does; its indices are exact and its ids are checked."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from toy_tokenizer import TOY, random_checkpoint, random_video

from worldtune.codecs import continuous_video, discrete_video
from worldtune.codecs.continuous_video.export import export
from worldtune.codecs.discrete_video import Quantizer
from worldtune.codecs.discrete_video.reference import check_tokenizer_case
from worldtune.networks.causal_video.checkpoint import Checkpoint
from worldtune.networks.causal_video.config import TokenizerConfig
from worldtune.networks.causal_video.reference import relative_error

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"


def toy() -> Checkpoint:
    return replace(random_checkpoint(replace(TOY, latent_channels=3)), levels=(8, 5, 4))


def test_reference_cases() -> None:
    paths = sorted(GOLDEN.glob("tokenizer_dv*.safetensors"))
    if not paths:
        pytest.skip(f"no reference cases in {GOLDEN}")
    for path in paths:
        error, limit = check_tokenizer_case(path)
        assert error <= limit == 2e-5, path


@pytest.mark.parametrize(
    ("network", "silent"),
    [
        (replace(TOY, latent_channels=3, num_res_blocks=2, attn_resolutions=(256,), channels_mult=(1, 3, 2)), []),
        (replace(TOY, latent_channels=3, patch_size=2, temporal_compression=4, z_channels=7), []),
        (
            replace(
                TOY, latent_channels=3, patch_size=1, patch_method="rearrange", spatial_compression=16,
                channels_mult=(1, 1, 1, 1, 1),
            ),
            ["patch_size", "patch_method", "spatial_compression", "temporal_compression"],
        ),
    ],
)  # fmt: skip
def test_a_case_says_its_own_shape(network: TokenizerConfig, silent: list[str], tmp_path: Path) -> None:
    """NVIDIA's discrete class has embedding_dim and ignores latent_channels; what is left out takes its defaults."""
    checkpoint = random_checkpoint(network)
    quantizer = Quantizer(levels=(8, 5, 4))
    video = torch.rand(1, 3, 9, 16, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1
    with torch.no_grad():
        codes = quantizer.codes(checkpoint.network().encode(video).movedim(1, -1))
        decoded = checkpoint.network().decode(codes.movedim(-1, 1))
    tensors = {f"state_dict.{name}": tensor for name, tensor in checkpoint.tensors.items()}
    tensors |= {
        "in.video": video,
        "out.codes": codes.movedim(-1, 1).contiguous(),
        "out.indices": quantizer.indices(codes).int(),
        "out.video": decoded.contiguous(),
    }
    values = asdict(network) | {"latent_channels": 16, "embedding_dim": 3, "levels": [8, 5, 4], "quantizer": "FSQ"}
    values = {key: value for key, value in values.items() if key not in silent}
    save_file(tensors, tmp_path / "x.safetensors", {"config": json.dumps(values)})
    assert check_tokenizer_case(tmp_path / "x.safetensors")[0] <= 1e-6


def test_codes_that_are_zero_throughout_have_an_error_too() -> None:
    assert relative_error(torch.zeros(3), torch.zeros(3)) == 0
    assert relative_error(torch.ones(3), torch.zeros(3)) > 1
    assert relative_error(torch.zeros(3), torch.zeros(1, 3)) == float("inf")


def test_every_published_index_survives_a_round_trip() -> None:
    quantizer = Quantizer()
    indices = torch.arange(quantizer.num_codes)
    assert len(indices) == 64_000
    codes = quantizer.codes_of(indices)
    assert codes.min() == -1
    assert torch.equal(quantizer.indices(codes), indices)
    assert len(codes.unique(dim=0)) == 64_000


def test_quantiser_rounds_and_lets_gradients_through() -> None:
    quantizer = Quantizer(levels=(8, 5))
    z = torch.tensor([[0.0, 0.0], [9.0, 9.0], [-9.0, -9.0]], requires_grad=True)
    codes = quantizer.codes(z)
    assert codes.tolist() == [[0.0, 0.0], [0.75, 1.0], [-1.0, -1.0]]
    codes.sum().backward()
    assert z.grad is not None
    assert z.grad[0].min() > 0.5


def test_round_trip_and_chunks(tmp_path: Path) -> None:
    export(toy(), tmp_path / "x", "worldtune")
    codec = discrete_video.load(tmp_path / "x")
    video = random_video(clips=2, views=2, frames=17)
    ids = codec.encode(video)
    grid = codec.grid(views=2, frames=17, height_px=16, width_px=16)
    assert (ids.shape, ids.dtype) == ((2, *grid.shape), torch.int64)
    assert ids.max() < codec.num_codes == 160
    assert codec.decode(ids).shape == video.shape
    chunked = discrete_video.load(tmp_path / "x", passes=continuous_video.Passes(latent_frames=1))
    assert (chunked.encode(video) == ids).float().mean() > 0.98


def test_what_is_refused() -> None:
    codec = discrete_video.from_checkpoint(toy())
    with pytest.raises(ValueError, match=r"0\.\.159, got 0\.\.160"):
        codec.decode(torch.tensor([0, 160]).reshape(1, 1, 1, 1, 2))
    with pytest.raises(ValueError, match="integer token ids"):
        codec.decode(torch.zeros(1, 1, 1, 2, 2))
    with pytest.raises(ValueError, match="no mean"):
        codec.statistics(1)
    with pytest.raises(ValueError, match="codecs.discrete_video"):
        continuous_video.from_checkpoint(toy())
    with pytest.raises(ValueError, match="5 latent channels do not go with"):
        discrete_video.from_checkpoint(random_checkpoint())
    with pytest.raises(ValueError, match="at least 2 levels"):
        Quantizer(levels=(8, 1))
