"""The network: causality, where controls enter, views, cached decoding."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.autoregressive.toy import ALL, TOY, TOY_TEXT, carriers, model, tokens
from worldtune.contract.condition import Widths
from worldtune.families import autoregressive
from worldtune.families.autoregressive.config import NetworkConfig
from worldtune.families.autoregressive.decode_step import DecodeStep
from worldtune.families.autoregressive.network import VideoTransformer
from worldtune.families.autoregressive.objective import with_begin
from worldtune.training.adapters import AdapterConfig, adapt

CELLS = 12
"""Cells of one latent frame and view of the toy."""
NO_BEGIN = replace(TOY_TEXT, begin_token=False)


def logits(network: VideoTransformer, ids_BVTHW: Tensor, given: dict[str, Tensor]) -> Tensor:
    """[B, S, X] of a whole clip."""
    layout = network.layout(*ids_BVTHW.shape[1:])
    with torch.no_grad():
        return network(with_begin(network, layout.to_sequence(ids_BVTHW), layout), network.guide(layout, **given))


def first_change(before: Tensor, after: Tensor) -> int:
    """First row at which two outputs differ."""
    return int((before - after).abs().amax((0, 2)).gt(1e-6).nonzero()[0])


@pytest.mark.parametrize("config", [TOY_TEXT, NO_BEGIN], ids=["begin", "no begin"])
@pytest.mark.parametrize("views", [1, 2])
def test_a_control_enters_where_its_cell_is_predicted(config: NetworkConfig, views: int) -> None:
    """A control of a cell changes the row that predicts the cell, and none before. Off by one fails here."""
    network, ids, given = model(config, ALL), tokens(views), carriers(ALL, views)
    before = logits(network, ids, given)
    for frame in (1, 2):
        moved = {**given, "frame_BVTC": given["frame_BVTC"].clone()}
        moved["frame_BVTC"][:, -1, frame] += 1
        first_cell = frame * views * CELLS + (views - 1) * CELLS
        assert first_change(before, logits(network, ids, moved)) == first_cell - 1 + int(config.begin_token)
    moved = {**given, "dense_BVTHWC": given["dense_BVTHWC"].clone()}
    moved["dense_BVTHWC"][:, -1, 1, 2, 1] += 1
    cell = views * CELLS + (views - 1) * CELLS + 2 * 4 + 1
    assert first_change(before, logits(network, ids, moved)) == cell - 1 + int(config.begin_token)


def test_a_shifted_control_is_seen() -> None:
    network, ids, given = model(TOY_TEXT, ALL), tokens(), carriers(ALL)
    for name in ("frame_BVTC", "dense_BVTHWC"):
        shifted = {**given, name: given[name].roll(1, 2)}
        assert (logits(network, ids, shifted) - logits(network, ids, given)).abs().max() > 0.01


@pytest.mark.parametrize("config", [TOY_TEXT, NO_BEGIN], ids=["begin", "no begin"])
def test_a_token_is_seen_from_its_own_row_on(config: NetworkConfig) -> None:
    network, ids = model(config), tokens(2)
    changed = ids.clone()
    changed[:, 1, 1, 0, 2] = (changed[:, 1, 1, 0, 2] + 1) % TOY.vocab_size
    assert first_change(logits(network, ids, {}), logits(network, changed, {})) == 3 * CELLS + 2 + config.begin_token


def test_each_view_reads_its_own_text() -> None:
    network, ids, given = model(TOY_TEXT), tokens(2), carriers(Widths(text=20), 2)
    other = {"text_BVLC": given["text_BVLC"].clone()}
    other["text_BVLC"][:, 1] += 1
    assert first_change(logits(network, ids, given), logits(network, ids, other)) == CELLS
    other = {"text_BVLC": given["text_BVLC"].clone()}
    other["text_BVLC"][:, 0] += 1
    assert first_change(logits(network, ids, given), logits(network, ids, other)) == 0


def test_no_text_is_zero_text() -> None:
    network, ids, given = model(TOY_TEXT), tokens(2), carriers(Widths(text=20), 2)
    zero = {"text_BVLC": torch.zeros_like(given["text_BVLC"])}
    torch.testing.assert_close(logits(network, ids, zero), logits(network, ids, {}))


def test_two_views_alike_but_for_the_embedding() -> None:
    """Positions restart in each view; only the view embedding tells the views' own tokens apart."""
    network = model(TOY, Widths(dense=3))
    rows = network.guide(network.layout(2, 1, 3, 4), dense_BVTHWC=torch.zeros(1, 2, 1, 3, 4, 3))
    assert torch.equal(rows.cos_NE[:CELLS], rows.cos_NE[CELLS:])
    assert rows.added_BND is not None
    assert torch.equal(rows.added_BND[0, 0], network.view_embedding.table.weight[0])
    assert torch.equal(rows.added_BND[0, CELLS], network.view_embedding.table.weight[1])
    with pytest.raises(ValueError, match="tells 8 views apart, got 9"):
        network.guide(network.layout(9, 1, 3, 4), dense_BVTHWC=torch.zeros(1, 9, 1, 3, 4, 3))


def decoded(network: VideoTransformer, ids_BVTHW: Tensor, given: dict[str, Tensor], start: int) -> Tensor:
    """What `logits` gives, with the rows from `start` on computed one by one."""
    layout = network.layout(*ids_BVTHW.shape[1:])
    sequence_BS = with_begin(network, layout.to_sequence(ids_BVTHW), layout)
    with torch.no_grad():
        rows = network.guide(layout, **given)
        cache = network.new_cache(len(ids_BVTHW), layout.num_rows, rows)
        parts = [network(sequence_BS[:, :start], rows, cache)]
        step = DecodeStep(network, rows, cache)
        parts += [step.logits(sequence_BS[:, row], row)[:, None] for row in range(start, layout.num_rows)]
    return torch.cat(parts, 1)


@pytest.mark.parametrize(
    ("config", "views"),
    [
        (TOY_TEXT, 1),
        (TOY_TEXT, 2),
        (replace(TOY_TEXT, qk_norm=False, num_kv_heads=1), 2),
        (replace(TOY_TEXT, cross_attention_every=2, absolute_positions=False, num_kv_heads=4), 1),
    ],
    ids=["one view", "two views", "one key head", "as many key heads"],
)
def test_cached_decoding_is_the_full_forward(config: NetworkConfig, views: int) -> None:
    network, ids, given = model(config, ALL), tokens(views), carriers(ALL, views)
    torch.testing.assert_close(decoded(network, ids, given, 20), logits(network, ids, given), rtol=1e-5, atol=1e-5)


def test_cached_decoding_without_controls_is_the_full_forward() -> None:
    network, ids = model(NO_BEGIN), tokens()
    torch.testing.assert_close(decoded(network, ids, {}, 1), logits(network, ids, {}), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mixed", [True, False])
def test_cached_decoding_in_bf16_is_as_far_from_fp32_as_the_full_forward(mixed: bool) -> None:
    network, ids, given = model(TOY_TEXT, ALL), tokens(), carriers(ALL)
    exact = logits(network, ids, given)
    if not mixed:
        network.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        full, cached = logits(network, ids, given), decoded(network, ids, given, 20)
    assert cached.dtype == full.dtype == torch.bfloat16
    assert (cached - exact).square().mean() < 1.2 * (full - exact).square().mean()


def test_decoding_copies_no_large_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    network, ids = model(TOY_TEXT), tokens()
    wanted = logits(network, ids, {})
    monkeypatch.setattr("worldtune.families.autoregressive.decode_step.MOST_COPIED", 0)
    rows = network.guide(network.layout(1, 3, 3, 4))
    step = DecodeStep(network, rows, network.new_cache(1, 37, rows))
    assert step._output_DX.data_ptr() == network.output.weight.data_ptr()
    assert step._layers[1]._down_CD.data_ptr() == network.blocks[1].mlp.down.weight.data_ptr()
    torch.testing.assert_close(decoded(network, ids, {}, 20), wanted, rtol=1e-5, atol=1e-5)


def test_decoding_wants_adapters_merged() -> None:
    network = model(TOY_TEXT)
    rows = network.guide(network.layout(1, 3, 3, 4))
    adapt(network, AdapterConfig(train="lora"), targets=["blocks.1.mlp.up"], condition=(), seed=0)
    with pytest.raises(AssertionError, match="merge adapters first"):
        DecodeStep(network, rows, network.new_cache(1, 37, rows))


def test_bf16_is_close_to_fp32() -> None:
    network, ids, given = model(TOY_TEXT, ALL), tokens(), carriers(ALL)
    wanted = logits(network, ids, given)
    with torch.autocast("cpu", torch.bfloat16):
        got = logits(network, ids, given)
    assert got.dtype == torch.bfloat16
    assert (got.float() - wanted).abs().max() < 0.05 * wanted.abs().max()


def test_what_the_network_was_not_built_for_is_refused() -> None:
    plain, full, given = model(TOY), model(TOY_TEXT, ALL), carriers(ALL)
    layout = plain.layout(1, 3, 3, 4)
    for name, message in (
        ("text_BVLC", "not built for a text carrier"),
        ("frame_BVTC", "not built for a frame carrier"),
        ("dense_BVTHWC", "not built for a dense carrier"),
    ):
        with pytest.raises(ValueError, match=message):
            plain.guide(layout, **{name: given[name]})
    with pytest.raises(ValueError, match="built for a frame carrier and got none"):
        full.guide(layout)
    with pytest.raises(ValueError, match=r"frame carrier must be \[B, 1, 3, 5\], got \[2, 1, 2, 5\]"):
        full.guide(layout, **{**given, "frame_BVTC": given["frame_BVTC"][:, :, 1:]})
    with pytest.raises(ValueError, match=r"text must be \[B, 1, L, 20\]"):
        full.guide(layout, **{**given, "text_BVLC": given["text_BVLC"][..., 1:]})
    with pytest.raises(ValueError, match="larger than the network's"):
        full.layout(1, 5, 3, 4)
    with pytest.raises(ValueError, match="no cross-attention for the controls' text"):
        VideoTransformer(TOY, Widths(text=20))


def test_the_room_names_its_units_and_adapter_targets() -> None:
    network = model(replace(TOY_TEXT, cross_attention_every=2))
    assert len(autoregressive.wrap_units(network)) == 2
    targets = autoregressive.adapter_targets(network)
    assert len(targets) == 7 + 4 + 7
    assert all(isinstance(network.get_submodule(name), torch.nn.Linear) for name in targets)
    assert sorted(autoregressive.CARRIERS) == ["dense", "frame", "text"]
