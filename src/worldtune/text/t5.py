"""The T5 text encoder of real Cosmos bases (google-t5/t5-11b), through the transformers library.

Rows are those of the true tokens, the closing `</s>` among them. A family pads them with zero rows to 512, and its
cross-attention sees the zero rows (facts: Cosmos text embedding). Another T5 does not serve the published weights.

Shape legend: B texts (one at a time here), L tokens, D width.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, T5EncoderModel

MAX_LENGTH = 512
"""Tokens that the published weights were trained with; longer texts are cut."""

_SAMPLES_PER_TENSOR = 1024


class T5TextEncoder:
    """Implements `contract.protocols.TextEncoder`."""

    def __init__(self, network: "T5EncoderModel", tokenizer: "PreTrainedTokenizerBase") -> None:
        self.network = network.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.identity = _fingerprint(network, tokenizer)
        self.width: int = network.config.d_model
        self.max_length = MAX_LENGTH

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> list[Tensor]:
        """One float32 [L, D] per text on the CPU, 1 <= L <= 512; an empty text is `</s>` alone.

        Texts go through one by one, so that a text's rows do not depend on its company.
        """
        rows = []
        for text in texts:
            tokens_BL = self.tokenizer(text, truncation=True, max_length=self.max_length, return_tensors="pt").input_ids
            rows_BLD = self.network(input_ids=tokens_BL.to(self.network.device)).last_hidden_state
            rows.append(rows_BLD[0].float().cpu())
        return rows


def load(path: Path, *, bf16: bool = False, device: torch.device | str = "cpu") -> T5TextEncoder:
    """The encoder in a folder, in a diffusers pipeline (`text_encoder/`, `tokenizer/`), or under a hub id.

    `bf16` computes in bfloat16, as NVIDIA's scripts do; otherwise in float32. ValueError with one sentence when the
    library is not installed, or when there is no T5 encoder.
    """
    try:
        from transformers import AutoTokenizer, T5EncoderModel
    except ImportError:
        raise ValueError(f"{path}: a T5 text encoder needs `pip install -e '.[hub]'` in WorldTune's checkout") from None
    network_at, tokenizer_at = _places(Path(path))
    dtype = torch.bfloat16 if bf16 else torch.float32
    try:
        tokenizer = AutoTokenizer.from_pretrained(tokenizer_at)
        loaded: Any = T5EncoderModel.from_pretrained(network_at, dtype=dtype, output_loading_info=True)
    except Exception as error:
        # transformers raises many kinds for a missing, damaged or foreign folder.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path}: not a readable T5 text encoder with its tokenizer ({reason})") from None
    network, report = loaded
    if report["missing_keys"]:
        raise ValueError(f"{path}: weights lack {len(report['missing_keys'])} tensors of a T5 encoder")
    return T5TextEncoder(network.to(device), tokenizer)


def _places(path: Path) -> tuple[str, str]:
    """Where the network and the tokenizer lie: folders, or twice a hub id."""
    if path.is_dir():
        if (path / "text_encoder").is_dir():
            return str(path / "text_encoder"), str(path / "tokenizer")
        if not (path / "config.json").exists():
            raise ValueError(f"{path}: no text encoder here: expected words.json, T5's config.json, or text_encoder/")
        return str(path), str(path)
    if path.exists() or path.is_absolute() or len(path.parts) != 2 or path.parts[0].startswith("."):
        raise ValueError(f"{path}: neither a folder with a text encoder nor a hub id such as google-t5/t5-11b")
    return path.as_posix(), path.as_posix()


def _fingerprint(network: "T5EncoderModel", tokenizer: "PreTrainedTokenizerBase") -> str:
    """SHA-256 of vocabulary, shapes and a sample of every tensor: all of T5-11B would take minutes.

    Samples are rounded to bfloat16, so the precision of loading does not matter.
    """
    digest = hashlib.sha256(repr(sorted(tokenizer.get_vocab().items())).encode())
    for name, tensor in sorted(network.state_dict().items()):
        stride = max(1, tensor.numel() // _SAMPLES_PER_TENSOR)
        sample = tensor.flatten()[::stride][:_SAMPLES_PER_TENSOR].to("cpu", torch.bfloat16)
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(sample.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
