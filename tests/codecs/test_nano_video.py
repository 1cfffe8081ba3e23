"""The nano codec: starts as PCA, is causal, refuses what does not fit its grid."""

from pathlib import Path

import pytest
import torch

from worldtune.codecs.nano_video import NanoVideoCodec, load, save
from worldtune.networks.nano_video.network import (
    Autoencoder,
    NanoCodecConfig,
    absolute,
    from_groups,
    relative_to_first,
    to_groups,
)

TOY = NanoCodecConfig(fine_channels=8, coarse_channels=8, encoder_blocks=1, decoder_blocks=1, latent_channels=6)


def random_network(seed: int = 0) -> Autoencoder:
    torch.manual_seed(seed)
    network = Autoencoder(TOY)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return network


def video(frames: int = 9, size: int = 16) -> torch.Tensor:
    shape = (2, 1, frames, size, size, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_groups_round_trip() -> None:
    clip = video()[:, 0].float()
    assert torch.equal(from_groups(to_groups(clip, 4), frames=3, frames_per_latent=4), clip)


def test_what_stands_still_is_zero() -> None:
    network = random_network()
    for previous in (network.encoder.previous, network.decoder.previous):
        torch.nn.init.zeros_(previous.mix.weight)
        torch.nn.init.zeros_(previous.mix.bias)
    still = video()[:, :, :1].expand(-1, -1, 9, -1, -1, -1)
    latent = NanoVideoCodec(network, "toy").encode(still)
    assert latent[:, :, 0].abs().max() > 0.1
    assert latent[:, :, 1:].abs().max() < 1e-5


def test_relative_latents_round_trip() -> None:
    z_BTHWC = torch.randn(2, 4, 3, 3, 5, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(absolute(relative_to_first(z_BTHWC)), z_BTHWC, atol=1e-6)


def test_starts_as_the_linear_codec() -> None:
    size = 3 * 4 * 64
    basis_KC, _ = torch.linalg.qr(torch.randn(size, TOY.latent_channels, generator=torch.Generator().manual_seed(0)))
    mean_K = torch.linspace(-0.5, 0.5, size)
    network = Autoencoder(TOY)
    network.start_linear(mean_K, basis_KC.T.contiguous())
    x_NCHW = torch.randn(5, 12, 8, 8, generator=torch.Generator().manual_seed(2))
    flat_NK = x_NCHW.flatten(1)
    per_channel_K = mean_K.reshape(12, 64).mean(1).repeat_interleave(64)
    expected = (flat_NK - per_channel_K) @ basis_KC @ basis_KC.T + per_channel_K
    got = network.decoder(network.encoder(x_NCHW, 5), 5).flatten(1)
    assert torch.allclose(got, expected, atol=1e-5)


def test_is_causal_in_time() -> None:
    codec = NanoVideoCodec(random_network(), "toy")
    clip = video()
    changed = clip.clone()
    changed[:, :, 5:] = 255 - changed[:, :, 5:]
    before, after = codec.encode(clip), codec.encode(changed)
    assert torch.equal(before[:, :, :2], after[:, :, :2])
    assert not torch.equal(before[:, :, 2], after[:, :, 2])
    assert torch.equal(codec.decode(before)[:, :, :5], codec.decode(after)[:, :, :5])


def test_shapes_and_statistics() -> None:
    codec = NanoVideoCodec(random_network(), "toy")
    latent = codec.encode(video())
    assert latent.shape == (2, 1, 3, 2, 2, 6)
    assert codec.decode(latent).shape == (2, 1, 9, 16, 16, 3)
    mean_TC, std_TC = codec.statistics(3)
    assert mean_TC.shape == std_TC.shape == (3, 6)


@pytest.mark.parametrize(("frames", "size", "message"), [(8, 16, "1 \\+ 4 k"), (9, 20, "multiple of 8")])
def test_refuses_what_does_not_fit(frames: int, size: int, message: str) -> None:
    codec = NanoVideoCodec(random_network(), "toy")
    with pytest.raises(ValueError, match=message):
        codec.encode(video(frames, size))


def test_save_and_load(tmp_path: Path) -> None:
    network = random_network()
    save(network, tmp_path / "codec")
    codec = load(tmp_path / "codec")
    rounded = {name: tensor.bfloat16().float() for name, tensor in network.state_dict().items()}
    assert all(torch.equal(tensor, rounded[name]) for name, tensor in codec.network.state_dict().items())
    assert codec.identity == load(tmp_path / "codec").identity


def test_truncated_weights_name_the_file(tmp_path: Path) -> None:
    save(random_network(), tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"model\.safetensors: not the weights of this codec"):
        load(tmp_path)
