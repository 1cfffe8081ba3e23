"""Find a base: a shipped nano name, a local file or folder, or a hub id; and what belongs to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from worldtune import text
from worldtune.contract import rooms
from worldtune.contract.errors import suggest
from worldtune.contract.files import read_json
from worldtune.contract.protocols import Codec, TextEncoder


@dataclass(frozen=True, kw_only=True)
class Base:
    """A pre-trained world model with the codec and text encoder it was trained on."""

    name: str
    """As the user gave it."""
    family: str
    """Room in families/."""
    network: Path
    """Checkpoint file or folder."""
    codec_room: str
    codec_path: Path
    text_path: Path
    window: dict[str, Any]
    """Defaults for cutting clips: num_frames, fps_hz, height_px, width_px."""
    decoder_path: Path | None = None
    """Folder of the diffusion decoder of its tokens, where it has one (`stages.decoder`)."""
    settings: tuple[str, ...] = ()
    """Settings that suit this base, as "a.b=c"; the user's own come after."""
    task_settings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By task, what suits post-training for it besides. New paths start at zero and have little time to grow: with the
    settings of pre-training, the same steps bring a third of the obedience (nano/README.md says why each is there)."""

    def codec(self) -> Codec:
        """Load the codec. ValueError when it is not of the kind that the family models."""
        codec: Codec = rooms.load("codecs", self.codec_room).load(self.codec_path)
        wanted, got = (_kind(tokens) for tokens in (self._models_tokens, codec.num_codes is not None))
        if got != wanted:
            raise ValueError(f"{self.codec_path}: a {got} codec, but the {self.family} family models a {wanted} one's")
        return codec

    @property
    def _models_tokens(self) -> bool:
        models_tokens: bool = rooms.load("families", self.family).MODELS_TOKENS
        return models_tokens

    def text_encoder(self) -> TextEncoder:
        """Load the text encoder."""
        return text.load(self.text_path)


def shipped() -> dict[str, Path]:
    """Bases inside the package, by name."""
    root = Path(str(files("worldtune"))) / "bases"
    return {path.parent.name: path.parent for path in sorted(root.glob("*/base.json"))}


def find_base(name: str, codec: Path | None = None, text_encoder: Path | None = None) -> Base:
    """Resolve `--base`. ValueError naming what was looked for when nothing fits.

    `codec` and `text_encoder` say where those are when the base does not bring them (an NVIDIA `model.pt` alone).
    """
    path = shipped().get(name, Path(name))
    if path.is_dir() and (path / "base.json").exists():
        for option, value in (("--codec", codec), ("--text-encoder", text_encoder)):
            if value is not None:
                raise ValueError(f"{option} {value}: the base {name} brings its own; leave the option out")
        return _described(name, path)
    if path.exists():
        return _cosmos(name, path, codec, text_encoder)
    if path.suffix in {".pt", ".safetensors"} or name.startswith((".", "/", "~")):
        raise ValueError(f"--base {name}: no such file or folder")
    if name.count("/") == 1:
        return _cosmos(name, _from_hub(name), codec, text_encoder)
    raise ValueError(f"--base {name}: not a shipped base, a file, a folder or a hub id; {suggest(name, shipped())}")


def _described(name: str, folder: Path) -> Base:
    value = read_json(folder / "base.json")
    return Base(
        name=name,
        family=value["family"],
        network=folder / value["network"],
        codec_room=value["codec"]["room"],
        codec_path=folder / value["codec"]["path"],
        text_path=folder / value["text"],
        window=value["window"],
        decoder_path=folder / value["decoder"] if "decoder" in value else None,
        settings=tuple(value["settings"]),
        task_settings={task: tuple(words) for task, words in value.get("tasks", {}).items()},
    )


def _cosmos(name: str, path: Path, codec: Path | None, text_encoder: Path | None) -> Base:
    """NVIDIA's file or folder, or a diffusers folder; what it holds tells its family."""
    network = path / "model.pt" if (path / "model.pt").exists() else path
    codec = codec or (path / "vae" if (path / "vae").is_dir() else None)
    text_encoder = text_encoder or (path if (path / "text_encoder").is_dir() else None)
    for option, value in (("--codec", codec), ("--text-encoder", text_encoder)):
        if value is None:
            raise ValueError(f"--base {name}: brings weights of the network only; say where the rest is with {option}")
    assert codec is not None
    assert text_encoder is not None
    family = _family_of(name, network)
    room = rooms.load("families", family)
    return Base(
        name=name,
        family=family,
        network=network,
        codec_room=_codec_room(codec, room.MODELS_TOKENS),
        codec_path=codec,
        text_path=text_encoder,
        window=room.WINDOW,
    )


def _family_of(name: str, network: Path) -> str:
    """The family whose network a checkpoint holds."""
    families = rooms.names("families")
    found = next((family for family in families if rooms.load("families", family).recognises(network)), None)
    if found is None:
        raise ValueError(f"--base {name}: {network} holds no network of the families {', '.join(families)}")
    return found


def _codec_room(path: Path, models_tokens: bool) -> str:
    """Nano codecs tell themselves by their configuration; everything else is a tokenizer of NVIDIA's."""
    described = path / "config.json"
    config = read_json(described) if described.exists() else {}
    if "fine_channels" in config:
        return "nano_tokens" if config.get("levels") else "nano_video"
    return "discrete_video" if models_tokens else "continuous_video"


def _kind(models_tokens: bool) -> str:
    return "discrete" if models_tokens else "continuous"


def _from_hub(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise ValueError(f"--base {name}: a hub id needs `pip install -e '.[hub]'` in WorldTune's checkout") from None
    try:
        return Path(snapshot_download(name))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--base {name}: not a local path, and the hub does not give it ({reason})") from None
