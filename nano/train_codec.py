"""Pre-train a nano codec: `python -m nano.train_codec --data RENDERED --out FOLDER [--levels 8,8,8,8]`.

Starts at the PCA codec of the same rate (its dB is printed and stored beside the result), or at another codec, then
learns the residual networks with plain mean squared error. `--levels` makes a discrete codec; `--decoder-only` keeps
the latents as they are, so that what was trained on them stays valid. Killed and started again it continues from its
last checkpoint.

Shape legend: B batch, T frames, H W pixels, C channels, N latent frames.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nano.codec_start import crop, linear_codec, start_from
from nano.data import WORLDS, load_videos
from worldtune.contract.files import write_json, write_whole
from worldtune.networks.nano_video import files, grid
from worldtune.networks.nano_video.network import Autoencoder, NanoCodecConfig, relative_to_first, to_groups

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
    return channels_in(network, torch.channels_last), linear


def channels_in(network: Autoencoder, memory_format: torch.memory_format) -> Autoencoder:
    """The same network with its convolutions laid out otherwise."""
    moved: Autoencoder = network.to(memory_format=memory_format)  # type: ignore[call-overload]
    return moved


def train(args: argparse.Namespace) -> None:
    """The whole way, from rendered clips to a codec folder."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    videos = {world: load_videos(args.data, "train", world) for world in WORLDS}
    held_out = {world: load_videos(args.data, "val", world) for world in WORLDS}
    network, linear = start(args, videos)
    pca_db = judge(linear, held_out)
    print(f"unquantised PCA of {network.config.latent_channels} channels, held-out dB: {pca_db}", flush=True)
    print(f"start, held-out dB: {judge(network, held_out)}", flush=True)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=args.lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    state_path, first = args.out / "training.pt", 0
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    started = time.monotonic()
    for step in range(first, args.steps):
        warm, left = min(1.0, (step + 1) / 50), 1 - step / args.steps
        for group in optimizer.param_groups:
            group["lr"] = args.lr * warm * (0.02 + 0.98 * left)
        x_NCHW = to_groups(crop(videos, args.batch_size, step, TRAINING_FRAMES), network.config.frames_per_latent)
        x_NCHW = x_NCHW.contiguous(memory_format=torch.channels_last)
        loss = F.mse_loss(network(x_NCHW, 1 + (TRAINING_FRAMES - 1) // network.config.frames_per_latent), x_NCHW)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        if step % 50 == 0:
            per_step = (time.monotonic() - started) / (step + 1 - first)
            eta_min = per_step * (args.steps - step) / 60
            train_db = 10 * torch.log10(4 / loss.detach())
            print(f"step {step} train {train_db:.2f} dB, {per_step:.2f} s/step, ETA {eta_min:.0f} min", flush=True)
        if (step + 1) % 500 == 0 or step + 1 == args.steps:
            with write_whole(state_path) as temporary:
                state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
                torch.save(state, temporary)
            print(f"step {step + 1} held-out dB: {judge(network, held_out)}", flush=True)
    if network.quantizer is None and not args.decoder_only:
        fit_statistics(network, videos)
    files.write(channels_in(network, torch.contiguous_format), args.out)
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
    parser.add_argument("--batch-size", type=int, default=3)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=2)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
