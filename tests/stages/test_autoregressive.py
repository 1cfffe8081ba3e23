"""The autoregressive family on the same stages: dataset -> tokens -> run -> clips -> report -> export."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, load_file, save, save_file

from tests.data.recordings import episode
from tests.stages.toy_autoregressive import NUM_CODES, make_base
from worldtune.contract.cache import Cache
from worldtune.contract.files import read_json
from worldtune.dataset import Dataset, Window, write_dataset
from worldtune.run import Run, compose
from worldtune.stages.base import find_base
from worldtune.stages.evaluate import evaluate
from worldtune.stages.export import export_run
from worldtune.stages.generate import generate
from worldtune.stages.made_clips import MEANINGS, MadeSet
from worldtune.stages.prepare import _kept, prepare
from worldtune.stages.train import train
from worldtune.training.batches import Clips
from worldtune.training.log import MetricsLog

TEXTS = ("push the red cube", "push the blue cube", "a door opens")
TOY = ("loop.batch_size=2", "loop.validate_every=1", "loop.checkpoint_every=1", "optim.lr=0.01")


def make_run(folder: Path) -> Run:
    """Base, dataset and cache in a folder, and the run on them; the last three clips are held out."""
    make_base(folder / "base")
    recorded = [episode(9, text=TEXTS[number % 3], first=number) for number in range(7)]
    write_dataset(folder / "data", recorded, fps_hz=10, splits={"train": "0:4", "val": "4:7"})
    base = find_base(str(folder / "base"))
    prepare(folder / "data", folder / "cache", base, controls=("text",), window={})
    return compose(task="general", base=base, data=folder / "cache", steps=3, assignments=TOY)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("autoregressive")
    train(make_run(folder), folder / "run")
    generate(folder / "run", folder / "cache", folder / "clips", num_clips=3)
    return folder


def test_a_cache_holds_the_codecs_tokens(world: Path) -> None:
    cache, codec = Cache.open(world / "cache"), find_base(str(world / "base")).codec()
    window = Window(num_frames=9, height_px=16, width_px=16, fps_hz=10.0)
    video = Dataset.open(world / "data").read_clip(2, 0, window).video_VTHWC
    wanted = codec.encode(torch.from_numpy(video)[None])[0]
    tensors = cache.tensors(2)
    assert "latent" not in tensors
    assert tensors["tokens"].dtype == torch.uint16
    assert torch.equal(tensors["tokens"].long(), wanted)
    assert wanted.max() < NUM_CODES
    assert cache.header.latent_mean_TC == cache.header.latent_std_TC == []
    batch = Clips(cache, ("text",)).batch([2, 0])
    assert batch.target.dtype == torch.int64
    assert torch.equal(batch.target[0], wanted)


def test_ids_beyond_16_bits_are_kept_whole() -> None:
    ids = torch.tensor([65_536, 69_999])
    kept = _kept(ids, 70_000)["tokens"]
    assert kept.dtype == torch.uint32
    assert torch.equal(load(save({"tokens": kept}))["tokens"].long(), ids)


def test_a_killed_run_continues_bit_for_bit(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path)
    row = MetricsLog.row

    def dying(self: MetricsLog, kind: str, step: int, values: dict[str, float]) -> None:
        row(self, kind, step, values)
        if (kind, step) == ("train", 2):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MetricsLog, "row", dying)
        with pytest.raises(KeyboardInterrupt):
            train(run, tmp_path / "run")
    assert not (tmp_path / "run" / "weights").exists()
    train(run, tmp_path / "run")
    for name in ("raw", "ema"):
        got, wanted = (load_file(folder / f"run/weights/{name}.safetensors") for folder in (tmp_path, world))
        assert [key for key in wanted if not torch.equal(got[key], wanted[key])] == []


def test_clips_are_decoded_tokens_and_have_no_latent(world: Path) -> None:
    made, cache = MadeSet.open(world / "clips"), Cache.open(world / "cache")
    codec = find_base(str(world / "base")).codec()
    assert list(made.columns) == list(MEANINGS)
    clip = made.clips[0]
    columns = {name: made.read(clip.id, name) for name in made.columns}
    assert [name for name, column in columns.items() if column.latent_VTHWC is not None] == []
    tokens = cache.tensors(cache.indices("val")[0])["tokens"].long()
    assert np.array_equal(columns["codec"].pixels_VTHWC, codec.decode(tokens[None])[0].numpy())
    for name in ("post-trained", "base", "shuffled"):
        pixels = columns[name].pixels_VTHWC
        assert np.array_equal(pixels[:, :1], columns["codec"].pixels_VTHWC[:, :1]), "the given frame's tokens are kept"
        assert not np.array_equal(pixels[:, 1:], columns["codec"].pixels_VTHWC[:, 1:]), name
    made_by = {name: columns[name].pixels_VTHWC for name in ("post-trained", "base")}
    assert not np.array_equal(*made_by.values())


def test_a_report_has_no_measure_of_latents(world: Path) -> None:
    page = evaluate([world / "clips"])
    report = read_json(world / "clips" / "report.json")
    assert {"latent_mse", "fd_own"}.isdisjoint(report["measures"])
    assert {"psnr_db", "ssim"} <= set(report["measures"])
    assert "post-trained" in page.read_text()


def test_an_export_is_a_base_again_whose_family_its_names_tell(world: Path, tmp_path: Path) -> None:
    export_run(world / "run", tmp_path / "out", "nvidia", weights="raw")
    base = find_base(str(tmp_path / "out"), world / "base" / "codec", world / "base" / "text")
    assert (base.family, base.codec_room) == ("autoregressive", "nano_tokens")
    assert (base.window["num_frames"], base.window["height_px"], base.window["width_px"]) == (33, 640, 1024)
    assert base.codec().num_codes == NUM_CODES
    with pytest.raises(ValueError, match="no export layout 'diffusers' for the autoregressive family: known are nvid"):
        export_run(world / "run", tmp_path / "other", "diffusers")
    assert not (tmp_path / "other").exists()


def test_a_longer_cache_makes_longer_clips(world: Path, tmp_path: Path) -> None:
    """Windows of 17 frames are 5 latent ones, the network was built for 3: the rest is continued in token space."""
    write_dataset(tmp_path / "data", [episode(17, text=text) for text in TEXTS[:2]], fps_hz=10, splits={"val": "0:2"})
    base = find_base(str(world / "base"))
    prepare(tmp_path / "data", tmp_path / "cache", base, controls=("text",), window={"num_frames": 17})
    out = generate(world / "run", tmp_path / "cache", tmp_path / "long", num_clips=1)
    made = MadeSet.open(out)
    pixels = made.read(made.clips[0].id, "post-trained").pixels_VTHWC
    assert pixels.shape == (1, 17, 16, 16, 3)
    assert (pixels[:, 9:] != pixels[:, :1]).any()


def test_what_is_no_base_is_said(world: Path, tmp_path: Path) -> None:
    save_file({"lm_head.weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    beside = world / "base" / "codec", world / "base" / "text"
    with pytest.raises(ValueError, match="holds no network of the families autoregressive, diffusion"):
        find_base(str(tmp_path / "model.safetensors"), *beside)
    claims = find_base(str(make_base(tmp_path / "base", family="diffusion")))
    with pytest.raises(ValueError, match="codec: a discrete codec, but the diffusion family models a continuous one's"):
        claims.codec()


def test_a_cosmos_checkpoint_alone_takes_nvidias_tokenizer(world: Path, tmp_path: Path) -> None:
    export_run(world / "run", tmp_path / "out", "nvidia")
    (tmp_path / "tokenizer").mkdir()
    base = find_base(str(tmp_path / "out" / "model.pt"), tmp_path / "tokenizer", world / "base" / "text")
    assert (base.family, base.codec_room) == ("autoregressive", "discrete_video")
