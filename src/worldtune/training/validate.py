"""Loss on held-out clips, with every control true and with each one taken from another clip."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from worldtune.contract.nouns import Batch
from worldtune.contract.randomness import generator
from worldtune.training.batches import with_foreign
from worldtune.training.parallel import Processes
from worldtune.training.precision import autocast
from worldtune.training.state import TrainState


def validation_losses(
    state: TrainState,
    batches: Iterable[Batch],
    loss_fn: Callable[[Batch, torch.Generator], tuple[Tensor, dict[str, Tensor]]],
    *,
    controls: Sequence[str],
    precision: str,
    seed: int,
    where: Processes,
) -> dict[str, float]:
    """Mean loss over the batches: "loss", and "loss_with_foreign_<control>" where a control comes from another clip.

    Noise is the same at every validation and for every control, so curves and gaps show the model alone. The gap
    between the two is how much the model uses the control.
    """
    state.model.eval()
    losses: dict[str, list[float]] = {}
    sizes: dict[str, list[int]] = {}
    with torch.no_grad():
        for number, batch in enumerate(batches):
            variants = {"loss": batch}
            if batch.size > 1:
                variants |= {f"loss_with_foreign_{name}": with_foreign(batch, name) for name in controls}
            for name, variant in variants.items():
                # Around the loss alone: batches are made on the way, and on a CPU autocast stacks no float16.
                with autocast(precision, where.device):
                    loss, _ = loss_fn(variant.to(where.device), generator(seed, number, f"validation/{where.rank}"))
                losses.setdefault(name, []).append(loss.item() * batch.size)
                sizes.setdefault(name, []).append(batch.size)
    state.model.train()
    means = torch.tensor([sum(losses[name]) / sum(sizes[name]) for name in losses], device=where.device)
    return dict(zip(losses, where.mean(means).tolist(), strict=True))
