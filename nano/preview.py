"""A contact sheet of the base's own predictions: `python -m nano.preview --work FOLDER --out docs/base_samples.webp`.

Reads the held-out windows that `nano.train_diffusion` encoded, gives one latent frame and the caption, and generates
the rest; rows are the truth through the codec and the prediction.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from nano.data import WORLDS
from nano.windows import batch_of
from worldtune.contract.condition import Condition, Widths
from worldtune.contract.latents import Normalisation
from worldtune.contract.randomness import generator
from worldtune.families import diffusion
from worldtune.report.sheet import contact_sheet
from worldtune.stages.base import find_base


def preview(args: argparse.Namespace) -> None:
    """Two clips of every world, as far apart in the held-out split as can be."""
    base = find_base("nano-diffusion")
    codec = base.codec()
    held_out = load_file(args.work / "val.safetensors")
    members = [(held_out["world_N"] == number).nonzero().flatten() for number in range(len(WORLDS))]
    rows_B = torch.stack([member[place] for member in members for place in (3, len(member) // 2)])
    batch = batch_of(held_out, rows_B)
    batch.num_observed_B = torch.ones(batch.size, dtype=torch.long)
    text_BVLD = batch.controls["text"]["tokens"]
    network, coverage = diffusion.load_base(args.network or base.network, Widths(text=text_BVLD.shape[-1]))
    print(coverage)
    sampler = diffusion.Sampler(steps=args.steps, sigma_max=40.0, sigma_min=0.01, guidance=args.guidance)
    draws = [generator(args.seed, int(row), "preview") for row in rows_B]
    with torch.inference_mode():
        made = diffusion.sample(
            network.eval(),
            batch,
            Condition(text_BVLD=text_BVLD),
            Condition(text_BVLD=torch.zeros_like(text_BVLD)),
            draws,
            sampler,
        )
    normalisation = Normalisation(*codec.statistics(made.shape[2]))

    def pixels(target: Tensor) -> np.ndarray:
        return codec.decode(normalisation.raw(target))[:, 0].numpy()

    truth, guess = pixels(batch.target), pixels(made)
    error = ((truth.astype(float) - guess)[:, 1:] ** 2).mean((1, 2, 3, 4))
    print("PSNR to the truth through the codec, dB:", (10 * np.log10(255**2 / error)).round(2))
    clips = [{"truth": truth[row], "predicted": guess[row]} for row in range(batch.size)]
    print(contact_sheet(clips, args.out))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="output folder of nano.train_diffusion")
    parser.add_argument("--network", type=Path, help="another network folder than the shipped one")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=18)
    parser.add_argument("--guidance", type=float, default=0.0)
    preview(parser.parse_args())


if __name__ == "__main__":
    main()
