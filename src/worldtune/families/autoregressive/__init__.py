"""Autoregressive world models of the Cosmos-1 line: a transformer over video tokens, next-token objective."""
