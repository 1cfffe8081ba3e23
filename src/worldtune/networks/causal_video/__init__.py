"""NVIDIA's causal video tokenizer network: Haar wavelet, factorised causal convolutions, attention; and its files.

The continuous and the discrete codec use the same encoder and decoder and differ in the two 1x1x1 convolutions around
the latent. Parameter names are NVIDIA's, so a checkpoint loads without renaming.
"""
