"""The benchmark compares equal models and says what it measured."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from rich.console import Console

from benchmarks import autoregressive as benchmark
from benchmarks import generation, llamas
from worldtune.families.autoregressive.presets import preset

TOY = llamas.Shape(
    network=llamas.plain(
        preset("nano"), width=32, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=16, mlp_width=48, vocab_size=30,
        max_frames=3, max_height=2, max_width=3,
    ),
    training_batch=2,
    generated=(1, 2),
    uncached=True,
)  # fmt: skip
THREE = [generation.OURS, generation.LLAMA, generation.UNCACHED]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_all_ways_make_the_same_tokens(batch_size: int) -> None:
    made = {name: way() for name, way in generation.ways(TOY, batch_size, 0, compiled=False).items()}
    assert list(made) == THREE[: 4 - batch_size]
    assert made[generation.OURS].shape == (batch_size, 18)
    for name, ids in made.items():
        assert torch.equal(ids, made[generation.OURS]), name


def test_training_steps_of_unequal_models_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [contender.name for contender in benchmark.trainers(TOY, "mixed", 0)][:2] == THREE[:2]
    llama: Callable[[Any], Any] = llamas.llama

    def unequal(network: Any) -> Any:
        model = llama(network)
        with torch.no_grad():
            model.lm_head.weight[0, 0] += 1
        return model

    monkeypatch.setattr(llamas, "llama", unequal)
    with pytest.raises(ValueError, match="transformers Llama differs from ours"):
        benchmark.trainers(TOY, "fp32", 0)


def test_a_measured_shape_has_every_number_and_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "read_bandwidth", lambda: 1e9)
    monkeypatch.setitem(llamas.SHAPES, "nano", TOY)
    case = benchmark.measure("nano", ["training", "generation"], ["fp32"], rounds=2, seed=0, compiled=False)
    assert list(case["training"]["fp32"])[:2] == THREE[:2]
    for row in case["training"]["fp32"].values():
        assert sum(row["shares"].values()) == pytest.approx(1)
        assert len(row["all_s"]) == 2
    assert [list(made["ways"]) for made in case["generation"]] == [THREE, THREE[:2]]
    made = case["generation"][1]
    assert made["bytes_per_step"] == 4 * (case["num_parameters"] - 30 * 32)
    assert made["ways"][generation.LLAMA]["speed"] == 1
    ours = made["ways"][generation.OURS]
    assert ours["tokens_per_s"] == pytest.approx(2 * 12 / (sum(ours["all_s"]) / 2))
    assert made["share_of_bound"] <= 12 * made["bytes_per_step"] / 1e9 / min(ours["all_cpu_s"])
    assert sum(made["shares_of_step"].values()) == pytest.approx(1)
    console = Console(record=True, width=140)
    console.print(*benchmark.as_tables(case))
    assert "transformers Llama" in console.export_text()
