"""The benchmark compares equal models, counts operations rightly and says what it measured."""

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("peft")

from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import parity
from benchmarks.contenders import contenders
from benchmarks.shapes import SHAPES, Shape, forward_flops, step_flops
from benchmarks.training_step import Plan, as_table, measure
from worldtune.families.diffusion.attention import chunked_attention
from worldtune.families.diffusion.config import NetworkConfig

TOY = Shape(
    name="toy",
    network=NetworkConfig(
        width=32, num_blocks=2, num_heads=2, text_channels=24, adaln_rank=8, condition_mask=True, max_height=8,
        max_width=8, max_frames=8,
    ),
    batch_size=2,
    frames=3,
    height=4,
    width=4,
    text_rows=5,
)  # fmt: skip


@pytest.mark.parametrize("lora", [False, True])
def test_both_sides_compute_the_same_loss_and_gradients(lora):
    assert parity.check(contenders(TOY, precision="fp32", lora=lora, seed=0)) < parity.LIMIT


def test_another_model_is_noticed():
    found = contenders(TOY, precision="fp32", lora=False, seed=0)
    with torch.no_grad():
        found[2].model.proj_out.weight[0, 0] += 0.1
    with pytest.raises(ValueError, match="diffusers, one sigma is another model"):
        parity.check(found)


def test_operations_are_counted():
    """Against torch's own count, with attention as plain products so that it is seen, per-frame modulation."""
    contender = contenders(TOY, precision="fp32", lora=False, seed=0)[1]
    with pytest.MonkeyPatch.context() as patch, FlopCounterMode(display=False) as counter, torch.no_grad():
        patch.setattr("worldtune.families.diffusion.blocks.attention", chunked_attention)
        contender.loss(0)
    assert counter.get_total_flops() == pytest.approx(forward_flops(TOY), rel=1e-6)
    assert step_flops(SHAPES["wide"], frozen=False) == pytest.approx(827e9, rel=1e-3)
    assert step_flops(SHAPES["tiny"], frozen=False) == pytest.approx(284e9, rel=1e-3)


def test_a_measured_case_has_every_number_and_prints(monkeypatch):
    monkeypatch.setattr("benchmarks.training_step.matmul_peak", lambda dtype: 1e11)
    plan = Plan(shapes=("toy",), precisions=("fp32",), adapters=(False,), rounds=1, steps_per_round=1, warmup=1, seed=0)
    case = measure(TOY, "fp32", False, plan, 1e-6)
    assert [row["name"] for row in case["contenders"]][:2] == ["WorldTune, one sigma", "WorldTune, sigma per frame"]
    for row in case["contenders"]:
        assert sum(row["shares"].values()) == pytest.approx(1)
        assert len(row["all_s"]) == 1
    console = Console(record=True, width=140)
    console.print(as_table(case))
    assert "diffusers, sigma per frame" in console.export_text()
