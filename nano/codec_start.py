"""Where training of a nano codec starts: at PCA of the same rate, or at another codec that is grown or cut to size.

Shape legend: B clips, T frames, H W pixels, C latent channels, K values of a patch (3 r p p), N latent frames,
P patches.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nano.data import WORLDS
from worldtune.contract.randomness import generator
from worldtune.networks.nano_video.network import Autoencoder, NanoCodecConfig, to_groups

PCA_BATCHES, PCA_CLIPS = 40, 12


def crop(videos: dict[str, Tensor], batch_size: int, step: int, num_frames: int) -> Tensor:
    """A batch [B, T, H, W, 3] in -1..1: worlds in turn, random clips, first frames and mirror images."""
    draw = generator(0, step, "codec batch")
    clips = []
    for row in range(batch_size):
        video = videos[WORLDS[(step + row) % len(WORLDS)]]
        clip = int(torch.randint(len(video), (), generator=draw))
        start = int(torch.randint(video.shape[1] - num_frames + 1, (), generator=draw))
        window_THWC = video[clip, start : start + num_frames]
        clips.append(window_THWC.flip(2) if torch.rand((), generator=draw) < 0.5 else window_THWC)
    return torch.stack(clips).float() / 127.5 - 1


def fit_pca(videos: dict[str, Tensor], config: NanoCodecConfig, num_frames: int) -> tuple[Tensor, Tensor]:
    """(mean_K, basis_CK) of patches over random batches of the training split."""
    patch = config.pixels_per_latent
    size = config.group_channels * patch**2
    count, total_K, moment_KK = 0, torch.zeros(size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64)
    for step in range(PCA_BATCHES):
        x_NCHW = to_groups(crop(videos, PCA_CLIPS, 1_000_000 + step, num_frames), config.frames_per_latent)
        rows_PK = F.unfold(x_NCHW, patch, stride=patch).transpose(1, 2).flatten(0, 1).double()
        count, total_K = count + len(rows_PK), total_K + rows_PK.sum(0)
        moment_KK += rows_PK.T @ rows_PK
    mean_K = total_K / count
    _, vectors_KK = torch.linalg.eigh(moment_KK / count - mean_K.outer(mean_K))
    return mean_K.float(), vectors_KK.flip(1)[:, : config.latent_channels].T.float().contiguous()


def linear_codec(videos: dict[str, Tensor], config: NanoCodecConfig, num_frames: int) -> Autoencoder:
    """The unquantised PCA codec with the configuration's channels, which every result is compared with."""
    values = {**vars(config), "levels": (), "encoder_blocks": 0, "decoder_blocks": 0}
    network = Autoencoder(NanoCodecConfig(**values))
    network.start_linear(*fit_pca(videos, config, num_frames))
    return network


@torch.no_grad()
def start_from(network: Autoencoder, source: Autoencoder, videos: dict[str, Tensor], num_frames: int) -> None:
    """Take over a trained codec: new blocks are the identity, and fewer latent channels are its first ones.

    Channels that were continuous are centred and scaled to unit deviation for a quantiser, which its tanh wants.
    """
    channels = network.config.latent_channels
    state = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    if network.quantizer is not None:
        state = {name: tensor for name, tensor in state.items() if not name.startswith("latent_")}
    mean_C, spread_C = torch.zeros(channels), torch.ones(channels)
    if network.quantizer is not None and source.quantizer is None:
        x_NCHW = to_groups(crop(videos, 4 * PCA_CLIPS, 2_000_000, num_frames), network.config.frames_per_latent)
        z_NCHW = source.encoder(x_NCHW, 1 + (num_frames - 1) // network.config.frames_per_latent)[:, :channels]
        mean_C, spread_C = z_NCHW.mean((0, 2, 3)), z_NCHW.std((0, 2, 3))
    for name in ("encoder.linear", "encoder.out"):
        state[f"{name}.weight"] = state[f"{name}.weight"][:channels] / spread_C[:, None, None, None]
        state[f"{name}.bias"] = state[f"{name}.bias"][:channels] / spread_C
    state["encoder.linear.bias"] -= mean_C / spread_C
    linear, stem = state["decoder.linear.weight"][:channels], state["decoder.stem.weight"][:, :channels]
    offset_K = (linear * mean_C[:, None, None, None]).sum(0).mean((1, 2))
    state["decoder.linear.bias"] = state["decoder.linear.bias"] + offset_K
    state["decoder.stem.bias"] = state["decoder.stem.bias"] + (stem.sum((2, 3)) * mean_C).sum(1)
    state["decoder.linear.weight"] = linear * spread_C[:, None, None, None]
    state["decoder.stem.weight"] = stem * spread_C[:, None, None]
    missing, unexpected = network.load_state_dict(state, strict=False)
    if unexpected or any(not name.startswith("latent_") and not _is_block(network, name) for name in missing):
        raise ValueError(f"the codec to start from does not fit: missing {missing}, unexpected {unexpected}")


def _is_block(network: nn.Module, name: str) -> bool:
    """Whether a tensor belongs to a residual block, which is the identity as built."""
    return any(part.isdigit() for part in name.split(".")) and name in network.state_dict()
