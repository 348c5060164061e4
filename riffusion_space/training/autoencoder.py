"""Train the autoencoder: spectrogram images (3, 512, 512) in [-1, 1] to latents (8, 64, 64) and back.

``python -m riffusion_space.training.autoencoder --corpus data/corpus --out data/autoencoder --steps 2000``
"""

from __future__ import annotations

import argparse
import math
import random
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn import functional as F

from riffusion_space.training.state import TrainingState, half_precision, set_rate

CROP_COLUMNS = 128


def build_autoencoder() -> AutoencoderKL:
    """An 8-fold AutoencoderKL with 8 latent channels, 2.6 M weights, cheap at full resolution, no attention.

    16-fold with 16 channels was tried: after as many steps it was 4 dB worse, and the diffusion model hardly faster.
    """
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 128), layers_per_block=1, latent_channels=8, norm_num_groups=8,
        sample_size=512, scaling_factor=1.0, mid_block_add_attention=False,
    )


def images(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 pixels (batch, bands, columns) as the model's images: float (batch, 3, bands, columns) in [-1, 1]."""
    return (pixels.float() / 127.5 - 1)[:, None].expand(-1, 3, -1, -1)


def random_crops(shards: list[np.ndarray], batch: int, rng: random.Random) -> torch.Tensor:
    """uint8 (batch, 512, CROP_COLUMNS): crops in time, a third of them altered to sound less like one sound font.

    Altered means: mixed with another clip (amplitudes add as energies), or filtered by a smooth random curve.
    """
    def crop() -> np.ndarray:
        clips = rng.choice(shards)
        start = rng.randrange(clips.shape[2] - CROP_COLUMNS + 1)
        return clips[rng.randrange(len(clips)), :, start:start + CROP_COLUMNS]

    def altered() -> np.ndarray:
        level = 1 - crop() / 255.0  # amplitude to the power 1/4
        if rng.random() < 0.5:
            level = (level**8 + (1 - crop() / 255.0) ** 8 * rng.uniform(0.1, 1.0)) ** 0.125
        knots = np.array([rng.uniform(-0.2, 0.15) for _ in range(6)])
        curve = np.interp(np.linspace(0, 5, 512), np.arange(6), knots)[:, None]
        return (255 * (1 - np.clip(level * (1 + curve), 0, 1))).astype(np.uint8)

    return torch.from_numpy(np.stack([altered() if rng.random() < 0.33 else crop() for _ in range(batch)]))


def train(corpus: Path, out: Path, steps: int, batch: int, rate: float, device: torch.device) -> AutoencoderKL:
    """Train to ``steps`` steps in all, resuming; returns the model with averaged weights."""
    torch.manual_seed(0)
    model = build_autoencoder().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), rate, betas=(0.9, 0.98), weight_decay=1e-3)
    state = TrainingState(out, model, optimizer, decay=0.995)
    rng = random.Random(f"autoencoder {state.step}")
    shards: list[np.ndarray] = []
    while state.step < steps:
        if state.step % 200 == 0 or not shards:  # the corpus may still be growing
            shards = [np.load(path, mmap_mode="r") for path in sorted(corpus.glob("shard_*.npy"))]
            if not shards:
                raise FileNotFoundError(f"no shards in {corpus}: run python -m riffusion_space.training.corpus first")
        x = images(random_crops(shards, batch, rng).to(device))
        set_rate(optimizer, rate, state.step, steps)
        with half_precision(device):
            posterior = model.encode(x).latent_dist
            y = model.decode(posterior.sample()).sample.float()
        difference = y - x
        mse = difference.square().mean()
        # Spectral lines and onsets are edges: a blurred picture must cost more than its mean error says.
        edges = sum(F.l1_loss(torch.diff(y, dim=d), torch.diff(x, dim=d)) for d in (2, 3))
        loss = difference.abs().mean() + mse + 0.5 * edges + 1e-6 * posterior.kl().sum() / x.shape[0]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        psnr = 10 * math.log10(4 / max(1e-9, mse.item()))
        state.update(loss=loss.item(), psnr=psnr)
        if state.step % 50 == 0:
            print(f"autoencoder step {state.step}: loss {loss.item():.4f}, PSNR {psnr:.1f} dB", flush=True)
        if state.step % 200 == 0 or state.step == steps:
            state.save()
    model.load_state_dict(state.average)
    return model.eval()


@torch.no_grad()
def normalize_latents(model: AutoencoderKL, x: torch.Tensor) -> None:
    """Fold the latents' per-channel mean and deviation over images ``x`` into the 1 x 1 convolutions around them.

    Afterwards latents have mean 0 and variance 1 in every channel and the configuration needs no scaling factor.
    """
    latents = torch.cat([model.encode(part).latent_dist.mean for part in x.split(1)])
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    channels = len(mean)
    quant, post = model.quant_conv, model.post_quant_conv
    post.bias += post.weight[:, :, 0, 0] @ mean
    post.weight *= std[None, :, None, None]
    quant.weight[:channels] /= std[:, None, None, None]
    quant.bias[:channels] = (quant.bias[:channels] - mean) / std
    quant.bias[channels:] -= 2 * std.log()  # the second half is the log variance


def main() -> None:
    parser = argparse.ArgumentParser(description="Train riffusion-mini's autoencoder.")
    parser.add_argument("--corpus", type=Path, default=Path("data/corpus"))
    parser.add_argument("--out", type=Path, default=Path("data/autoencoder"))
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=2, help=f"crops of {CROP_COLUMNS} columns a step")
    parser.add_argument("--rate", type=float, default=6e-4, help="peak learning rate; 1e-3 diverges at first")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    device = torch.device(args.device)
    model = train(args.corpus, args.out, args.steps, args.batch, args.rate, device)
    shard = np.load(min(args.corpus.glob("shard_*.npy")))
    normalize_latents(model, images(torch.from_numpy(shard[:40]).to(device)))
    model.save_pretrained(args.out / "vae")
    print(f"wrote {args.out / 'vae'}")


if __name__ == "__main__":
    main()
