"""Pre-train the nano text encoder: `python -m nano.train_text --data RENDERED --out FOLDER`.

Masked words: a fifth of the words of a text is hidden, the network names each hidden word among all words of the
training texts by the inner product with their own embedding. Held-out accuracy is printed and stored.

Shape legend: B batch, L words, G letter groups, W vocabulary, D width.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nano.data import WORLDS, load_texts
from worldtune.contract.files import write_json
from worldtune.contract.randomness import generator
from worldtune.text.nano import NanoTextConfig, TextNetwork, save, to_groups, words_of

MASKED_SHARE = 0.2
BATCH_SIZE = 64


def read_texts(folder: Path, split: str) -> list[str]:
    """All captions and instructions of a split."""
    keys = ("captions", "instructions")
    return [text for world in WORLDS for key in keys for text in load_texts(folder, split, world, key)]


class MaskedWords(nn.Module):
    """The network with a mask vector and a projection back to word embeddings; both are dropped after training."""

    def __init__(self, network: TextNetwork, vocabulary: list[str]) -> None:
        super().__init__()
        self.network = network
        self.index = {word: row for row, word in enumerate(vocabulary)}
        self.register_buffer("vocabulary_W1G", to_groups(vocabulary, network.config))
        self.mask = nn.Parameter(torch.randn(network.config.hidden) * 0.02)
        self.guess = nn.Linear(network.config.width, network.config.hidden)

    def forward(self, texts: list[str], draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """(cross-entropy, accuracy) on the hidden words of these texts."""
        groups_BLG = to_groups(texts, self.network.config)
        is_padding_BL = groups_BLG[:, :, 0] == 0
        hidden_BL = (torch.rand(is_padding_BL.shape, generator=draw) < MASKED_SHARE) & ~is_padding_BL
        hidden_BL[:, 0] |= ~hidden_BL.any(1) & ~is_padding_BL[:, 0]
        words_BLD = torch.where(hidden_BL[:, :, None], self.mask, self.network.words(groups_BLG))
        rows_BLD = self.network.out(self.network.mix(words_BLD, is_padding_BL))
        vocabulary_WD = self.network.words(self.vocabulary_W1G)[:, 0]
        logits_NW = self.guess(rows_BLD[hidden_BL]) @ vocabulary_WD.T
        limit = self.network.config.max_length
        targets_N = torch.tensor(
            [
                self.index[word]
                for text, row in zip(texts, hidden_BL, strict=True)
                for word, is_hidden in zip(words_of(text)[:limit], row, strict=False)
                if is_hidden
            ]
        )
        accuracy = (logits_NW.argmax(1) == targets_N).float().mean()
        return F.cross_entropy(logits_NW, targets_N), accuracy


def train(args: argparse.Namespace) -> None:
    """The whole way, from rendered texts to an encoder folder."""
    torch.manual_seed(0)
    texts, held_out = read_texts(args.data, "train"), read_texts(args.data, "val")
    vocabulary = sorted({word for text in texts + held_out for word in words_of(text)})
    model = MaskedWords(TextNetwork(NanoTextConfig()), vocabulary)
    nn.init.normal_(model.network.embedding.weight, std=0.3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=args.steps)
    for step in range(args.steps):
        draw = generator(0, step, "text batch")
        rows = torch.randint(len(texts), (BATCH_SIZE,), generator=draw)
        loss, accuracy = model([texts[row] for row in rows], draw)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step} loss {loss:.3f} accuracy {accuracy:.3f}", flush=True)
    with torch.inference_mode():
        loss, accuracy = model(held_out, generator(1, 0, "text batch"))
        spread = normalise(model.network, texts[:2000])
    save(model.network, args.out)
    result = {
        "masked_word_accuracy": float(accuracy),
        "loss": float(loss),
        "vocabulary": len(vocabulary),
        "std": spread,
    }
    write_json(args.out / "masked_words.json", {**result, "steps": args.steps})
    print(result)


def normalise(network: TextNetwork, texts: list[str]) -> float:
    """Scale the output layer so that rows have unit variance; returns the deviation before."""
    groups_BLG = to_groups(texts, network.config)
    spread = float(network(groups_BLG)[groups_BLG[:, :, 0] != 0].std())
    network.out.weight.data /= spread
    network.out.bias.data /= spread
    return spread


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with WORLD/{train,val}/*.npz")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2000)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
