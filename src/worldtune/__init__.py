"""WorldTune: post-train world foundation models on one's own clips, and measure that they obey."""

__version__ = "0.1.0"
