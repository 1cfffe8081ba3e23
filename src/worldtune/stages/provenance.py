"""Where a result comes from: version, commit, libraries, machine. Never names or paths of a machine."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

import torch

from worldtune import __version__


def circumstances() -> dict[str, str]:
    """What stood around a result but should not decide it."""
    libraries = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "numpy", "av", "torchmetrics"))
    return {
        "worldtune": f"{__version__}, commit {commit()}",
        "python": platform.python_version(),
        "libraries": libraries,
        "machine": machine(),
    }


def commit() -> str:
    """Commit of the source when it is a checkout, with a plus sign when tracked files were changed since."""
    folder = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            result = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return None
        return result.stdout.strip() if result.returncode == 0 else None

    head = git("rev-parse", "--short=12", "HEAD")
    if head is None:
        return "unknown"
    return f"{head}+" if git("status", "--porcelain", "--untracked-files=no", ".") else head


def machine() -> str:
    """Processor and accelerator, in words."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()} x {torch.cuda.device_count()}"
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {len(names) or '?'} cores, {torch.get_num_threads()} threads"
