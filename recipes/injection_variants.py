"""Ways in which a control can reach a network, for `recipes.injections`: what is shipped, its parts, and others.

A variant never changes the product: it gives what a control says to another carrier, or replaces injection modules of
a model that is built already. All start with zero output.

Shape legend: B batch, V views, T latent frames, C channels, L text rows, D width; x has the axes of a block's input.
"""

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldtune.contract import rooms
from worldtune.contract.cache import Cache
from worldtune.contract.condition import Condition, Widths
from worldtune.run import Run
from worldtune.stages.base import find_base
from worldtune.stages.world import WorldModel, assemble, fit_controls

GAIN = 8.0
"""As in the families' own injections."""
HIDDEN, EMBEDDING, TOKENS, FIRST = "hidden", "embedding", "tokens", "first"
SHIPPED = "as shipped"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way of injection. The default is the shipped one."""

    way: str
    """In words, for the table."""
    carrier: str = "frame"
    """"text" or "dense": what the control says on its frame carrier goes there instead."""
    part: str = ""
    """Keep one part of the frame injection only: HIDDEN, the MLP without the numbers as they are; of the diffusion
    family's also EMBEDDING (with AdaLN-LoRA) or TOKENS, of the autoregressive's FIRST block."""
    every_block: str = ""
    """Injection module of the network that is repeated, with weights of its own, before every block."""
    settings: tuple[str, ...] = ()
    """Settings of the run, as "a.b=c"."""


RAYS, MOTION = ("control.camera.inject=rays",), ("control.camera.inject=vector",)
VARIANTS: dict[tuple[str, str], dict[str, Variant]] = {
    ("action", "diffusion"): {
        SHIPPED: Variant(way="MLP beside a linear layer, to timestep embedding, AdaLN-LoRA and tokens"),
        "MLP": Variant(way="the MLP alone", part=HIDDEN),
        "timestep embedding": Variant(way="as shipped, to timestep embedding and AdaLN-LoRA alone", part=EMBEDDING),
        "tokens": Variant(way="as shipped, to the tokens of the frame alone", part=TOKENS),
        "cross-attention": Variant(way="MLP to a text row for each latent frame", carrier="text"),
        "channels": Variant(way="further input channels, the same in all cells of a frame", carrier="dense"),
        "channels, every block": Variant(
            way="linear layer of the same channels before every block", carrier="dense", every_block="dense_injection"
        ),
    },
    ("action", "autoregressive"): {
        SHIPPED: Variant(way="MLP beside a linear layer, added before every block to the rows that predict the frame"),
        "MLP": Variant(way="the MLP alone", part=HIDDEN),
        "first block": Variant(way="as shipped, before the first block alone", part=FIRST),
        "cross-attention": Variant(way="MLP to a text row for each latent frame", carrier="text"),
        "channels": Variant(way="linear layer, added at the predicting rows", carrier="dense"),
        "channels, every block": Variant(
            way="such a linear layer before every block", carrier="dense", every_block="dense_injection"
        ),
    },
    ("camera", "diffusion"): {
        SHIPPED: Variant(way="rays as input channels, and motion as an action's"),
        "rays": Variant(way="rays as input channels alone", settings=RAYS),
        "rays, every block": Variant(
            way="linear layer of the rays before every block", settings=RAYS, every_block="dense_injection"
        ),
        "motion": Variant(way="motion alone: timestep embedding, AdaLN-LoRA, tokens", settings=MOTION),
        "rays, every block, and motion": Variant(way="both of the last two", every_block="dense_injection"),
    },
    ("camera", "autoregressive"): {
        SHIPPED: Variant(way="rays by a linear layer and motion by an MLP, added at the predicting rows"),
        "rays": Variant(way="rays alone", settings=RAYS),
        "rays, every block": Variant(
            way="rays alone, a linear layer before every block", settings=RAYS, every_block="dense_injection"
        ),
        "motion": Variant(way="motion alone", settings=MOTION),
        "rays, every block, and motion": Variant(way="both of the last two", every_block="dense_injection"),
    },
}
"""(task, family) -> name -> variant."""


class OnText(nn.Module):
    """A control whose vector per latent frame becomes a text row per latent frame, which is told its frame."""

    def __init__(self, control: nn.Module, num_frames: int, text_channels: int) -> None:
        super().__init__()
        self.control = control
        self.hidden = nn.Linear(control.widths.frame + num_frames, text_channels)
        self.out = nn.Linear(text_channels, text_channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.widths = Widths(text=text_channels)

    def forward(self, arrays: dict[str, Tensor], keep_B: Tensor) -> Condition:
        """Text [B,V,T,C]; zero rows at the start, which every base takes as no text."""
        frame_BVTC = self.control(arrays, keep_B).frame_BVTD
        place_TT = torch.eye(frame_BVTC.shape[2], device=frame_BVTC.device)
        told_BVTC = torch.cat([frame_BVTC, place_TT.expand(*frame_BVTC.shape[:2], -1, -1)], -1)
        return Condition(text_BVLD=GAIN * self.out(F.gelu(self.hidden(told_BVTC))))


class OnDense(nn.Module):
    """A control whose vector per latent frame becomes a map that is the same in all cells of the frame."""

    def __init__(self, control: nn.Module) -> None:
        super().__init__()
        self.control = control
        self.widths = Widths(dense=control.widths.frame)

    def forward(self, arrays: dict[str, Tensor], keep_B: Tensor) -> Condition:
        """Dense [B,V,T,1,1,C]."""
        return Condition(dense_BVTHWC=self.control(arrays, keep_B).frame_BVTD[:, :, :, None, None])


class FirstColumns(nn.Module):
    """A linear layer, zero at the start, that reads only the first columns of what it is given."""

    def __init__(self, columns: int, width: int) -> None:
        super().__init__()
        self.linear, self.columns = nn.Linear(columns, width), columns
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[...,C] -> [...,D]."""
        return self.linear(x[..., : self.columns])


class PartOf(nn.Module):
    """One part of the diffusion family's frame injection; the others are zero."""

    def __init__(self, injection: nn.Module, part: str) -> None:
        super().__init__()
        self.injection, self.part = injection, part

    def forward(self, frame_BFK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As the whole one's."""
        embedding_BFD, lora_BFK, token_BF1D = self.injection(frame_BFK)
        if self.part == EMBEDDING:
            return embedding_BFD, lora_BFK, torch.zeros_like(token_BF1D)
        return torch.zeros_like(embedding_BFD), torch.zeros_like(lora_BFK), token_BF1D


class FirstBlock(nn.Module):
    """The autoregressive family's frame injection before the first block; zero before the others."""

    def __init__(self, injection: nn.Module) -> None:
        super().__init__()
        self.injection = injection

    def forward(self, frame_BVTC: Tensor) -> Tensor:
        """As the whole one's, [P,B,F+1,D]."""
        told_PBFD = self.injection(frame_BVTC)
        return torch.cat([told_PBFD[:1], torch.zeros_like(told_PBFD[1:])])


class EveryBlock(nn.Module):
    """An injection for each block. The first enters where it did; the others wait for their blocks to fetch them."""

    def __init__(self, injection: nn.Module, num_blocks: int) -> None:
        super().__init__()
        self.injections = nn.ModuleList([injection, *(copy.deepcopy(injection) for _ in range(num_blocks - 1))])
        for further in self.injections[1:]:
            further.reset_parameters()
        self.coming: list[Tensor] = []

    def forward(self, said: Tensor, *layout: object) -> Tensor:
        """What the first block is given. `layout`: of a sequence, whose rows are told of the cell they predict."""
        first, *others = (injection(said, *layout) for injection in self.injections)
        self.coming = [layout[0].at_predictors(other) if layout else other for other in others]
        return first

    def of_block(self, index: int) -> Tensor:
        """What the block of this index, from 1 on, is given."""
        return self.coming[index - 1]


class Told(nn.Module):
    """A block whose input is added to before."""

    def __init__(self, block: nn.Module, said: Callable[[], Tensor]) -> None:
        super().__init__()
        self.block, self.said = block, said

    def forward(self, x: Tensor, *others: object) -> Tensor:
        """Same shape as x, which may lack the last row of a sequence."""
        return self.block(x + self.said()[:, : x.shape[1]].to(x.dtype), *others)


def built(run: Run, cache: Cache, variant: Variant, control: str) -> WorldModel:
    """The base, grown for the run's controls, with one of them injected in this way. Fitted to the training clips."""
    world, _ = assemble(run, cache)
    fit_controls(world, cache)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if variant.carrier != "frame":
            world = _on_carrier(world, cache, variant.carrier, control)
        net = getattr(world.network, "net", world.network)
        if variant.part == HIDDEN:
            told = net.frame_injection
            told.out = FirstColumns(told.hidden.out_features, told.out.out_features)
        elif variant.part == FIRST:
            net.frame_injection = FirstBlock(net.frame_injection)
        elif variant.part:
            net.frame_injection = PartOf(net.frame_injection, variant.part)
        if variant.every_block:
            repeated = EveryBlock(getattr(net, variant.every_block), len(net.blocks))
            setattr(net, variant.every_block, repeated)
            for index in range(1, len(net.blocks)):
                net.blocks[index] = Told(net.blocks[index], functools.partial(repeated.of_block, index))
    return world


def _on_carrier(world: WorldModel, cache: Cache, carrier: str, control: str) -> WorldModel:
    """The same with a control's frame vector on another carrier, and a network built for that."""
    run, controls = world.run, dict(world.controls)
    text_channels = cache.header.arrays["text/tokens"][-1]
    if carrier == "text":
        controls[control] = OnText(controls[control], cache.header.grid.frames, text_channels)
    else:
        controls[control] = OnDense(controls[control])
    widths = sum((encoder.widths for encoder in controls.values()), start=Widths(text=text_channels))
    base = find_base(run.base, run.codec_path, run.text_encoder_path)
    family = rooms.load("families", base.family)
    network, _ = family.load_base(base.network, widths)
    return WorldModel(run=run, family=family, network=network, controls=controls)
