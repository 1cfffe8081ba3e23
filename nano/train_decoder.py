"""Train the nano diffusion decoder, which draws what the decoder of the discrete nano codec blurs:
`python -m nano.train_decoder --data RENDERED --tokens FOLDER --latents FOLDER --out FOLDER`.

The target is the difference, in normalised latents of the continuous codec, between a clip and the same clip through
the discrete codec; the latter is what the network is given. Its output starts at zero: in one step an untrained decoder
changes nothing. Family, objective and loop are those of post-training; killed and started again it continues.

Shape legend: N windows, V = 1 views, T frames, H W pixels or latent grid, C channels, R rows of statistics.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nano.data import WORLDS, load_videos
from nano.pretraining import Plan, pretrain
from nano.windows import CLIPS_AT_ONCE, FRAMES, LATENT
from worldtune.codecs import nano_tokens, nano_video
from worldtune.contract.condition import Widths
from worldtune.contract.files import write_json, write_whole
from worldtune.contract.nouns import Batch
from worldtune.contract.protocols import Codec
from worldtune.families import diffusion
from worldtune.families.diffusion.logvariance import DiffusionModel
from worldtune.families.diffusion.presets import preset
from worldtune.families.diffusion.weights import save
from worldtune.stages.decoder import DESCRIPTION, batch_of, by_frame, condition_of, normalised
from worldtune.training.optim import OptimConfig

OBJECTIVE = diffusion.Objective(sigma_p_std=1.4)
STRIDE = 8
"""Pixel frames between the windows of a clip."""


def pairs(path: Path, data: Path, split: str, clips: int, tokens: Codec, latents: Codec) -> dict[str, Tensor]:
    """Windows of up to `clips` clips of every world, training windows mirrored too; kept in `path`.

    Their LATENT is what is missing beside what is seen, float16 [N,T,H,W,2C].
    """
    if path.exists():
        return load_file(path)
    windows, worlds = [], []
    for number, world in enumerate(WORLDS):
        videos_NTHWC = load_videos(data, split, world)[:clips]
        starts = range(0, videos_NTHWC.shape[1] - FRAMES + 1, STRIDE)
        for part in videos_NTHWC.split(CLIPS_AT_ONCE):
            for seen in [part, part.flip(3)] if split == "train" else [part]:
                cut = [_pair(seen[:, None, start : start + FRAMES], tokens, latents) for start in starts]
                windows += cut
                worlds += [torch.full((len(seen),), number)] * len(cut)
        print(f"{split} {world}: {len(videos_NTHWC)} clips encoded", flush=True)
    tensors = {LATENT: torch.cat(windows), "world_N": torch.cat(worlds)}
    with write_whole(path) as temporary:
        save_file(tensors, temporary)
    return tensors


def _pair(video_NVTHWC: Tensor, tokens: Codec, latents: Codec) -> Tensor:
    true = normalised(latents, latents.encode(video_NVTHWC))
    seen = normalised(latents, latents.encode(tokens.decode(tokens.encode(video_NVTHWC))))
    return torch.cat([true - seen, seen], -1)[:, 0].half()


def missing_std(data: dict[str, Tensor]) -> Tensor:
    """Deviation of what is missing, separately for the first latent frame and the rest, [R,C]."""
    missing_NTHWC = data[LATENT].chunk(2, -1)[0].float()
    return torch.stack([part.std((0, 1, 2, 3)) for part in (missing_NTHWC[:, :1], missing_NTHWC[:, 1:])])


def fresh_model(channels: int) -> DiffusionModel:
    """The nano decoder before its first step: its output is zero."""
    torch.manual_seed(0)
    model = DiffusionModel(preset("nano-decoder"), Widths(dense=channels))
    nn.init.zeros_(model.net.final.proj.weight)
    return model


def run(args: argparse.Namespace) -> None:
    """The whole way, from rendered clips and two codecs to a decoder folder."""
    torch.set_num_threads(args.threads)
    tokens, latents = nano_tokens.load(args.tokens), nano_video.load(args.latents)
    data, held_out = (
        pairs(args.out / f"{split}.safetensors", args.data, split, args.clips, tokens, latents)
        for split in ("train", "val")
    )
    std_RC = missing_std(data)
    std_THWC = by_frame(std_RC, data[LATENT].shape[1])
    model = fresh_model(latents.latent_channels)

    def loss_of(batch: Batch, draw: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        missing, seen = batch.target.chunk(2, -1)
        return diffusion.loss(model, batch_of(missing / std_THWC), condition_of(seen), draw, OBJECTIVE)

    optim = OptimConfig(optimizer=args.optimizer, lr=args.lr, schedule="cosine", final_lr_ratio=0.02)
    plan = Plan(folder=args.out, steps=args.steps, batch_size=args.batch_size, optim=optim)
    validation = pretrain(model, loss_of, data, held_out, plan)
    save(model.bfloat16(), args.out / "network")
    made = {name: getattr(args, name) for name in ("clips", "steps", "batch_size", "lr", "optimizer")}
    write_json(args.out / "network" / "pretraining.json", {**made, "validation": validation})
    write_json(
        args.out / DESCRIPTION,
        {
            "network": "network",
            "codec": {"room": "nano_video", "path": f"../{args.latents.name}"},
            "trained_with": {"tokens": tokens.identity, "latents": latents.identity},
            "missing_std": std_RC.tolist(),
            "settings": ["steps=2", "sigma_max=40.0", "sigma_min=0.01", "guidance=0.0"],
        },
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with WORLD/{train,val}/*.npz")
    parser.add_argument("--tokens", type=Path, required=True, help="discrete codec")
    parser.add_argument("--latents", type=Path, required=True, help="continuous codec")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=300, help="clips of every world and split")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--optimizer", choices=("adamw", "muon"), default="muon")
    parser.add_argument("--threads", type=int, default=2)
    run(parser.parse_args())


if __name__ == "__main__":
    main()
