"""Pre-train the nano transformer:
`python -m nano.train_autoregressive --data RENDERED --codec FOLDER --text FOLDER --out FOLDER`.

Next-token prediction on all three worlds at once, with captions (dropped in a tenth of the samples) and without any
control. The same network, objective and loop as post-training; clips are turned into tokens once and kept;
checkpoints every few minutes, so that it continues when it was killed.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from nano.pretraining import Plan, pretrain
from nano.windows import FRAMES, TOKENS, condition_of, encoded_windows
from worldtune.codecs import nano_tokens
from worldtune.contract.condition import Widths
from worldtune.contract.files import write_json
from worldtune.contract.nouns import Batch
from worldtune.families import autoregressive
from worldtune.families.autoregressive.config import NetworkConfig
from worldtune.families.autoregressive.network import VideoTransformer
from worldtune.families.autoregressive.presets import NANO
from worldtune.families.autoregressive.weights import load_base, save
from worldtune.text import nano as nano_text
from worldtune.training.optim import OptimConfig

OBJECTIVE = autoregressive.Objective(num_observed_min=0, num_observed_max=1)
"""Half of the clips teach the first frame too."""
SIDE_PX = 64


def network_config(codec: nano_tokens.NanoTokensCodec, text_channels: int) -> NetworkConfig:
    """The nano preset with the codec's vocabulary and grid."""
    grid = codec.grid(views=1, frames=FRAMES, height_px=SIDE_PX, width_px=SIDE_PX)
    return replace(
        NANO,
        vocab_size=codec.num_codes,
        max_frames=grid.frames,
        max_height=grid.height,
        max_width=grid.width,
        text_channels=text_channels,
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with WORLD/{train,val}/*.npz")
    parser.add_argument("--codec", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="network folder to go on from; default: random weights")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch-size", type=int, default=24)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--optimizer", choices=("adamw", "muon"), default="muon")
    parser.add_argument("--report-every", type=int, default=20)
    parser.add_argument("--save-every", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    run(parser.parse_args())


def run(args: argparse.Namespace) -> None:
    """The whole way, from rendered clips, codec and text encoder to a network folder."""
    torch.set_num_threads(args.threads)
    codec, texts = nano_tokens.load(args.codec), nano_text.load(args.text)

    def encode(clips: Tensor) -> Tensor:
        return codec.encode(clips)[:, 0].int()

    data, held_out = (
        encoded_windows(args.out / f"{split}.safetensors", args.data, split, TOKENS, encode, texts)
        for split in ("train", "val")
    )
    torch.manual_seed(0)
    widths = Widths(text=texts.width)
    fresh = VideoTransformer(network_config(codec, texts.width), widths)
    model = load_base(args.start, widths)[0] if args.start else fresh

    def loss_of(batch: Batch, draw: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        return autoregressive.loss(model, batch, condition_of(batch, draw), draw, OBJECTIVE)

    optim = OptimConfig(
        optimizer=args.optimizer, lr=args.lr, beta2=0.98, schedule="cosine", warmup_steps=None, final_lr_ratio=0.02
    )
    plan = Plan(
        folder=args.out,
        steps=args.steps,
        batch_size=args.batch_size,
        optim=optim,
        report_every=args.report_every,
        save_every=args.save_every,
    )
    validation = pretrain(model, loss_of, data, held_out, plan)
    save(model.bfloat16(), args.out / "network")
    made = {name: getattr(args, name) for name in ("steps", "batch_size", "lr", "optimizer")}
    write_json(args.out / "network" / "pretraining.json", {**made, "validation": validation})


if __name__ == "__main__":
    main()
