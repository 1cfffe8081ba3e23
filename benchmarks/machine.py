"""What a measurement depends on: the machine, the libraries, and how fast it multiplies at this moment."""

import importlib.metadata
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import torch

from worldtune.networks.chunked_attention import cpu_multiplies_bf16

LIBRARIES = ("torch", "diffusers", "transformers", "peft", "numpy", "worldtune")


def matmul_peak(dtype: torch.dtype, *, size: int = 2048, repeats: int = 3) -> float:
    """Best rate of a square matrix product, FLOP per CPU second of all threads: what 100 % utilisation means."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    return 2 * size**3 / min(_seconds(a, b) for _ in range(repeats))


def read_bandwidth(*, megabytes: int = 256, repeats: int = 3) -> float:
    """Best rate at which numbers are read from memory, bytes per CPU second of all threads."""
    numbers = torch.ones(megabytes << 18)

    def seconds() -> float:
        began = time.process_time()
        numbers.sum()
        return time.process_time() - began

    return numbers.nbytes / min(seconds() for _ in range(repeats))


def _seconds(a: torch.Tensor, b: torch.Tensor) -> float:
    began = time.process_time()
    torch.mm(a, b)
    return time.process_time() - began


def describe() -> dict[str, Any]:
    """Machine, libraries and commit, for the record beside the numbers."""
    return {
        "cpu": torch.cpu.get_capabilities().get("cpu_name", platform.processor()),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "multiplies_bf16": cpu_multiplies_bf16(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg(),
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "commit": _commit(),
    }


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    return result.stdout.strip() or "unknown"
