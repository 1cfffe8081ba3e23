"""Text encoders: captions to rows that a family's cross-attention reads. Frozen; encoded once, by `prepare`."""

from pathlib import Path

from worldtune.contract.protocols import TextEncoder


def load(path: Path) -> TextEncoder:
    """Load the encoder in a folder: the nano one (words.json), else T5. Raises ValueError naming the folder."""
    if (path / "words.json").exists():
        from worldtune.text import nano

        return nano.load(path)
    from worldtune.text import t5

    return t5.load(path)
