"""All randomness is a pure function of (seed, step, purpose), so a run that resumes repeats itself exactly."""

import hashlib

import torch


def derived_seed(seed: int, step: int, purpose: str) -> int:
    """A 63-bit seed that depends on all three arguments."""
    digest = hashlib.sha256(f"{seed}/{step}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, step: int, purpose: str) -> torch.Generator:
    """A fresh CPU generator for one purpose at one step. Draw on the CPU and move, so devices agree."""
    return torch.Generator().manual_seed(derived_seed(seed, step, purpose))
