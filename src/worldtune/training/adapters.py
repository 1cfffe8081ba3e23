"""What is trained: everything, low-rank adapters, or only what carries the controls."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from worldtune.contract.randomness import derived_seed

ADAPTER = "default"
"""PEFT's name for an adapter that has none."""


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """What is trained."""

    train: Literal["all", "lora", "condition"] = "all"
    """all: every weight. lora: low-rank adapters and the layers of the controls. condition: only the latter."""
    rank: int = 8
    """Rank of the adapters."""
    alpha: float = 8.0
    """The adapters' output is scaled by alpha / rank."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"adapter.rank must be at least 1, got {self.rank}")
        if self.alpha <= 0:
            raise ValueError(f"adapter.alpha must be above 0, got {self.alpha}")


def adapt(
    model: nn.Module, config: AdapterConfig, *, targets: Sequence[str], condition: Sequence[str], seed: int
) -> None:
    """Insert adapters and freeze what is not trained, in place. The model's output does not change.

    `targets` are names of linear layers in `model`, `condition` names of parameters that carry controls and train
    in every mode. Raises ValueError when nothing is left to train, or LoRA has no target.
    """
    parameters = dict(model.named_parameters())
    if unknown := sorted(set(condition) - parameters.keys()):
        raise ValueError(f"no parameter {unknown[0]!r} to train")
    carriers = [parameters[name] for name in condition]
    if config.train == "all":
        return
    if config.train == "condition" and not carriers:
        raise ValueError("adapter.train=condition: nothing is trainable, since no control of this task adds weights")
    model.requires_grad_(False)
    if config.train == "lora":
        _insert(model, config, targets, seed)
    for parameter in carriers:
        parameter.requires_grad_(True)


def _insert(model: nn.Module, config: AdapterConfig, targets: Sequence[str], seed: int) -> None:
    peft = _peft()
    if not targets:
        raise ValueError("adapter.train=lora: the family names no layer to adapt")
    layers = dict(model.named_modules())
    if missing := [name for name in targets if name not in layers]:
        raise ValueError(f"adapter.train=lora: the model has no layer {missing[0]!r}")
    settings = peft.LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=list(targets))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, 0, "lora"))
        peft.inject_adapter_in_model(settings, model)


def _peft() -> Any:
    try:
        import peft
    except ImportError:
        raise ValueError("adapter.train=lora needs `pip install -e '.[lora]'` in WorldTune's checkout") from None
    return peft


def merged(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`state` (of `model`, whole tensors) under the names of the model without adapters, their products added."""
    plain = {name.replace(".base_layer.", "."): value for name, value in state.items() if ".lora_" not in name}
    for name, layer in model.named_modules():
        if hasattr(layer, "lora_A"):
            low, high = state[f"{name}.lora_A.{ADAPTER}.weight"], state[f"{name}.lora_B.{ADAPTER}.weight"]
            weight = plain[f"{name}.weight"]
            plain[f"{name}.weight"] = weight + (layer.scaling[ADAPTER] * (high @ low)).to(weight.dtype)
    return plain
