"""Verified runs and what is generated from their results. Nothing imports this."""
