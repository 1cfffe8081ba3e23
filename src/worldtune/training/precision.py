"""In which precision is computed."""

import torch


def resolved_precision(precision: str, device: torch.device) -> str:
    """What "auto" means here: bf16 where the hardware computes in it, fp32 elsewhere."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Context of the forward pass: bf16 compute over fp32 weights, or plain fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
