"""The nano discrete codec, and starting a codec from another."""

from pathlib import Path

import pytest
import torch

from nano.codec_start import start_from
from nano.data import WORLDS
from worldtune.codecs import nano_tokens, nano_video
from worldtune.networks.nano_video.network import Autoencoder, NanoCodecConfig

SMALL = {"fine_channels": 8, "coarse_channels": 8, "encoder_blocks": 1, "decoder_blocks": 1}
CONTINUOUS = NanoCodecConfig(**SMALL, latent_channels=6)
DISCRETE = NanoCodecConfig(**SMALL, latent_channels=4, levels=(8, 8, 8, 8))


def random_network(config: NanoCodecConfig) -> Autoencoder:
    torch.manual_seed(0)
    network = Autoencoder(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


def video(frames: int = 9) -> torch.Tensor:
    return torch.randint(
        0, 256, (2, 2, frames, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


def test_ids_and_back() -> None:
    codec = nano_tokens.NanoTokensCodec(random_network(DISCRETE), "toy")
    ids = codec.encode(video())
    assert codec.num_codes == 4096
    assert ids.shape == (2, 2, 3, 2, 2)
    assert ids.dtype == torch.int64
    assert 0 <= int(ids.min()) < int(ids.max()) < 4096
    assert codec.decode(ids).shape == (2, 2, 9, 16, 16, 3)
    assert not torch.equal(codec.decode(ids), codec.decode((ids + 1) % 4096))


def test_reads_one_latent_frame_back_only() -> None:
    """So that a long video may be decoded, or continued, from a sliding window of tokens."""
    codec = nano_tokens.NanoTokensCodec(random_network(DISCRETE), "toy")
    ids = codec.encode(video(17))
    assert torch.equal(codec.decode(ids)[:, :, 13:], codec.decode(ids[:, :, 2:])[:, :, 5:])


def test_rooms_refuse_each_others_files(tmp_path: Path) -> None:
    nano_video.save(random_network(CONTINUOUS), tmp_path / "continuous")
    nano_tokens.save(random_network(DISCRETE), tmp_path / "discrete")
    assert nano_tokens.load(tmp_path / "discrete").quantizer.levels == (8, 8, 8, 8)
    with pytest.raises(ValueError, match="wanted a discrete one"):
        nano_tokens.load(tmp_path / "continuous")
    with pytest.raises(ValueError, match="wanted a continuous one"):
        nano_video.load(tmp_path / "discrete")


def test_refuses_float_ids() -> None:
    codec = nano_tokens.NanoTokensCodec(random_network(DISCRETE), "toy")
    with pytest.raises(ValueError, match="integer token ids"):
        codec.decode(torch.zeros(1, 1, 1, 2, 2))


def test_levels_must_go_with_channels() -> None:
    with pytest.raises(ValueError, match="do not go with latent_channels 6"):
        NanoCodecConfig(latent_channels=6, levels=(8, 8))


def test_a_grown_codec_starts_as_its_source() -> None:
    source = random_network(CONTINUOUS)
    grown = Autoencoder(NanoCodecConfig(**{**vars(CONTINUOUS), "encoder_blocks": 2, "decoder_blocks": 3}))
    start_from(grown, source, {}, 9)
    x_NCHW = torch.randn(6, 12, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(grown(x_NCHW, 3), source(x_NCHW, 3), atol=1e-5)


def test_a_discrete_codec_starts_near_the_leading_channels_of_its_source() -> None:
    clips = {world: torch.randint(0, 256, (2, 9, 16, 16, 3), dtype=torch.uint8) for world in WORLDS}
    source, discrete = random_network(CONTINUOUS), Autoencoder(DISCRETE)
    start_from(discrete, source, clips, 9)
    x_NCHW = torch.randn(6, 12, 16, 16, generator=torch.Generator().manual_seed(0))
    wanted_CN = source.encoder(x_NCHW, 3)[:, :4].transpose(0, 1).flatten(1)
    got_CN = discrete.encoder(x_NCHW, 3).transpose(0, 1).flatten(1)
    for got_N, wanted_N in zip(got_CN, wanted_CN, strict=True):
        assert torch.corrcoef(torch.stack([got_N, wanted_N]))[0, 1] > 0.9999
    assert not torch.allclose(got_CN, wanted_CN, atol=1e-3)
