"""Every file layout of a tokenizer: round trips keep every bit, and bad files get one clear sentence."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from toy_tokenizer import TOY, random_checkpoint, random_video, same_tensors

from worldtune.codecs.continuous_video import load
from worldtune.codecs.continuous_video.export import export
from worldtune.networks.causal_video.autoencoder import Autoencoder
from worldtune.networks.causal_video.config import CV8X8X8_720P, DV8X16X16_720P, TokenizerConfig
from worldtune.networks.causal_video.deduce import deduce_config
from worldtune.networks.causal_video.diffusers_layout import diffusers_name
from worldtune.networks.causal_video.files import read

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden" / "tokenizer_cv8x8x8.safetensors"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", ["worldtune", "nvidia", "diffusers"])
def test_round_trips_are_bit_identical(tmp_path: Path, layout: str, dtype: torch.dtype) -> None:
    checkpoint = random_checkpoint(dtype=dtype)
    export(checkpoint, tmp_path / "there", layout)
    back = read(tmp_path / "there")
    assert same_tensors(back.tensors, checkpoint.tensors)
    assert back.statistics is not None
    assert checkpoint.statistics is not None
    assert torch.equal(back.statistics.mean_TC, checkpoint.statistics.mean_TC)
    assert torch.equal(back.statistics.std_TC, checkpoint.statistics.std_TC)
    assert back.identity() == checkpoint.identity()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]


def test_nvidia_state_dict_round_trip_keeps_constants(tmp_path: Path) -> None:
    if not GOLDEN.exists():
        pytest.skip(f"no reference case {GOLDEN}")
    original = {k.removeprefix("state_dict."): v for k, v in load_file(GOLDEN).items() if k.startswith("state_dict.")}
    save_file(original, tmp_path / "tokenizer.safetensors")
    checkpoint = read(tmp_path / "tokenizer.safetensors")
    export(checkpoint, tmp_path / "nvidia", "nvidia")
    written = torch.load(tmp_path / "nvidia" / "model.pt", weights_only=True)["model"]
    assert same_tensors({name.removeprefix("network."): tensor for name, tensor in written.items()}, original)
    export(checkpoint, tmp_path / "diffusers", "diffusers")
    assert same_tensors(read(tmp_path / "diffusers").tensors, checkpoint.tensors)


class Part(torch.nn.Module):
    """Modules that NVIDIA saves in one archive. What it computes is of no account: only tensors are read."""

    def __init__(self, network: Autoencoder, names: list[str]) -> None:
        super().__init__()
        for name in names:
            self.add_module(name, network.get_submodule(name))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


def write_archive(part: torch.nn.Module, path: Path) -> None:
    torch.jit.save(torch.jit.trace(part, torch.zeros(1)), path)


@pytest.mark.filterwarnings("ignore")
def test_torchscript_archives(tmp_path: Path) -> None:
    config = replace(TOY, channels_mult=(1, 2), temporal_compression=4, legacy_mode=True)
    checkpoint = random_checkpoint(config, dtype=torch.bfloat16)
    network = checkpoint.network(torch.bfloat16)
    halves, whole = tmp_path / "halves", tmp_path / "whole"
    halves.mkdir()
    whole.mkdir()
    names = ["encoder", "quant_conv", "post_quant_conv", "decoder"]
    write_archive(Part(network, names[:2]), halves / "encoder.jit")
    write_archive(Part(network, names[2:]), halves / "decoder.jit")
    write_archive(Part(network, names), whole / "autoencoder.jit")
    assert checkpoint.statistics is not None
    pair = (checkpoint.statistics.mean_TC.T.reshape(1, -1), checkpoint.statistics.std_TC.T.reshape(1, -1))
    torch.save(pair, halves / "mean_std.pt")
    for path in (halves, whole, whole / "autoencoder.jit"):
        assert same_tensors(read(path).tensors, checkpoint.tensors)
    codec = load(halves)
    assert torch.equal(codec.statistics(3)[0], checkpoint.statistics.mean_TC)
    assert torch.equal(codec.encode(random_video(frames=9)), load(whole).encode(random_video(frames=9)))
    (halves / "decoder.jit").unlink()
    with pytest.raises(ValueError, match=r"decoder\.jit: no such file"):
        load(halves)


def test_training_file_gives_the_moving_average(tmp_path: Path) -> None:
    raw, averaged = random_checkpoint(seed=0), random_checkpoint(seed=1)
    content = {f"network.{name}": tensor for name, tensor in raw.tensors.items()}
    content |= {f"ema.network-{name.replace('.', '-')}": tensor for name, tensor in averaged.tensors.items()}
    torch.save({"model": content, "iteration": 7}, tmp_path / "model.pt")
    assert same_tensors(read(tmp_path / "model.pt").tensors, averaged.tensors)


@pytest.mark.parametrize(
    "config",
    [
        CV8X8X8_720P,
        DV8X16X16_720P,
        replace(TOY, patch_size=2, temporal_compression=4, num_res_blocks=3),
        replace(TOY, channels_mult=(1, 2, 3, 4), spatial_compression=16, legacy_mode=True),
        replace(TOY, attn_resolutions=(256, 64), latent_channels=7),
    ],
)
def test_deduced_configuration_builds_the_same_network(config: TokenizerConfig) -> None:
    with torch.device("meta"):
        state = Autoencoder(config).state_dict()
        deduced = deduce_config(state, "x")
        again = Autoencoder(deduced).state_dict()
    assert {name: tensor.shape for name, tensor in state.items()} == {n: tensor.shape for n, tensor in again.items()}
    assert deduced.up_steps == config.up_steps


def test_diffusers_default_has_the_same_parameters_one_to_one() -> None:
    # Imported outside the meta device, where its constants would be lost.
    theirs_class = pytest.importorskip("diffusers").AutoencoderKLCosmos
    with torch.device("meta"):
        ours, theirs = Autoencoder(CV8X8X8_720P).state_dict(), theirs_class().state_dict()
    renamed = {diffusers_name(name, 3): tensor.shape for name, tensor in ours.items()}
    assert renamed == {name: tensor.shape for name, tensor in theirs.items()}


@pytest.mark.parametrize("attn_resolutions", [(), (256, 64)])
def test_equals_diffusers_on_random_weights(tmp_path: Path, attn_resolutions: tuple[int, ...]) -> None:
    diffusers = pytest.importorskip("diffusers")
    checkpoint = random_checkpoint(replace(TOY, attn_resolutions=attn_resolutions))
    export(checkpoint, tmp_path / "vae", "diffusers")
    theirs = diffusers.AutoencoderKLCosmos.from_pretrained(tmp_path / "vae").eval()
    video = torch.rand(1, 3, 17, 16, 24) * 2 - 1
    with torch.no_grad():
        latent, decoded = checkpoint.network()(video)
        their_latent = theirs.encode(video).latent_dist.mode()
        their_decoded = theirs.decode(their_latent).sample
    assert (latent - their_latent).abs().max() <= 2e-5 * their_latent.abs().max()
    assert (decoded - their_decoded).abs().max() <= 2e-5 * their_decoded.abs().max()
    theirs.save_pretrained(tmp_path / "resaved")
    back = read(tmp_path / "resaved")
    assert same_tensors(back.tensors, checkpoint.tensors)
    assert back.config == checkpoint.config


def test_diffusers_cannot_express_everything(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="legacy_mode"):
        export(random_checkpoint(replace(TOY, legacy_mode=True)), tmp_path / "x", "diffusers")
    with pytest.raises(ValueError, match="did you mean 'diffusers'"):
        export(random_checkpoint(), tmp_path / "x", "difusers")
    assert list(tmp_path.iterdir()) == []


class Hostile:
    """Runs a command when unpickled carelessly."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('code was run')",))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("layout", "file"),
    [
        ("worldtune", "model.safetensors"),
        ("worldtune", "config.json"),
        ("nvidia", "model.pt"),
        ("nvidia", "mean_std.pt"),
        ("diffusers", "diffusion_pytorch_model.safetensors"),
        ("diffusers", "config.json"),
    ],
)
def test_truncated_and_absent_files_are_named(tmp_path: Path, layout: str, file: str) -> None:
    export(random_checkpoint(), tmp_path / "x", layout)
    path = tmp_path / "x" / file
    truncate(path)
    with pytest.raises(ValueError, match=file) as caught:
        read(tmp_path / "x")
    assert "\n" not in str(caught.value)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=file):
        read(tmp_path / "x")


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    torch.save(Hostile(), tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt: .* code .* nothing in it was run"):
        load(tmp_path)
    import pickle

    with zipfile.ZipFile(tmp_path / "autoencoder.jit", "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps(Hostile()))
    with pytest.raises(ValueError, match=r"autoencoder\.jit: .*exec, which is not a tensor"):
        load(tmp_path)


def test_truncated_archive(tmp_path: Path) -> None:
    torch.save(random_checkpoint().tensors, tmp_path / "autoencoder.jit")
    truncate(tmp_path / "autoencoder.jit")
    with pytest.raises(ValueError, match=r"autoencoder\.jit: not a readable TorchScript archive"):
        load(tmp_path)


def test_checkpoint_of_another_size(tmp_path: Path) -> None:
    export(random_checkpoint(), tmp_path / "x", "worldtune")
    other = random_checkpoint(replace(TOY, channels=6))
    save_file(other.tensors, tmp_path / "x" / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors: tensor .* has shape .* the configuration wants"):
        load(tmp_path / "x")
    fewer = dict(list(random_checkpoint().tensors.items())[:-3])
    save_file(fewer, tmp_path / "x" / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors: .*3 missing tensors"):
        load(tmp_path / "x")


def test_files_that_are_something_else(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file or folder"):
        load(tmp_path / "absent")
    with pytest.raises(ValueError, match="no tokenizer here"):
        load(tmp_path)
    save_file({"layer.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not a factorised Cosmos video tokenizer"):
        load(tmp_path / "other.safetensors")
    torch.save([torch.zeros(2)], tmp_path / "model.pt")
    with pytest.raises(ValueError, match="expected a dictionary of tensors, got list"):
        load(tmp_path / "model.pt")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match="ends in"):
        load(tmp_path / "notes.txt")


def test_own_configuration_with_a_missing_or_unknown_key(tmp_path: Path) -> None:
    export(random_checkpoint(), tmp_path / "x", "worldtune")
    path = tmp_path / "x" / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in values.items() if key != "tokenizer"}))
    with pytest.raises(ValueError, match=r"config\.json: no key 'tokenizer'"):
        load(tmp_path / "x")
    values["tokenizer"]["chanels"] = 3
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match="did you mean 'channels'"):
        load(tmp_path / "x")


def test_statistics_of_other_channels(tmp_path: Path) -> None:
    export(random_checkpoint(), tmp_path / "x", "nvidia")
    torch.save((torch.zeros(7), torch.ones(7)), tmp_path / "x" / "mean_std.pt")
    with pytest.raises(ValueError, match=r"mean_std\.pt: 7 values do not divide into 5"):
        load(tmp_path / "x")
    torch.save((torch.zeros(10), torch.zeros(10)), tmp_path / "x" / "mean_std.pt")
    with pytest.raises(ValueError, match=r"mean_std\.pt: .*positive"):
        load(tmp_path / "x")
