"""The continuous codec computes what NVIDIA's does, is causal, and says what does not fit."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy_tokenizer import TOY, random_checkpoint, random_video

from worldtune.codecs.continuous_video import Passes, from_checkpoint
from worldtune.codecs.continuous_video.reference import check_tokenizer_case
from worldtune.contract.protocols import Codec
from worldtune.networks.causal_video.autoencoder import Autoencoder
from worldtune.networks.causal_video.checkpoint import Statistics
from worldtune.networks.causal_video.config import CV8X8X8_720P, DV8X16X16_720P, TokenizerConfig, from_nvidia
from worldtune.networks.causal_video.wavelet import fold, unfold

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"


def test_reference_cases() -> None:
    paths = sorted(GOLDEN.glob("tokenizer_cv*.safetensors"))
    if not paths:
        pytest.skip(f"no reference cases in {GOLDEN}")
    for path in paths:
        error, limit = check_tokenizer_case(path)
        assert error <= limit == 2e-5, path


def test_is_a_codec_and_keeps_shapes() -> None:
    codec: Codec = from_checkpoint(random_checkpoint())
    video = random_video(clips=2, views=2, frames=9)
    grid = codec.grid(views=2, frames=9, height_px=16, width_px=16)
    latent = codec.encode(video)
    assert latent.shape == (2, *grid.shape, codec.latent_channels)
    assert latent.dtype == torch.float32
    decoded = codec.decode(latent)
    assert (decoded.shape, decoded.dtype) == (video.shape, torch.uint8)
    assert codec.encode(video[:, :, :1]).shape[2] == 1


def test_later_frames_never_change_earlier_latents_or_pixels() -> None:
    codec = from_checkpoint(random_checkpoint(replace(TOY, attn_resolutions=(256, 64))))
    video = random_video()
    changed = video.clone()
    changed[:, :, 9:] = 255 - changed[:, :, 9:]
    one, other = codec.encode(video), codec.encode(changed)
    assert torch.allclose(one[:, :, :2], other[:, :, :2], atol=1e-6)
    assert (one[:, :, 2] - other[:, :, 2]).abs().min() > 1e-5
    assert torch.allclose(codec.encode(video[:, :, :9]), one[:, :, :2], atol=1e-6)
    difference = codec.decode(one)[:, :, :9].int() - codec.decode(one[:, :, :2]).int()
    assert difference.abs().max() <= 1


@pytest.mark.parametrize("latent_frames", [1, 2, 3])
@pytest.mark.parametrize("config", [TOY, replace(TOY, attn_resolutions=(64,), legacy_mode=True)])
def test_chunked_equals_unchunked(latent_frames: int, config: TokenizerConfig) -> None:
    checkpoint = random_checkpoint(config)
    whole = from_checkpoint(checkpoint, passes=Passes(clips=8, latent_frames=99))
    chunked = from_checkpoint(checkpoint, passes=Passes(clips=1, latent_frames=latent_frames))
    video = random_video(clips=2, frames=33, size=8)
    latent = whole.encode(video)
    assert torch.allclose(chunked.encode(video), latent, atol=2e-6)
    difference = chunked.decode(latent).int() - whole.decode(latent).int()
    assert difference.abs().max() <= 1


def test_views_do_not_mix() -> None:
    codec = from_checkpoint(random_checkpoint())
    video = random_video(views=2, frames=9)
    latent = codec.encode(video)
    assert torch.allclose(codec.encode(video[:, 1:]), latent[:, 1:], atol=1e-6)


def test_statistics_repeat_the_last_row() -> None:
    checkpoint = random_checkpoint()
    assert checkpoint.statistics is not None
    mean_TC, std_TC = from_checkpoint(checkpoint).statistics(5)
    assert torch.equal(mean_TC[:3], checkpoint.statistics.mean_TC)
    assert torch.equal(std_TC[4], checkpoint.statistics.std_TC[2])
    without = from_checkpoint(replace(checkpoint, statistics=None, source="some/folder"))
    with pytest.raises(ValueError, match=r"some/folder.*mean_std\.pt"):
        without.statistics(1)


@pytest.mark.parametrize("std", [[[0.0]], [[float("nan")]], [[1.0, 1.0]]])
def test_statistics_must_make_sense(std: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="statistics"):
        Statistics(mean_TC=torch.zeros(1, 1), std_TC=torch.tensor(std))


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ({"frames": 16}, "num_frames must be 1 \\+ 8 k for this codec, got 16; use 9 or 17"),
        ({"frames": 0}, "got 0; use 1 or 9"),
        ({"height_px": 20}, "height must be a multiple of 8 px, got 20; use 16 or 24"),
        ({"width_px": 4}, "width must be a multiple of 8 px, got 4"),
        ({"views": 0}, "at least 1 view"),
    ],
)
def test_grid_says_what_does_not_fit(size: dict[str, int], words: str) -> None:
    codec = from_checkpoint(random_checkpoint())
    with pytest.raises(ValueError, match=words):
        codec.grid(**{"views": 1, "frames": 17, "height_px": 16, "width_px": 16, **size})


def test_encode_refuses_other_video() -> None:
    codec = from_checkpoint(random_checkpoint())
    with pytest.raises(ValueError, match="uint8"):
        codec.encode(random_video().float())
    with pytest.raises(ValueError, match=r"\[B,V,T,H,W,3\]"):
        codec.encode(random_video()[0])
    with pytest.raises(ValueError, match="1 \\+ 8 k"):
        codec.encode(random_video(frames=8))


def test_bf16_is_close() -> None:
    checkpoint = random_checkpoint()
    video = random_video(frames=9)
    exact, rounded = from_checkpoint(checkpoint).encode(video), from_checkpoint(checkpoint, bf16=True).encode(video)
    assert rounded.dtype == torch.float32
    assert 0 < (exact - rounded).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize("method", ["haar", "rearrange"])
@pytest.mark.parametrize("patch_size", [1, 2, 4])
def test_unfold_inverts_fold(method: str, patch_size: int) -> None:
    video = torch.randn(2, 3, 1 + 2 * patch_size, 8, 8, dtype=torch.float64)
    folded = fold(video, patch_size, method)
    assert folded.shape == (2, 3 * patch_size**3, 3, 8 // patch_size, 8 // patch_size)
    assert torch.allclose(unfold(folded, patch_size, method), video)


@pytest.mark.parametrize(
    ("config", "num_parameters", "num_tensors"),
    [(CV8X8X8_720P, 105_653_696, 310), (DV8X16X16_720P, 110_898_294, 318)],
)
def test_published_sizes(config: TokenizerConfig, num_parameters: int, num_tensors: int) -> None:
    with torch.device("meta"):
        state = Autoencoder(config).state_dict()
    assert (sum(tensor.numel() for tensor in state.values()), len(state)) == (num_parameters, num_tensors)
    assert state["encoder.conv_in.0.conv3d.weight"].shape == (128, 192, 1, 3, 3)
    assert state["decoder.up.1.upsample.conv1.conv3d.weight"].shape == (512, 512, 3, 1, 1)
    assert ("decoder.up.2.upsample.conv2.conv3d.weight" in state) == (config is DV8X16X16_720P)
    assert state["quant_conv.conv3d.weight"].shape == (config.latent_channels, 16, 1, 1, 1)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"chanels": 8}, "did you mean 'channels'"),
        ({"encoder": "BASE"}, "encoder must be 'FACTORIZED', got 'BASE'"),
        ({"formulation": "VAE"}, "formulation must be 'AE'"),
        ({"patch_size": 3}, "patch_size must be a power of two"),
        ({"patch_method": "db2"}, "patch_method must be one of haar, rearrange"),
        ({"channels_mult": []}, "at least 1"),
        ({"dropout": 1.5}, "dropout must be in 0..1"),
        ({"channels": "many"}, "x.json: "),
    ],
)
def test_bad_configurations(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        from_nvidia(values, "x.json")


def test_a_decoder_that_does_not_undo_the_encoder_is_refused() -> None:
    checkpoint = random_checkpoint(replace(TOY, channels_mult=(1, 2)))
    with pytest.raises(ValueError, match="halves temporal resolution 1 times, the decoder doubles it 0"):
        from_checkpoint(replace(checkpoint, config=replace(TOY, channels_mult=(1, 2), spatial_compression=4)))
