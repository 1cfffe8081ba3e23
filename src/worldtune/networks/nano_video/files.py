"""A nano autoencoder on disk: `config.json` and `model.safetensors`, weights in bfloat16."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from worldtune.contract.files import file_hash, read_json, write_json, write_whole
from worldtune.networks.nano_video.network import Autoencoder, NanoCodecConfig


def read(path: Path) -> tuple[Autoencoder, str]:
    """The autoencoder in a folder, float32, and its identity. ValueError naming the file that does not fit."""
    value = read_json(path / "config.json")
    try:
        config = NanoCodecConfig(**{**value, "levels": tuple(value.get("levels", ()))})
    except TypeError as error:
        raise ValueError(f"{path / 'config.json'}: not the configuration of a nano codec ({error})") from None
    weights = path / "model.safetensors"
    network = Autoencoder(config)
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in load_file(weights).items()}, strict=True)
    except (SafetensorError, FileNotFoundError, RuntimeError) as error:
        raise ValueError(f"{weights}: not the weights of this codec ({str(error).splitlines()[0]})") from None
    return network, file_hash(weights)


def write(network: Autoencoder, path: Path) -> None:
    """Write a folder that `read` reads."""
    write_json(path / "config.json", asdict(network.config))
    with write_whole(path / "model.safetensors") as temporary:
        tensors = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in network.state_dict().items()}
        save_file(tensors, temporary, {"config": json.dumps(asdict(network.config))})
