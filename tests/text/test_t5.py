"""The T5 encoder: true rows only, cut at 512, from a folder or a pipeline; and what it says when it cannot."""

import sys
from pathlib import Path

import pytest
import torch

from worldtune import text
from worldtune.contract.protocols import TextEncoder
from worldtune.text import t5

WORDS = ["<pad>", "</s>", "<unk>", "push", "the", "red", "cube"]


def write_toy(folder: Path, tokenizer_folder: Path | None = None, seed: int = 0) -> Path:
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    torch.manual_seed(seed)
    config = transformers.T5Config(
        vocab_size=len(WORDS), d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2, dropout_rate=0.0
    )
    transformers.T5EncoderModel(config).save_pretrained(folder)
    words = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>")
    )
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.post_processor = tokenizers.processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    fast.save_pretrained(tokenizer_folder or folder)
    return folder


def test_rows_of_true_tokens_only(tmp_path: Path) -> None:
    encoder: TextEncoder = text.load(write_toy(tmp_path / "t5"))
    long = "push " * 1000
    rows = encoder.encode(["push the red cube", "", long])
    assert [tuple(row.shape) for row in rows] == [(5, 8), (1, 8), (512, 8)]
    assert all(row.dtype == torch.float32 for row in rows)
    assert torch.equal(rows[0], encoder.encode(["push the red cube"])[0])
    assert (encoder.width, encoder.max_length) == (8, 512)


def test_identity_names_the_weights_not_the_precision(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "t5")
    exact, rounded = t5.load(folder), t5.load(folder, bf16=True)
    assert exact.identity == rounded.identity
    assert exact.identity != t5.load(write_toy(tmp_path / "other", seed=1)).identity
    one, other = exact.encode(["red cube"])[0], rounded.encode(["red cube"])[0]
    assert 0 < (one - other).abs().max() < 0.1


def test_reads_a_diffusers_pipeline(tmp_path: Path) -> None:
    write_toy(tmp_path / "text_encoder", tmp_path / "tokenizer")
    assert len(text.load(tmp_path).encode(["red"])[0]) == 2


def test_one_sentence_when_it_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(ValueError, match="no text encoder here"):
        text.load(tmp_path)
    with pytest.raises(ValueError, match="neither a folder"):
        text.load(tmp_path / "absent")
    folder = write_toy(tmp_path / "t5")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match="t5: not a readable T5 text encoder") as caught:
        text.load(folder)
    assert "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"needs `pip install -e '\.\[hub\]'`"):
        text.load(folder)
