"""Pre-train the nano continuous codec: `python -m nano.train_codec --data RENDERED --out FOLDER`.

Starts at the PCA codec of the same rate (its dB is printed and stored beside the result), then learns the residual
networks with plain mean squared error. Killed and started again it continues from its last checkpoint.

Shape legend: N clips, B batch, T frames, H W pixels, C channels, K values of a patch (3 r p p).
"""

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from nano.data import WORLDS, load_videos
from worldtune.codecs.nano_video import NanoVideoCodec, load, save
from worldtune.codecs.nano_video.network import Autoencoder, NanoCodecConfig, relative_to_first, to_groups
from worldtune.contract.files import write_json, write_whole
from worldtune.contract.randomness import generator

FRAMES = 17
"""Of a clip, when the codec is judged."""
TRAINING_FRAMES = 9
"""Of a training clip: the codec looks one latent frame back, and short clips give more variety per second."""


def crop(videos: dict[str, Tensor], batch_size: int, step: int, num_frames: int = TRAINING_FRAMES) -> Tensor:
    """A batch [B, 1 + r k, H, W, 3] in -1..1: worlds in turn, random clips, random first frames."""
    draw = generator(0, step, "codec batch")
    clips = []
    for row in range(batch_size):
        video = videos[WORLDS[(step + row) % len(WORLDS)]]
        clip = int(torch.randint(len(video), (), generator=draw))
        start = int(torch.randint(video.shape[1] - num_frames + 1, (), generator=draw))
        clips.append(video[clip, start : start + num_frames])
    return torch.stack(clips).float() / 127.5 - 1


def fit_pca(videos: dict[str, Tensor], config: NanoCodecConfig) -> tuple[Tensor, Tensor]:
    """(mean_K, basis_CK) of patches over random batches of the training split."""
    patch = config.pixels_per_latent
    size = config.group_channels * patch**2
    count, total_K, moment_KK = 0, torch.zeros(size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64)
    for step in range(40):
        x_NCHW = to_groups(crop(videos, 12, 1_000_000 + step), config.frames_per_latent)
        rows_NK = F.unfold(x_NCHW, patch, stride=patch).transpose(1, 2).flatten(0, 1).double()
        count, total_K = count + len(rows_NK), total_K + rows_NK.sum(0)
        moment_KK += rows_NK.T @ rows_NK
    mean_K = total_K / count
    _, vectors_KK = torch.linalg.eigh(moment_KK / count - mean_K.outer(mean_K))
    return mean_K.float(), vectors_KK.flip(1)[:, : config.latent_channels].T.float().contiguous()


def fit_statistics(network: Autoencoder, videos: dict[str, Tensor]) -> None:
    """Mean and deviation of the latents, separately for the first latent frame and the rest."""
    frames = 1 + (FRAMES - 1) // network.config.frames_per_latent
    with torch.inference_mode():
        latents = []
        for step in range(24):
            x_NCHW = to_groups(crop(videos, 12, 2_000_000 + step, FRAMES), network.config.frames_per_latent)
            latents.append(relative_to_first(network.encoder(x_NCHW, frames).unflatten(0, (-1, frames))))
    z_BTCHW = torch.cat(latents)
    for row, part in enumerate((z_BTCHW[:, :1], z_BTCHW[:, 1:])):
        network.latent_mean[row] = part.mean((0, 1, 3, 4))
        network.latent_std[row] = part.std((0, 1, 3, 4))


def round_trip_db(network: Autoencoder, video_NTHWC: Tensor) -> float:
    """Mean PSNR in dB over clips of FRAMES frames, through uint8 as a user would see it."""
    codec, was_training = NanoVideoCodec(network, "unsaved"), network.training
    scores = []
    for clip_THWC in video_NTHWC[:48, :FRAMES]:
        decoded = codec.decode(codec.encode(clip_THWC[None, None]))[0, 0]
        error = (decoded.float() - clip_THWC.float()).square().mean()
        scores.append(10 * torch.log10(255**2 / error))
    network.train(was_training).requires_grad_(True)
    return float(torch.stack(scores).mean())


def train(args: argparse.Namespace) -> None:
    """The whole way, from rendered clips to a codec folder."""
    torch.set_num_threads(args.threads)
    train_videos = {world: load_videos(args.data, "train", world) for world in WORLDS}
    val_videos = {world: load_videos(args.data, "val", world) for world in WORLDS}
    network = Autoencoder(NanoCodecConfig())
    network.start_linear(*fit_pca(train_videos, network.config))
    pca_db = {world: round_trip_db(network, video) for world, video in val_videos.items()}
    print(f"PCA codec of the same rate, held-out clips, dB: {pca_db}", flush=True)
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
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
        x_NCHW = to_groups(crop(train_videos, args.batch_size, step), network.config.frames_per_latent)
        frames = 1 + (TRAINING_FRAMES - 1) // network.config.frames_per_latent
        loss = F.mse_loss(network.decoder(network.encoder(x_NCHW, frames), frames), x_NCHW)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
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
            held_out = {world: round_trip_db(network, video) for world, video in val_videos.items()}
            print(f"step {step + 1} held-out dB: {held_out}", flush=True)
    fit_statistics(network, train_videos)
    save(network.to(memory_format=torch.contiguous_format), args.out)
    shipped = load(args.out).network
    codec_db = {world: round_trip_db(shipped, video) for world, video in val_videos.items()}
    result = {"pca_db": pca_db, "codec_db": codec_db, "steps": args.steps, "batch_size": args.batch_size}
    write_json(args.out / "round_trip.json", result)
    print(result)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with WORLD/{train,val}/*.npz")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4500)
    parser.add_argument("--batch-size", type=int, default=3)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=2)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
