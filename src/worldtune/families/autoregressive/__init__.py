"""Autoregressive world models of the Cosmos-1 line: a transformer over video tokens, next-token objective."""

from torch import nn

from worldtune.families.autoregressive.blocks import MLP, Attention
from worldtune.families.autoregressive.objective import Objective, loss
from worldtune.families.autoregressive.sampler import Sampler, sample
from worldtune.families.autoregressive.weights import load_base

__all__ = ["CARRIERS", "Objective", "Sampler", "adapter_targets", "load_base", "loss", "sample", "wrap_units"]

CARRIERS = frozenset({"text", "frame", "dense"})


def wrap_units(model: nn.Module) -> list[nn.Module]:
    """The transformer blocks."""
    return list(model.get_submodule("blocks").children())


def adapter_targets(model: nn.Module) -> list[str]:
    """Queries, keys, values, outputs and MLP layers of every block."""
    return [
        f"{owner_name}.{name}"
        for owner_name, owner in model.named_modules()
        if isinstance(owner, (Attention, MLP))
        for name, layer in owner.named_children()
        if isinstance(layer, nn.Linear)
    ]
