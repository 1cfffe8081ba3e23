"""A comparison is fair only between equal models: the same loss and the same gradients from the same weights."""

import torch
from torch import Tensor, nn

from benchmarks.contenders import Contender
from worldtune.families.diffusion.naming import diffusers_from_ours

LIMIT = 1e-5
"""Largest relative difference of the loss, and of all gradients together, between two fp32 implementations."""
TENSOR_LIMIT = 1e-4
"""Of one tensor's gradient: small ones are sums that nearly cancel."""


def check(found: list[Contender]) -> float:
    """Compare every contender with the first, step 0, fp32; the largest relative difference. ValueError above LIMIT."""
    (wanted_loss, wanted), *others = [_gradients(contender) for contender in found]
    worst = 0.0
    for contender, (loss, gradients) in zip(found[1:], others, strict=True):
        assert gradients.keys() == wanted.keys(), sorted(gradients.keys() ^ wanted.keys())[:4]
        names = list(wanted)
        together = _distance(_long([gradients[name] for name in names]), _long([wanted[name] for name in names]))
        for name in names:
            if (distance := _distance(gradients[name], wanted[name])) > TENSOR_LIMIT:
                raise ValueError(f"{contender.name} is another model: the gradient of {name} differs by {distance:.1e}")
        worst = max(worst, together, abs(loss - wanted_loss) / abs(wanted_loss))
        if worst > LIMIT:
            raise ValueError(f"{contender.name} is another model: it differs by {worst:.1e}, more than {LIMIT:.0e}")
    return worst


def _gradients(contender: Contender) -> tuple[float, dict[str, Tensor]]:
    loss = contender.loss(0)
    loss.backward()
    gradients = {
        _shared_name(contender.model, name): parameter.grad
        for name, parameter in contender.model.named_parameters()
        if parameter.grad is not None
    }
    contender.optimizer.zero_grad(set_to_none=True)
    return loss.item(), gradients


def _shared_name(model: nn.Module, name: str) -> str:
    """diffusers' name of a parameter, adapters included."""
    if not name.startswith("net."):
        return name
    layer, _, adapter = name.partition(".lora_")
    plain = diffusers_from_ours(f"{layer}.weight" if adapter else name.replace(".base_layer.", "."))
    assert plain is not None, name
    return f"{plain.removesuffix('.weight')}.lora_{adapter}" if adapter else plain


def _long(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def _distance(one: Tensor, other: Tensor) -> float:
    """Norm of the difference relative to the norm."""
    return ((one - other).norm() / other.norm().clamp_min(1e-30)).item()
