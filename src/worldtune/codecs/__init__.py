"""Codecs: pixels to what a family models, and back."""
