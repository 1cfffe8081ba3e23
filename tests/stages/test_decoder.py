"""The diffusion decoder as a codec: no effect at the start, a function of the tokens alone, and its way to generate."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nano.judge_decoder import edge_strength
from tests.stages.test_autoregressive import make_run
from tests.stages.toy_autoregressive import NUM_CODES, make_base
from worldtune.codecs import nano_video
from worldtune.contract.cache import Cache
from worldtune.contract.condition import Widths
from worldtune.contract.files import read_json, write_json
from worldtune.dataset import Dataset, Window
from worldtune.families.diffusion.config import NetworkConfig
from worldtune.families.diffusion.logvariance import DiffusionModel
from worldtune.families.diffusion.weights import save
from worldtune.metrics.pixels import psnr_db
from worldtune.networks.nano_video.network import Autoencoder, NanoCodecConfig
from worldtune.stages.base import find_base
from worldtune.stages.decoder import DESCRIPTION, DiffusionDecoder, sharpened
from worldtune.stages.generate import generate
from worldtune.stages.made_clips import MadeSet
from worldtune.stages.train import train

CHANNELS = 3
NETWORK = NetworkConfig(
    width=24, num_blocks=1, num_heads=2, latent_channels=CHANNELS, text_channels=1, adaln_rank=4, patch_spatial=1,
    positions="none",
)  # fmt: skip


def add_decoder(base: Path, *, zero_output: bool, steps: int = 1) -> Path:
    """Give a toy base a decoder with random weights."""
    folder = base / "decoder"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        codec = NanoCodecConfig(latent_channels=CHANNELS, fine_channels=8, coarse_channels=8, decoder_blocks=1)
        nano_video.save(Autoencoder(codec), folder / "latents")
        model = DiffusionModel(NETWORK, Widths(dense=CHANNELS))
        for parameter in model.net.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        if zero_output:
            torch.nn.init.zeros_(model.net.final.proj.weight)
        save(model, folder / "network")
    trained_with = {
        "tokens": find_base(str(base)).codec().identity,
        "latents": nano_video.load(folder / "latents").identity,
    }
    value = {"network": "network", "codec": {"room": "nano_video", "path": "latents"}, "trained_with": trained_with}
    settings = [f"steps={steps}", "sigma_max=40.0", "sigma_min=0.01", "guidance=0.0"]
    write_json(folder / DESCRIPTION, value | {"missing_std": [[1.0] * CHANNELS] * 2, "settings": settings})
    write_json(base / "base.json", read_json(base / "base.json") | {"decoder": "decoder"})
    return folder


def decoder_of(folder: Path, **choices: bool | int) -> DiffusionDecoder:
    add_decoder(make_base(folder), **choices)
    return sharpened(find_base(str(folder)))


def ids(batch: int = 2, views: int = 2) -> torch.Tensor:
    return torch.randint(NUM_CODES, (batch, views, 3, 2, 2), generator=torch.Generator().manual_seed(0))


def test_an_untrained_decoder_changes_nothing_in_one_step(tmp_path: Path) -> None:
    decoder = decoder_of(tmp_path, zero_output=True)
    plain = decoder.tokens.decode(ids())
    wanted = decoder.latents.decode(decoder.latents.encode(plain))
    assert (decoder.decode(ids()).int() - wanted.int()).abs().max() <= 1


def test_a_clip_depends_on_its_own_tokens_only(tmp_path: Path) -> None:
    decoder = decoder_of(tmp_path, zero_output=False, steps=2)
    video = decoder.decode(ids())
    assert video.shape == (2, 2, 9, 16, 16, 3)
    assert video.dtype == torch.uint8
    assert torch.equal(decoder.decode(ids()), video), "the same tokens always give the same clip"
    alone = decoder.decode(ids()[1:, 1:])
    assert (alone.int() - video[1:, 1:].int()).abs().max() <= 1, "neither batch nor other views matter"
    plain = decoder.latents.decode(decoder.latents.encode(decoder.tokens.decode(ids())))
    assert (video.int() - plain.int()).abs().max() > 10


def test_it_encodes_as_the_plain_codec_under_its_name(tmp_path: Path) -> None:
    decoder = decoder_of(tmp_path, zero_output=False)
    plain = find_base(str(tmp_path)).codec()
    video = torch.randint(256, (1, 1, 9, 16, 16, 3), dtype=torch.uint8)
    assert torch.equal(decoder.encode(video), plain.encode(video))
    assert (decoder.identity, decoder.num_codes, decoder.pixels_per_latent) == (plain.identity, NUM_CODES, 8)
    sizes = {"views": 1, "frames": 9, "height_px": 16, "width_px": 16}
    assert decoder.grid(**sizes) == plain.grid(**sizes)
    with pytest.raises(ValueError, match="have no mean"):
        decoder.statistics(3)


@pytest.mark.parametrize("name", ["tokens", "latents"])
def test_a_decoder_of_another_codec_is_refused(tmp_path: Path, name: str) -> None:
    path = add_decoder(make_base(tmp_path), zero_output=True) / DESCRIPTION
    value = read_json(path)
    value["trained_with"][name] = "0" * 64
    write_json(path, value)
    with pytest.raises(ValueError, match=rf"decoder.json: trained with the {name} of another codec \(000000000000\)"):
        sharpened(find_base(str(tmp_path)))


def test_generate_decodes_with_it_when_asked(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    train(run, tmp_path / "run")
    with pytest.raises(ValueError, match="--sharpen: .*base names no diffusion decoder"):
        generate(tmp_path / "run", tmp_path / "cache", tmp_path / "sharp", num_clips=1, sharpen=True)
    add_decoder(tmp_path / "base", zero_output=False)
    outs = {
        name: MadeSet.open(
            generate(tmp_path / "run", tmp_path / "cache", tmp_path / name, num_clips=1, sharpen=name == "sharp")
        )
        for name in ("plain", "sharp")
    }
    clip = outs["sharp"].clips[0].id
    cache, decoder = Cache.open(tmp_path / "cache"), sharpened(find_base(str(tmp_path / "base")))
    tokens = cache.tensors(cache.indices("val")[0])["tokens"].long()
    got = {name: made.read(clip, "codec").pixels_VTHWC for name, made in outs.items()}
    assert np.array_equal(got["sharp"], decoder.decode(tokens[None])[0].numpy())
    assert np.array_equal(got["plain"], decoder.tokens.decode(tokens[None])[0].numpy())
    assert "--sharpen" in outs["sharp"].circumstances["command"]
    assert "decoder" not in outs["plain"].settings
    with pytest.raises(ValueError, match="holds clips made with another decoder"):
        generate(tmp_path / "run", tmp_path / "cache", tmp_path / "sharp", num_clips=1)


def test_a_diffusion_base_is_told_whom_sharpen_is_for() -> None:
    with pytest.raises(
        ValueError, match="--sharpen is for runs of an autoregressive base, .* nano-diffusion is a diff"
    ):
        sharpened(find_base("nano-diffusion"))


def test_the_shipped_decoder_fits_what_is_shipped_with_it() -> None:
    """It belongs to these codecs and to this code: its mean is closer to the clip, what it draws is sharper."""
    base = find_base("nano-autoregressive")
    decoder = sharpened(base)
    assert base.decoder_path is not None
    assert sum(path.stat().st_size for path in base.decoder_path.rglob("*.safetensors")) < 1.5e6
    clip = Dataset.open(Path(__file__).parents[2] / "samples" / "rooms").read_clip(5, 0, Window(**base.window))
    real = clip.video_VTHWC
    ids = decoder.encode(torch.from_numpy(real)[None])
    plain, drawn = decoder.tokens.decode(ids)[0].numpy(), decoder.decode(ids)[0].numpy()
    mean = decoder.with_sampler(replace(decoder.sampler, steps=1)).decode(ids)[0].numpy()
    assert psnr_db(mean, real, 1) > psnr_db(plain, real, 1) > psnr_db(drawn, real, 1) > psnr_db(plain, real, 1) - 2
    assert edge_strength(plain) < edge_strength(drawn) < edge_strength(real)
