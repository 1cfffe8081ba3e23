"""Blocks that `parallel.compile` compiles are the blocks that were not. Needs a C++ compiler."""

import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.autoregressive import toy as transformer
from tests.diffusion import toy as dit

pytestmark = pytest.mark.skipif("WORLDTUNE_SLOW" not in os.environ, reason="compiles; set WORLDTUNE_SLOW=1 to run it")


Made = tuple[nn.Module, nn.Module, Callable[[], Tensor]]
"""A network, its first block, and what computes its output."""


def of_transformer() -> Made:
    network = transformer.model(transformer.TOY_TEXT, transformer.ALL)
    ids, given = transformer.tokens(), transformer.carriers(transformer.ALL)
    layout = network.layout(*ids.shape[1:])
    return network, network.blocks[0], lambda: network(layout.to_sequence(ids), network.guide(layout, **given))


def of_dit() -> Made:
    network = dit.network(dit.TOY_VIDEO)
    given = dit.inputs(dit.TOY_VIDEO)
    return network, network.blocks[0], lambda: network(**given)


@pytest.mark.parametrize("made", [of_transformer, of_dit])
def test_same_output_and_gradients(made: Callable[[], Made]) -> None:
    results = []
    for compiled in (False, True):
        network, first, output = made()
        if compiled:
            first.compile()
        out = output()
        out.square().mean().backward()
        results.append((out.detach(), {name: p.grad for name, p in network.named_parameters() if p.grad is not None}))
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)
