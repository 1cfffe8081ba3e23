"""Devices and processes: sharding, activation checkpointing and compilation, all by a family's units.

One process needs nothing of this. Under `torchrun` every process holds a shard of every tensor (`fully_shard`).
"""

import functools
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True, kw_only=True)
class ParallelConfig:
    """Trades of memory against time."""

    activation_checkpointing: bool = False
    """Recompute each unit in the backward pass instead of keeping its activations."""
    compile: bool = False
    """Compile each unit with torch.compile: a minute slower to start, faster per step. CPUs need a C++ compiler."""


@dataclass(frozen=True, kw_only=True)
class Processes:
    """This process among all that train together."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for all."""
        if self.size > 1:
            dist.barrier()

    def mean(self, values: Tensor) -> Tensor:
        """Mean of a tensor over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
            values /= self.size
        return values


@contextmanager
def processes() -> Iterator[Processes]:
    """Join the other processes when `torchrun` started us, else be alone; on the GPU when there is one."""
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if size == 1:
        yield Processes(device=device)
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(rank=rank, size=size, device=device)
    finally:
        dist.destroy_process_group()


def wrap(
    model: nn.Module, units: Sequence[nn.Module], config: ParallelConfig, where: Processes, *, entry: str, bf16: bool
) -> None:
    """Move the model to its device and prepare its units, in place; names of parameters stay.

    `entry` is the method of the model through which the loss is computed. Optimizers must be made afterwards.
    ValueError when something is to be compiled for a CPU and there is no C++ compiler.
    """
    if config.compile and where.device.type == "cpu":
        _require_compiler()
    for unit in units:
        if config.activation_checkpointing:
            unit.forward = functools.partial(checkpoint, unit.forward, use_reentrant=False)  # type: ignore[method-assign]
        if config.compile:
            unit.compile()
    if where.size == 1:
        model.to(where.device)
        return
    mesh = init_device_mesh(where.device.type, (where.size,))
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16 if bf16 else None, reduce_dtype=torch.float32)
    for module in [*units, model]:
        fully_shard(module, mesh=mesh, mp_policy=policy)
    register_fsdp_forward_method(model, entry)


def _require_compiler() -> None:
    """Torch finds out in the middle of the first step, in many lines."""
    name = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(name) is None:
        raise ValueError(
            f"parallel.compile: a network is compiled for this CPU by {name}, which is not installed: install it, "
            "name another C++ compiler in CXX, or leave parallel.compile false"
        )


def communicate_gradients(model: nn.Module, now: bool) -> None:
    """Whether the next backward pass averages gradients over processes: only the last of an accumulation needs to."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(now)


def local(tensor: Tensor) -> Tensor:
    """The shard of this process."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def full(tensor: Tensor) -> Tensor:
    """The whole of a tensor that may be sharded. Every process must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
