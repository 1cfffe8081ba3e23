"""The objective against a computation by hand."""

import pytest
import torch

from tests.autoregressive.toy import ALL, TOY, TOY_TEXT, carriers, model, tokens
from worldtune.contract.condition import Condition
from worldtune.contract.nouns import Batch
from worldtune.families.autoregressive import scoring
from worldtune.families.autoregressive.config import NetworkConfig
from worldtune.families.autoregressive.objective import Objective, _with_noise, loss, with_begin


def batch_of(ids_BVTHW: torch.Tensor, num_observed_B: torch.Tensor | None = None) -> Batch:
    """A batch without controls."""
    size = len(ids_BVTHW)
    return Batch(
        target=ids_BVTHW,
        controls={},
        fps_hz_B=torch.ones(size),
        clip_ids=tuple(map(str, range(size))),
        num_observed_B=num_observed_B,
    )


def condition_of(given: dict[str, torch.Tensor]) -> Condition:
    """Arguments of `guide` as a condition."""
    return Condition(
        text_BVLD=given.get("text_BVLC"), frame_BVTD=given.get("frame_BVTC"), dense_BVTHWC=given.get("dense_BVTHWC")
    )


@pytest.mark.parametrize("config", [TOY_TEXT, TOY], ids=["begin", "no begin"])
@pytest.mark.parametrize("observed", [(1, 2), (0, 1)])
def test_loss_is_what_a_hand_computes(config: NetworkConfig, observed: tuple[int, int]) -> None:
    """Token by token, in the order frame, view, row, column."""
    network, ids = model(config), tokens(views=2)
    layout = network.layout(2, 3, 3, 4)
    sequence = with_begin(network, layout.to_sequence(ids), layout)
    logits = network(sequence, network.guide(layout)).double()
    nll, z, right = [], [], []
    for b in range(2):
        row = int(config.begin_token) - 1
        for t in range(3):
            for cell in ids[b, :, t].flatten().tolist():
                if t >= observed[b] and row >= 0:
                    log_z = logits[b, row].exp().sum().log()
                    nll.append(log_z - logits[b, row, cell])
                    z.append(log_z**2)
                    right.append(float(logits[b, row].argmax() == cell))
                row += 1
    settings = Objective(z_loss=0.1)
    got, parts = loss(network, batch_of(ids, torch.tensor(observed)), Condition(), torch.Generator(), settings)
    wanted = sum(nll) / len(nll) + 0.1 * sum(z) / len(z)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), wanted, rtol=1e-6, atol=0)
    torch.testing.assert_close(parts["accuracy"].double(), torch.tensor(sum(right) / len(right)).double())
    assert not parts["cross_entropy"].requires_grad


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "FEWEST_ROWS", 1)
    given, ids = condition_of(carriers(ALL)), tokens()
    results = []
    for logits_per_chunk in (1 << 26, 30 * 7):
        monkeypatch.setitem(scoring.LOGITS_PER_CHUNK, "cpu", logits_per_chunk)
        network = model(TOY_TEXT, ALL)
        total, _ = loss(network, batch_of(ids), given, torch.Generator().manual_seed(0), Objective())
        total.backward()
        results.append((total, network.output.weight.grad, network.frame_injection.out.weight.grad))
    for whole, chunked in zip(*results, strict=True):
        torch.testing.assert_close(whole, chunked)


def test_gradients_are_those_of_the_plain_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several chunks, float64 against float32."""
    monkeypatch.setattr(scoring, "FEWEST_ROWS", 1)
    monkeypatch.setitem(scoring.LOGITS_PER_CHUNK, "cpu", 30 * 4)
    draw = torch.Generator().manual_seed(0)
    output = torch.nn.Linear(8, 30, bias=False)
    hidden = torch.randn(11, 8, generator=draw, requires_grad=True)
    targets = torch.randint(30, (11,), generator=draw)
    (3 * scoring.score(output, hidden, targets, 0.1).loss).backward()
    got = hidden.grad, output.weight.grad
    plain, weight = (tensor.detach().double().requires_grad_() for tensor in (hidden, output.weight))
    log_probability, log_z = (plain @ weight.T).log_softmax(-1), (plain @ weight.T).logsumexp(-1)
    wanted = torch.nn.functional.nll_loss(log_probability, targets) + 0.1 * log_z.square().mean()
    (3 * wanted).backward()
    for mine, theirs in zip(got, (plain.grad, weight.grad), strict=True):
        torch.testing.assert_close(mine, theirs.float(), rtol=1e-5, atol=1e-7)


def test_a_frozen_output_layer_gets_no_gradient_and_passes_one_on() -> None:
    output = torch.nn.Linear(8, 30, bias=False).requires_grad_(False)
    hidden = torch.randn(5, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    scoring.score(output, hidden, torch.arange(5), 0.1).loss.backward()
    assert output.weight.grad is None
    assert hidden.grad is not None
    assert hidden.grad.any()
    with torch.no_grad():
        assert not scoring.score(output, hidden, torch.arange(5), 0.1).loss.requires_grad


def test_the_number_of_given_frames_is_drawn() -> None:
    network, ids = model(TOY_TEXT), tokens(batch=1)
    settings = Objective(num_observed_min=0, num_observed_max=2)
    seen = {
        loss(network, batch_of(ids), Condition(), torch.Generator().manual_seed(s), settings)[0].item()
        for s in range(12)
    }
    fixed = {
        loss(network, batch_of(ids, torch.tensor([n])), Condition(), torch.Generator(), settings)[0].item()
        for n in range(3)
    }
    assert seen == fixed


def test_every_weight_learns() -> None:
    network = model(TOY_TEXT, ALL)
    total, _ = loss(network, batch_of(tokens(2)), condition_of(carriers(ALL, 2)), torch.Generator(), Objective())
    total.backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()] == []


def test_what_cannot_be_trained_is_refused() -> None:
    network, ids = model(TOY_TEXT), tokens()
    for target, message in (
        (torch.zeros(2, 1, 3, 3, 4, 2), r"models token ids \[B,V,T,H,W\], got torch.float32"),
        (ids + 20, r"token ids must lie in 0\.\.29, got \d+\.\.4\d"),
        (ids[:, :, :1], "up to 1 latent frames are given, but clips have 1"),
    ):
        with pytest.raises(ValueError, match=message):
            loss(network, batch_of(target), Condition(), torch.Generator(), Objective())
    with pytest.raises(ValueError, match="num_observed_min <= num_observed_max"):
        Objective(num_observed_min=2)
    with pytest.raises(ValueError, match="z_loss must not be negative"):
        Objective(z_loss=-1.0)


def test_noise_changes_what_is_seen_in_training_and_nothing_else() -> None:
    network, ids = model(TOY_TEXT).train(), tokens(views=2)

    def trained(noise: float, seed: int = 0) -> float:
        draw = torch.Generator().manual_seed(seed)
        settings = Objective(num_observed_max=1, token_noise=noise)
        return float(loss(network, batch_of(ids), Condition(), draw, settings)[0].detach())

    assert trained(0.5) != trained(0.0), "scored tokens see random neighbours"
    assert trained(0.5) == trained(0.5), "the same at every start"
    assert trained(0.5) != trained(0.5, seed=1)
    network.eval()
    assert trained(0.5) == trained(0.0), "validation is without"
    with pytest.raises(ValueError, match=r"token_noise must lie in 0\.\.1"):
        Objective(token_noise=1.5)


def test_noise_spares_given_frames_and_keeps_to_its_share() -> None:
    target = torch.zeros(64, 1, 4, 8, 8, dtype=torch.long)
    given = torch.zeros(64, 1, 4, dtype=torch.bool)
    given[:, :, 0] = True
    noisy = _with_noise(target, given, 1000, torch.Generator().manual_seed(0), 0.5)
    assert not noisy[:, :, 0].any()
    share_B = (noisy[:, :, 1:] != 0).double().mean((1, 2, 3, 4))
    assert share_B.max() < 0.6
    assert abs(float(share_B.mean()) - 0.25) < 0.04
