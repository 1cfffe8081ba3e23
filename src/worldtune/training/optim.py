"""The optimizer, its parameter groups, the learning-rate schedule and gradient clipping."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from worldtune.training.muon import Muon, suits
from worldtune.training.parallel import full


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """How weights move."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    """muon moves hidden matrices by orthogonalised momentum, and the rest by AdamW: for pre-training."""
    lr: float = 1e-4
    """Learning rate after the warm-up."""
    weight_decay: float = 0.01
    """Decoupled decay of matrices; biases, norms and embeddings have none."""
    beta1: float = 0.9
    """Decay of the gradient's mean. 0..1."""
    beta2: float = 0.99
    """Decay of the gradient's square. 0..1."""
    momentum: float = 0.95
    """Decay of the gradient's mean in Muon's matrices. 0..1."""
    eps: float = 1e-8
    """Added to the root of the gradient's square."""
    clip_norm: float = 1.0
    """Largest global norm of the gradient; longer ones are scaled down. 0 turns clipping off."""
    schedule: Literal["constant", "cosine"] = "constant"
    """What follows the warm-up. The average (ema) stands in for a decay; only "constant" can be extended."""
    warmup_steps: int | None = None
    """Steps of linear warm-up. None: a tenth of the run, at most 100."""
    final_lr_ratio: float = 0.0
    """Where the cosine ends, as a share of lr. 0..1."""

    def __post_init__(self) -> None:
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise ValueError(f"optim.lr must be above 0, else nothing is learned; got {self.lr}")
        for name in ("weight_decay", "clip_norm"):
            if vars(self)[name] < 0:
                raise ValueError(f"optim.{name} must not be negative, got {vars(self)[name]}")
        for name in ("beta1", "beta2", "momentum"):
            if not 0 <= vars(self)[name] < 1:
                raise ValueError(f"optim.{name} must be in 0..1 (1 excluded), got {vars(self)[name]}")
        if self.eps <= 0:
            raise ValueError(f"optim.eps must be above 0, got {self.eps}")
        if self.warmup_steps is not None and self.warmup_steps < 0:
            raise ValueError(f"optim.warmup_steps must not be negative, got {self.warmup_steps}")
        if not 0 <= self.final_lr_ratio <= 1:
            raise ValueError(f"optim.final_lr_ratio must be in 0..1, got {self.final_lr_ratio}")


def warmup_steps(config: OptimConfig, num_steps: int) -> int:
    """Steps of warm-up in a run of that length. ValueError when it is longer than the run."""
    if config.warmup_steps is None:
        return min(100, num_steps // 10)
    if config.warmup_steps > num_steps:
        raise ValueError(
            f"the warm-up of {config.warmup_steps} steps is longer than the run of {num_steps} steps; "
            f"set optim.warmup_steps or loop.steps"
        )
    return config.warmup_steps


def learning_rate(config: OptimConfig, step: int, num_steps: int) -> float:
    """Learning rate of the step that follows `step` finished ones."""
    warmup = warmup_steps(config, num_steps)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    if config.schedule == "constant":
        return config.lr
    progress = (step - warmup) / (num_steps - warmup)
    ratio = config.final_lr_ratio
    return config.lr * (ratio + (1 - ratio) * 0.5 * (1 + math.cos(math.pi * progress)))


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that will be trained, by name. ValueError when there are none."""
    found = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not found:
        raise ValueError("nothing is trainable: every parameter is frozen; see adapter.train")
    return found


def decayed(model: nn.Module) -> set[str]:
    """Names of the parameters with weight decay: trainable matrices that are not embeddings."""
    embeddings = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag))
        for parameter in module.parameters()
    }
    return {name for name, p in trainable(model).items() if p.ndim >= 2 and id(p) not in embeddings}


def make_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.AdamW | Muon:
    """An optimizer whose state exists from the start, so that memory peaks at once and checkpoints have one shape."""
    parameters, with_decay = trainable(model), decayed(model)
    if config.optimizer == "adamw":
        return _adamw(parameters, with_decay, config)
    chosen = {name for name in with_decay if suits(parameters[name])}
    matrices = [parameter for name, parameter in parameters.items() if name in chosen]
    rest = {name: parameter for name, parameter in parameters.items() if name not in chosen}
    if not matrices or not rest:
        raise ValueError("optim.optimizer muon wants hidden matrices and other weights to train; take adamw")
    adamw = _adamw(rest, with_decay, config)
    return Muon(matrices, adamw, momentum=config.momentum, weight_decay=config.weight_decay)


def _adamw(parameters: Mapping[str, nn.Parameter], with_decay: set[str], config: OptimConfig) -> torch.optim.AdamW:
    groups = [
        {"params": [p for name, p in parameters.items() if name in with_decay], "weight_decay": config.weight_decay},
        {"params": [p for name, p in parameters.items() if name not in with_decay], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        fused=True,
    )
    for parameter in parameters.values():
        optimizer.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer | Muon, lr: float) -> None:
    """The same rate for every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def clip_gradients(parameters: Mapping[str, nn.Parameter], max_norm: float, step: int) -> float:
    """Scale gradients to a global norm of at most `max_norm` (0: leave them); return the norm before.

    Raises ValueError naming the step and a parameter when the norm is not finite: going on would only spoil
    the weights, and hiding it would spoil them slowly.
    """
    gradients = [parameter.grad for parameter in parameters.values() if parameter.grad is not None]
    if not gradients:
        raise ValueError("nothing is trained: the loss depends on no trainable parameter")
    norm = torch.nn.utils.get_total_norm(gradients)
    if not torch.isfinite(norm).item():
        raise ValueError(
            f"step {step}: the gradient of {_first_not_finite(parameters)} is not finite; "
            "the last checkpoint is intact; lower optim.lr, or look at the data of that step"
        )
    if max_norm > 0:
        torch.nn.utils.clip_grads_with_norm_(list(parameters.values()), max_norm, norm)
    return full(norm).item()


def _first_not_finite(parameters: Mapping[str, nn.Parameter]) -> str:
    for name, parameter in parameters.items():
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all().item():
            return name
    return "all parameters together"
