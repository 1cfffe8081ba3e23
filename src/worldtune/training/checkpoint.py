"""Checkpoints: whole folders that appear at once, checked by hash, readable by any number of processes.

Written by torch's distributed checkpointing as safetensors shards, so that nothing is ever unpickled. A folder
`step_00000050` holds the shards and `checkpoint.json` (step, validation loss, size and hash of every file).
"""

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException

from worldtune.contract.files import file_hash, read_json, write_json
from worldtune.training.parallel import Processes
from worldtune.training.state import TrainState

MANIFEST = "checkpoint.json"
BYTES_PER_FILE = 2 << 30
"""Tensors are gathered in memory until a file is full."""


def all_steps(folder: Path) -> dict[int, Path]:
    """Checkpoints of a folder by step, oldest first."""
    return {int(path.name.removeprefix("step_")): path for path in sorted(folder.glob("step_*")) if path.is_dir()}


def latest(folder: Path) -> Path | None:
    """The newest checkpoint, if there is one."""
    found = all_steps(folder)
    return found[max(found)] if found else None


def save(folder: Path, state: TrainState, *, where: Processes, validation_loss: float | None, keep: int) -> Path:
    """Write a checkpoint of the state and drop old ones. Every process must call it.

    Raises ValueError when it cannot be written, e.g. on a full disk; earlier checkpoints are then untouched.
    """
    path = folder / f"step_{state.step:08d}"
    temporary = folder / f".{path.name}.tmp"
    try:
        _write(temporary, state, where, validation_loss)
    except (OSError, CheckpointException, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise ValueError(f"{path}: checkpoint could not be written ({_reason(error)}); {_intact(folder)}") from None
    if where.is_first:
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)
        _drop_old(folder, keep)
    where.barrier()
    return path


def _write(temporary: Path, state: TrainState, where: Processes, validation_loss: float | None) -> None:
    if where.is_first:
        for leftover in temporary.parent.glob(".step_*"):
            shutil.rmtree(leftover)
        temporary.mkdir(parents=True)
    where.barrier()
    tree = state.tree()
    writer = HuggingFaceStorageWriter(str(temporary), fqn_to_index_mapping=_files_of(tree), save_distributed=True)
    with _alone_is_fine():
        dcp.save(tree, storage_writer=writer, no_dist=where.size == 1)
    where.barrier()
    if where.is_first:
        files = {
            file.name: {"bytes": file.stat().st_size, "sha256": file_hash(file)}
            for file in sorted(temporary.glob("*.safetensors"))
        }
        write_json(temporary / MANIFEST, {"step": state.step, "validation_loss": validation_loss, "files": files})


def _files_of(tree: dict[str, Tensor]) -> dict[str, int]:
    """Number of the file, from 1, that each tensor goes to."""
    numbers, filled, number = {}, 0, 1
    for name, tensor in tree.items():
        if filled and filled + tensor.nbytes > BYTES_PER_FILE:
            number, filled = number + 1, 0
        numbers[name], filled = number, filled + tensor.nbytes
    return numbers


def _drop_old(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep` and the best by validation loss."""
    steps = all_steps(folder)
    losses = {step: read_json(path / MANIFEST)["validation_loss"] for step, path in steps.items()}
    kept = set(sorted(steps)[-keep:])
    if measured := {step: loss for step, loss in losses.items() if loss is not None}:
        kept.add(min(measured, key=lambda step: measured[step]))
    for step, path in steps.items():
        if step not in kept:
            # Renamed first: a kill in the middle of deleting leaves no half checkpoint under a valid name.
            doomed = path.rename(path.with_name(f".{path.name}.old"))
            shutil.rmtree(doomed)


def load(path: Path, state: TrainState, *, where: Processes) -> TrainState:
    """Fill the state, in place. Every process must call it.

    Raises ValueError naming file and reason when the checkpoint is truncated, corrupt or of another model.
    """
    if where.is_first:
        _require_intact(path)
    where.barrier()
    tree = state.tree()
    reader = HuggingFaceStorageReader(str(path))
    _require_fitting(path, tree, reader)
    with _alone_is_fine():
        dcp.load(tree, storage_reader=reader, no_dist=where.size == 1)
    state.step = int(tree["step"].item())
    return state


def _require_intact(path: Path) -> None:
    files = read_json(path / MANIFEST)["files"]
    advice = f"delete {path} to continue from the checkpoint before it"
    for name, wanted in files.items():
        file = path / name
        if not file.exists():
            raise ValueError(f"{file}: missing from the checkpoint; {advice}")
        if file.stat().st_size != wanted["bytes"]:
            raise ValueError(
                f"{file}: truncated checkpoint, {file.stat().st_size} bytes of {wanted['bytes']}; {advice}"
            )
        if file_hash(file) != wanted["sha256"]:
            raise ValueError(f"{file}: corrupt checkpoint, its hash is not the one noted when it was written; {advice}")


def _require_fitting(path: Path, tree: dict[str, Tensor], reader: HuggingFaceStorageReader) -> None:
    stored = reader.read_metadata().state_dict_metadata
    for what, names in (("lacks", tree.keys() - stored.keys()), ("has an unknown", stored.keys() - tree.keys())):
        if names:
            raise ValueError(f"{path}: checkpoint of another model: it {what} {min(names)} ({len(names)} such tensors)")
    for name, tensor in tree.items():
        size = getattr(stored[name], "size", None)
        if size != tensor.shape:
            raise ValueError(
                f"{path}: checkpoint of another size: {name} is {list(size or [])} there, "
                f"{list(tensor.shape)} in the model"
            )


def _reason(error: BaseException) -> str:
    """The innermost failure in one line; distributed checkpointing wraps what went wrong."""
    if isinstance(error, CheckpointException):
        return "; ".join(_reason(wrapped[0]) for wrapped in error.failures.values())
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _intact(folder: Path) -> str:
    path = latest(folder)
    return f"{path} is intact" if path else "there is no earlier one"


@contextmanager
def _alone_is_fine() -> Iterator[None]:
    """Torch warns that a single process saves alone, which is what we mean."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield
