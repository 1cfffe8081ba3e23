"""Pre-train a nano codec: `python -m nano.train_codec --data RENDERED --out FOLDER [--levels 8,8,8,8]`.

Starts at the PCA codec of the same rate (its dB is printed and stored beside the result), or at another codec, then
learns the residual networks with plain mean squared error. `--levels` makes a discrete codec; `--decoder-only` keeps
the latents as they are, so that what was trained on them stays valid. Killed and started again it continues from its
last checkpoint.

Shape legend: B batch, T frames, H W pixels, C channels, N latent frames.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nano.codec_start import crop, linear_codec, start_from
from nano.data import WORLDS, load_videos
from nano.pretraining import Plan, pretrain_on
from worldtune.contract.files import write_json
from worldtune.contract.nouns import Batch
from worldtune.networks.nano_video import files, grid
from worldtune.networks.nano_video.network import Autoencoder, NanoCodecConfig, relative_to_first, to_groups
from worldtune.training.optim import OptimConfig

FRAMES = 17
"""Of a clip, when the codec is judged."""
TRAINING_FRAMES = 9
"""Of a training clip: the codec looks one latent frame back, and short clips give more variety per second."""
JUDGED_CLIPS = 48
STATISTICS_BATCHES, STATISTICS_CLIPS = 24, 12


@torch.inference_mode()
def fit_statistics(network: Autoencoder, videos: dict[str, Tensor]) -> None:
    """Mean and deviation of the latents, separately for the first latent frame and the rest."""
    latents = []
    for step in range(STATISTICS_BATCHES):
        pixels = (crop(videos, STATISTICS_CLIPS, 2_000_000 + step, FRAMES) + 1) * 127.5
        latents.append(relative_to_first(grid.encode(network, pixels.round().to(torch.uint8))))
    z_BTHWC = torch.cat(latents)
    for row, part in enumerate((z_BTHWC[:, :1], z_BTHWC[:, 1:])):
        network.latent_mean[row] = part.mean((0, 1, 2, 3))
        network.latent_std[row] = part.std((0, 1, 2, 3))


@torch.inference_mode()
def judge(network: Autoencoder, videos: dict[str, Tensor]) -> dict[str, Any]:
    """Per world the mean PSNR in dB over clips of FRAMES frames, through uint8 as a user would see it.

    Of a discrete codec also the share of its codes in use over these clips.
    """
    scores: dict[str, Any] = {}
    used = set()
    for world, video_NTHWC in videos.items():
        clips_NTHWC = video_NTHWC[:JUDGED_CLIPS, :FRAMES]
        z_NTHWC = grid.encode(network, clips_NTHWC)
        if network.quantizer is not None:
            z_NTHWC = network.quantizer.codes(z_NTHWC)
            used |= set(network.quantizer.indices(z_NTHWC).flatten().tolist())
        error_N = (grid.decode(network, z_NTHWC).float() - clips_NTHWC.float()).square().mean((1, 2, 3, 4))
        scores[world] = round(float((10 * torch.log10(255**2 / error_N)).mean()), 3)
    if network.quantizer is not None:
        scores["codes_used"] = round(len(used) / network.quantizer.num_codes, 4)
    return scores


def start(args: argparse.Namespace, videos: dict[str, Tensor]) -> tuple[Autoencoder, Autoencoder]:
    """The network before its first step, and the linear codec that it is compared with."""
    levels = tuple(map(int, args.levels.split(","))) if args.levels else ()
    config = NanoCodecConfig(
        latent_channels=len(levels) or NanoCodecConfig.latent_channels,
        encoder_blocks=args.encoder_blocks,
        decoder_blocks=args.decoder_blocks,
        levels=levels,
    )
    network = Autoencoder(config)
    linear = linear_codec(videos, config, TRAINING_FRAMES)
    start_from(network, files.read(args.start)[0] if args.start else linear, videos, TRAINING_FRAMES)
    network.encoder.requires_grad_(not args.decoder_only)
    return network, linear


def run(args: argparse.Namespace) -> None:
    """The whole way, from rendered clips to a codec folder."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    videos = {world: load_videos(args.data, "train", world) for world in WORLDS}
    held_out = {world: load_videos(args.data, "val", world) for world in WORLDS}
    network, linear = start(args, videos)
    pca_db = judge(linear, held_out)
    print(f"unquantised PCA of {network.config.latent_channels} channels, held-out dB: {pca_db}", flush=True)
    print(f"start, held-out dB: {judge(network, held_out)}", flush=True)

    def batches(step: int) -> Batch:
        video_BTHWC = crop(videos, args.batch_size, step, TRAINING_FRAMES)
        ids = tuple(map(str, range(args.batch_size)))
        return Batch(target=video_BTHWC[:, None], controls={}, fps_hz_B=torch.ones(args.batch_size), clip_ids=ids)

    def loss_of(batch: Batch, _: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        x_NCHW = to_groups(batch.target[:, 0], network.config.frames_per_latent)
        back_NCHW = network(x_NCHW, 1 + (TRAINING_FRAMES - 1) // network.config.frames_per_latent)
        return F.mse_loss(back_NCHW.float(), x_NCHW), {}

    def validate() -> dict[str, float]:
        scores = judge(network, held_out)
        return {"loss": -sum(scores[world] for world in WORLDS) / len(WORLDS), **scores}

    optim = OptimConfig(
        optimizer="muon", lr=args.lr, beta2=0.98, weight_decay=0.0, schedule="cosine", final_lr_ratio=0.01
    )
    plan = Plan(folder=args.out, steps=args.steps, batch_size=args.batch_size, optim=optim, save_every=args.save_every)
    pretrain_on(batches, network, loss_of, validate, plan)
    if network.quantizer is None and not args.decoder_only:
        fit_statistics(network, videos)
    files.write(network, args.out)
    shipped, _ = files.read(args.out)
    result = {"pca_db": pca_db, "codec_db": judge(shipped, held_out), "steps": args.steps, "started_at": args.start}
    write_json(args.out / "round_trip.json", {**result, "started_at": args.start and args.start.name})
    print(result)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with WORLD/{train,val}/*.npz")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--levels", default="", help="levels of every channel of a discrete codec, 8,8,8,8")
    parser.add_argument("--start", type=Path, help="codec folder to start from; default: PCA")
    parser.add_argument("--decoder-only", action="store_true", help="keep the latents")
    parser.add_argument("--encoder-blocks", type=int, default=NanoCodecConfig.encoder_blocks)
    parser.add_argument("--decoder-blocks", type=int, default=NanoCodecConfig.decoder_blocks)
    parser.add_argument("--steps", type=int, default=4500)
    parser.add_argument("--batch-size", type=int, default=6)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--save-every", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    run(parser.parse_args())


if __name__ == "__main__":
    main()
