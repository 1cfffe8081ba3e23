"""Everything that a resumed run needs, as one tree of tensors."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worldtune.training.adapters import merged
from worldtune.training.ema import Ema, EmaConfig
from worldtune.training.muon import Muon
from worldtune.training.optim import OptimConfig, make_optimizer, trainable
from worldtune.training.parallel import full


@dataclass(kw_only=True)
class TrainState:
    """Model, optimizer and average after `step` steps. There is no other state: data and noise follow the step."""

    model: nn.Module
    optimizer: torch.optim.Optimizer | Muon
    ema: Ema
    parameters: dict[str, nn.Parameter]
    """The trained ones, by name."""
    step: int = 0
    """Optimizer steps that are finished."""

    @staticmethod
    def fresh(model: nn.Module, optim: OptimConfig, ema: EmaConfig) -> "TrainState":
        """State before the first step. ValueError when nothing is trainable."""
        parameters = trainable(model)
        for parameter in parameters.values():
            parameter.data = parameter.data.float()
        return TrainState(
            model=model, optimizer=make_optimizer(model, optim), ema=Ema(parameters, ema), parameters=parameters
        )

    def tree(self) -> dict[str, Tensor]:
        """Tensors by name; those of model, average and optimizer share memory with them, so loading in place works.

        Frozen weights are not in it: they are the base's.
        """
        names = {id(parameter): name for name, parameter in self.parameters.items()}
        tree = {"step": torch.tensor([self.step])}
        tree |= {f"model/{name}": parameter.detach() for name, parameter in self.parameters.items()}
        tree |= {f"model/{name}": buffer for name, buffer in self._persistent_buffers().items()}
        tree |= {f"ema/{name}": average for name, average in self.ema.average.items()}
        for parameter, values in self.optimizer.state.items():
            for kind, value in values.items():
                tree[f"optimizer/{kind}/{names[id(parameter)]}"] = value.view(1) if value.ndim == 0 else value
        return tree

    def _persistent_buffers(self) -> dict[str, Tensor]:
        kept = self.model.state_dict(keep_vars=True)
        return {name: buffer for name, buffer in self.model.named_buffers() if name in kept}

    def weights(self) -> dict[str, Tensor]:
        """The whole model on the CPU, adapters merged. Every process must call it."""
        return merged(self.model, {name: full(value).cpu() for name, value in self.model.state_dict().items()})

    def averaged_weights(self) -> dict[str, Tensor]:
        """The same with the moving average in place of the trained weights."""
        with self.ema.applied():
            return {name: value.clone() for name, value in self.weights().items()}
