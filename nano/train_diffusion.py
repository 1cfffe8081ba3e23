"""Pre-train the nano DiT: `python -m nano.train_diffusion --data RENDERED --codec FOLDER --text FOLDER --out FOLDER`.

Video prediction from one or two latent frames on all three worlds at once, with captions (dropped in a tenth of the
samples) and without any control. The same network, objective and loop as post-training; checkpoints every few minutes,
so that it continues when it was killed.

Shape legend: N clips, V views, T frames, H W grid, C channels, L text rows, D width.
"""

import argparse
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from nano.data import WORLDS, load_texts, load_videos
from worldtune.codecs import nano_video
from worldtune.contract.condition import Condition, Widths
from worldtune.contract.files import write_json, write_whole
from worldtune.contract.nouns import Batch
from worldtune.contract.randomness import generator
from worldtune.families import diffusion
from worldtune.families.diffusion.logvariance import DiffusionModel
from worldtune.families.diffusion.presets import NANO
from worldtune.families.diffusion.weights import load_base, save
from worldtune.text import nano as nano_text
from worldtune.training import checkpoint
from worldtune.training.ema import EmaConfig
from worldtune.training.loop import LoopConfig, train
from worldtune.training.optim import OptimConfig
from worldtune.training.parallel import Processes
from worldtune.training.state import TrainState

FRAMES, STRIDE, FPS_HZ, TEXT_DROPOUT = 17, 8, 10.0, 0.1
OBJECTIVE = diffusion.Objective(sigma_p_std=1.2, sigma_multiplier=2.0, num_observed_min=1, num_observed_max=2)


def encode_split(args: argparse.Namespace, split: str) -> dict[str, Tensor]:
    """Normalised latents of all windows and the text rows of each, made once and kept in the output folder."""
    path = args.out / f"{split}.safetensors"
    if path.exists():
        return load_file(path)
    codec, encoder = nano_video.load(args.codec), nano_text.load(args.text)
    mean_TC, std_TC = codec.statistics(1 + (FRAMES - 1) // codec.frames_per_latent)
    latents, rows, worlds = [], [], []
    for number, world in enumerate(WORLDS):
        videos_NTHWC = load_videos(args.data, split, world)
        texts = load_texts(args.data, split, world, "captions")
        starts = range(0, videos_NTHWC.shape[1] - FRAMES + 1, STRIDE)
        for first in range(0, len(videos_NTHWC), 16):
            clips = videos_NTHWC[first : first + 16]
            for start in starts:
                z_NTHWC = codec.encode(clips[:, None, start : start + FRAMES])[:, 0]
                latents.append(((z_NTHWC - mean_TC[:, None, None]) / std_TC[:, None, None]).half())
            encoded = [pad(row, encoder.max_length) for row in encoder.encode(texts[first : first + len(clips)])]
            rows.append(torch.stack(encoded).half().repeat(len(starts), 1, 1))
            worlds.append(torch.full((len(clips) * len(starts),), number))
    tensors = {"latent_NTHWC": torch.cat(latents), "text_NLD": torch.cat(rows), "world_N": torch.cat(worlds)}
    with write_whole(path) as temporary:
        save_file(tensors, temporary)
    return tensors


def pad(rows_LD: Tensor, length: int) -> Tensor:
    """Zero rows up to a fixed length."""
    return torch.cat([rows_LD, rows_LD.new_zeros(length - rows_LD.shape[0], rows_LD.shape[1])])


def batch_of(tensors: dict[str, Tensor], rows_B: Tensor) -> Batch:
    """Some windows as a batch of one view."""
    return Batch(
        target=tensors["latent_NTHWC"][rows_B, None].float(),
        controls={"text": {"tokens": tensors["text_NLD"][rows_B, None].float()}},
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


def loss_of(model: DiffusionModel, batch: Batch, draw: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """The family's objective, with captions dropped at random."""
    keep_B = torch.rand(batch.size, generator=draw) >= TEXT_DROPOUT
    condition = Condition(text_BVLD=batch.controls["text"]["tokens"] * keep_B[:, None, None, None])
    return diffusion.loss(model, batch, condition, draw, OBJECTIVE)


def pretrain(args: argparse.Namespace) -> None:
    """The whole way, from rendered clips, codec and text encoder to a network folder."""
    torch.set_num_threads(args.threads)
    data, held_out = encode_split(args, "train"), encode_split(args, "val")
    torch.manual_seed(0)
    widths = Widths(text=data["text_NLD"].shape[-1])
    model = load_base(args.start, widths)[0] if args.start else DiffusionModel(NANO, widths)
    optim = OptimConfig(lr=args.lr, schedule="cosine", warmup_steps=100, final_lr_ratio=0.02)
    state = TrainState.fresh(model, optim, EmaConfig(std=0.05))
    if newest := checkpoint.latest(args.out / "checkpoints"):
        checkpoint.load(newest, state, where=Processes())
    config = LoopConfig(steps=args.steps, batch_size=args.batch_size, validate_every=200, checkpoint_every=200)
    losses: list[dict[str, float]] = []
    started, first = time.monotonic(), state.step

    def report(kind: str, step: int, values: dict[str, float]) -> None:
        losses.append(values)
        if kind == "validation" or step % 20 == 0:
            eta_min = (time.monotonic() - started) / max(1, step - first) * (args.steps - step) / 60
            parts = " ".join(f"{name} {value:.4f}" for name, value in values.items())
            print(f"{kind} step {step} {parts} ETA {eta_min:.0f} min", flush=True)

    def validate() -> dict[str, float]:
        rows_N = torch.randperm(len(held_out["world_N"]), generator=generator(1, 0, "validation"))[:96]
        with torch.no_grad():
            loss, parts = loss_of(model, batch_of(held_out, rows_N), generator(1, 1, "validation"))
        return {"loss": float(loss), **{name: float(value) for name, value in parts.items()}}

    def keep(validation_loss: float | None) -> None:
        checkpoint.save(args.out / "checkpoints", state, where=Processes(), validation_loss=validation_loss, keep=1)

    train(
        state,
        lambda step: balanced(data, 0, step, args.batch_size),
        lambda batch, draw: loss_of(model, batch, draw),
        config=config,
        optim=optim,
        precision="fp32",
        seed=0,
        where=Processes(),
        report=report,
        validate=validate,
        save=keep,
    )
    model.load_state_dict(state.averaged_weights())
    save(model, args.out / "network")
    result = {"steps": args.steps, "batch_size": args.batch_size, "lr": args.lr, "validation": losses[-1]}
    write_json(args.out / "network" / "pretraining.json", result)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with WORLD/{train,val}/*.npz")
    parser.add_argument("--codec", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="network folder to go on from; default: random weights")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch-size", type=int, default=24)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=2)
    pretrain(parser.parse_args())


if __name__ == "__main__":
    main()
