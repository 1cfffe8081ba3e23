"""Pre-train the nano DiT: `python -m nano.train_diffusion --data RENDERED --codec FOLDER --text FOLDER --out FOLDER`.

Video prediction from one or two latent frames on all three worlds at once, with captions (dropped in a tenth of the
samples) and without any control. The same network, objective and loop as post-training; checkpoints every few minutes,
so that it continues when it was killed.

Shape legend: N windows, T frames, H W grid, C channels.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from nano.pretraining import Plan, pretrain
from nano.windows import FRAMES, LATENT, condition_of, encoded_windows
from worldtune.codecs import nano_video
from worldtune.contract.condition import Widths
from worldtune.contract.files import write_json
from worldtune.contract.latents import Normalisation
from worldtune.contract.nouns import Batch
from worldtune.families import diffusion
from worldtune.families.diffusion.logvariance import DiffusionModel
from worldtune.families.diffusion.presets import NANO
from worldtune.families.diffusion.weights import load_base, save
from worldtune.text import nano as nano_text
from worldtune.training.optim import OptimConfig

OBJECTIVE = diffusion.Objective(sigma_p_std=1.4, sigma_multiplier=4.0, num_observed_min=1, num_observed_max=2)
"""More noise than the default: so small a network generates in one step, from noise alone."""


def encode_split(args: argparse.Namespace, split: str) -> dict[str, Tensor]:
    """Normalised latents of all windows and the text rows of each, made once and kept in the output folder."""
    codec, encoder = nano_video.load(args.codec), nano_text.load(args.text)
    normalisation = Normalisation(*codec.statistics(1 + (FRAMES - 1) // codec.frames_per_latent))

    def encode(clips: Tensor) -> Tensor:
        return normalisation.normalised(codec.encode(clips)[:, 0]).half()

    return encoded_windows(args.out / f"{split}.safetensors", args.data, split, LATENT, encode, encoder)


def train_network(args: argparse.Namespace) -> None:
    """The whole way, from rendered clips, codec and text encoder to a network folder."""
    torch.set_num_threads(args.threads)
    data, held_out = encode_split(args, "train"), encode_split(args, "val")
    torch.manual_seed(0)
    widths = Widths(text=data["text_NLD"].shape[-1])
    model = load_base(args.start, widths)[0] if args.start else DiffusionModel(NANO, widths)

    def loss_of(batch: Batch, draw: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        return diffusion.loss(model, batch, condition_of(batch, draw), draw, OBJECTIVE)

    optim = OptimConfig(optimizer=args.optimizer, lr=args.lr, schedule="cosine", final_lr_ratio=0.02)
    plan = Plan(folder=args.out, steps=args.steps, batch_size=args.batch_size, optim=optim)
    validation = pretrain(model, loss_of, data, held_out, plan)
    save(model.bfloat16(), args.out / "network")
    made = {name: getattr(args, name) for name in ("steps", "batch_size", "lr", "optimizer")}
    write_json(args.out / "network" / "pretraining.json", {**made, "validation": validation})


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
    parser.add_argument("--optimizer", choices=("adamw", "muon"), default="muon")
    parser.add_argument("--threads", type=int, default=2)
    train_network(parser.parse_args())


if __name__ == "__main__":
    main()
