"""The benchmark compares equal models and says what it measured."""

from dataclasses import replace

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from rich.console import Console

from benchmarks import autoregressive as benchmark
from worldtune.families.autoregressive.presets import preset

TOY = benchmark.Shape(
    network=benchmark._plain(
        preset("nano"), width=32, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=16, mlp_width=48, vocab_size=30,
        max_frames=3, max_height=2, max_width=3,
    ),
    training_batch=2,
)  # fmt: skip


def test_both_sides_are_one_model_and_make_the_same_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark.trainers(TOY, 0)
    made = {name: make() for name, make in benchmark.generators(TOY, 2, 0, uncached=True).items()}
    assert made[benchmark.OURS].shape == (2, 18)
    for name, ids in made.items():
        assert torch.equal(ids, made[benchmark.OURS]), name
    models = benchmark.models

    def unequal(shape: benchmark.Shape, seed: int) -> tuple:
        ours, theirs = models(shape, seed)
        with torch.no_grad():
            theirs.lm_head.weight[0, 0] += 1
        return ours, theirs

    monkeypatch.setattr(benchmark, "models", unequal)
    with pytest.raises(ValueError, match="the models differ"):
        benchmark.trainers(TOY, 0)


def test_a_measured_shape_has_every_number_and_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "read_bandwidth", lambda: 1e9)
    monkeypatch.setitem(benchmark.SHAPES, "nano", replace(TOY))
    case = benchmark.measure("nano", batch_size=2, rounds=1, seed=0)
    assert list(case["training"]) == [benchmark.OURS, benchmark.LLAMA]
    assert list(case["generation"]) == [benchmark.OURS, benchmark.LLAMA, benchmark.UNCACHED]
    for row in case["training"].values():
        assert sum(row["shares"].values()) == pytest.approx(1)
    weights = case["num_parameters"] - 30 * 32
    assert case["bound_tokens_per_s"] == pytest.approx(2 * 1e9 / (4 * weights))
    console = Console(record=True, width=140)
    console.print(benchmark.as_table(case))
    assert "transformers Llama" in console.export_text()
