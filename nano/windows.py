"""Windows of the rendered episodes as both families pre-train on them: encoded once, drawn evenly from all worlds.

Shape legend: N windows, B batch, V views, T frames, H W grid, C channels, L text rows, D width.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from nano.data import WORLDS, load_texts, load_videos
from worldtune.contract.condition import Condition
from worldtune.contract.files import write_whole
from worldtune.contract.nouns import Batch
from worldtune.contract.protocols import TextEncoder
from worldtune.contract.randomness import generator

FRAMES, STRIDE, FPS_HZ, TEXT_DROPOUT = 17, 4, 10.0, 0.1
CLIPS_AT_ONCE = 16
LATENT, TOKENS = "latent_NTHWC", "tokens_NTHW"
"""Names of what is modelled: normalised latents, float16, or token ids, int32."""


def encoded_windows(
    path: Path, data: Path, split: str, name: str, encode: Callable[[Tensor], Tensor], texts: TextEncoder
) -> dict[str, Tensor]:
    """Every window of a split under `name`, the text rows of each and the number of its world; kept in `path`.

    Training windows come mirrored too: captions name no sides, and the transformer would otherwise learn its clips by
    heart within a few epochs. `encode` takes uint8 [N,1,T,H,W,3] and gives what is kept, [N,...].
    """
    if path.exists():
        return load_file(path)
    targets, rows, worlds = [], [], []
    for number, world in enumerate(WORLDS):
        videos_NTHWC = load_videos(data, split, world)
        captions = load_texts(data, split, world, "captions")
        starts = range(0, videos_NTHWC.shape[1] - FRAMES + 1, STRIDE)
        for first in range(0, len(videos_NTHWC), CLIPS_AT_ONCE):
            clips = videos_NTHWC[first : first + CLIPS_AT_ONCE]
            seen = [clips, clips.flip(3)] if split == "train" else [clips]
            targets += [encode(one[:, None, start : start + FRAMES]) for one in seen for start in starts]
            encoded = [pad(row, texts.max_length) for row in texts.encode(captions[first : first + len(clips)])]
            count = len(seen) * len(starts)
            rows.append(torch.stack(encoded).half().repeat(count, 1, 1))
            worlds.append(torch.full((len(clips) * count,), number))
    tensors = {name: torch.cat(targets), "text_NLD": torch.cat(rows), "world_N": torch.cat(worlds)}
    with write_whole(path) as temporary:
        save_file(tensors, temporary)
    return tensors


def pad(rows_LD: Tensor, length: int) -> Tensor:
    """Zero rows up to a fixed length."""
    return torch.cat([rows_LD, rows_LD.new_zeros(length - rows_LD.shape[0], rows_LD.shape[1])])


def batch_of(tensors: dict[str, Tensor], rows_B: Tensor) -> Batch:
    """Some windows as a batch of one view."""
    is_latent = LATENT in tensors
    target = tensors[LATENT if is_latent else TOKENS][rows_B, None]
    return Batch(
        target=target.float() if is_latent else target.long(),
        controls={"text": {"tokens": tensors["text_NLD"][rows_B, None].float()}} if "text_NLD" in tensors else {},
        fps_hz_B=torch.full((len(rows_B),), FPS_HZ),
        clip_ids=tuple(str(int(row)) for row in rows_B),
    )


def balanced(tensors: dict[str, Tensor], seed: int, step: int, size: int) -> Batch:
    """Every world equally often, whatever its share of the windows."""
    draw = generator(seed, step, "pre-training batch")
    members = [(tensors["world_N"] == number).nonzero().flatten() for number in range(len(WORLDS))]
    picks = [members[(step + row) % len(WORLDS)] for row in range(size)]
    rows_B = torch.stack([pick[torch.randint(len(pick), (), generator=draw)] for pick in picks])
    return batch_of(tensors, rows_B)


def held_out_batch(tensors: dict[str, Tensor], size: int) -> Batch:
    """The same windows at every validation."""
    rows_N = torch.randperm(len(tensors["world_N"]), generator=generator(1, 0, "validation"))[:size]
    return batch_of(tensors, rows_N)


def condition_of(batch: Batch, draw: torch.Generator) -> Condition:
    """Captions, dropped at random."""
    keep_B = torch.rand(batch.size, generator=draw) >= TEXT_DROPOUT
    return Condition(text_BVLD=batch.controls["text"]["tokens"] * keep_B[:, None, None, None])
