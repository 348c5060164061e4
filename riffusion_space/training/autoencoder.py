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

from riffusion_space.training.state import TrainingState, half_precision, set_rate

CROP_COLUMNS, CROP_BANDS = 128, 512


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
    """uint8 (batch, 512, CROP_COLUMNS): crops in time, two thirds of them altered to sound like anybody's music.

    Altered means: mixed with one or two other clips (amplitudes add as energies), moved in pitch, filtered by a smooth
    random curve, or lifted out of the silence around by a floor of noise, each by chance.
    """
    def crop() -> np.ndarray:
        clips = rng.choice(shards)
        start = rng.randrange(clips.shape[2] - CROP_COLUMNS + 1)
        level = 1 - clips[rng.randrange(len(clips)), :, start:start + CROP_COLUMNS] / np.float32(255)
        return level  # amplitude to the power 1/4

    def altered() -> np.ndarray:
        level = crop()
        for _ in range(rng.choice((0, 1, 1, 2))):
            level = (level**8 + crop() ** 8 * rng.uniform(0.1, 1.0)) ** 0.125
        if rng.random() < 0.5:
            shift = rng.randint(-24, 24)
            level = np.pad(level, ((max(shift, 0), max(-shift, 0)), (0, 0)), "edge")
            level = level[: CROP_BANDS] if shift > 0 else level[-CROP_BANDS:]
        if rng.random() < 0.3:
            noise = np.random.default_rng(rng.getrandbits(32)).rayleigh(1.0, level.shape) * rng.uniform(1e-4, 3e-3)
            level = (level**8 + noise**2) ** 0.125
        knots = np.array([rng.uniform(-0.2, 0.15) for _ in range(6)])
        return np.clip(level * (1 + np.interp(np.linspace(0, 5, 512), np.arange(6), knots)[:, None]), 0, 1)

    levels = np.stack([altered() if rng.random() < 0.67 else crop() for _ in range(batch)])
    return torch.from_numpy((255 * (1 - levels)).round().astype(np.uint8))


def reconstruction_loss(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Between images (batch, 3, bands, columns) in [-1, 1]: L1, MSE and L1 of the edges, more where it is louder.

    Amplitude is the fourth power of darkness, so that the same error of a pixel is heard more in a dark one; spectral
    lines and onsets are edges: a blurred picture must cost more than its mean error says.
    """
    weight = 0.5 + 1.5 * ((1 - x) / 2).square()
    difference = y - x
    edges = sum((torch.diff(difference, dim=d).abs() * weight.narrow(d, 1, weight.shape[d] - 1)).mean() for d in (2, 3))
    return (weight * (difference.abs() + difference.square())).mean() + 0.5 * edges


def train(corpus: Path, out: Path, steps: int, batch: int, rate: float, device: torch.device,
          decoder_of: Path | None = None) -> AutoencoderKL:
    """Train to ``steps`` steps in all, resuming; returns the model with averaged weights.

    With ``decoder_of``, an autoencoder's folder, only its decoder is trained further: its latents stay what they are,
    and with them every diffusion model that was trained on them.
    """
    torch.manual_seed(0)
    model = (AutoencoderKL.from_pretrained(decoder_of) if decoder_of else build_autoencoder()).to(device).float()
    if decoder_of:
        model.encoder.requires_grad_(False)
        model.quant_conv.requires_grad_(False)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, rate, betas=(0.9, 0.98), weight_decay=1e-3)
    state = TrainingState(out, model, optimizer, decay=0.995)
    rng = random.Random(f"autoencoder {state.step}")
    shards: list[np.ndarray] = []
    while state.step < steps:
        if state.step % 200 == 0 or not shards:  # the corpus may still be growing
            shards = [np.load(path, mmap_mode="r") for path in sorted(corpus.glob("shard_*.npy"))]
            if not shards:
                raise FileNotFoundError(f"no shards in {corpus}: run python -m riffusion_space.training.corpus first")
        x = images(random_crops(shards, batch, rng).to(device))
        set_rate(optimizer, rate, state.step, state.step / steps)
        with half_precision(device):
            with torch.set_grad_enabled(decoder_of is None):
                posterior = model.encode(x).latent_dist
            y = model.decode(posterior.sample()).sample.float()
        loss = reconstruction_loss(y, x)
        if decoder_of is None:
            loss = loss + 1e-6 * posterior.kl().sum() / x.shape[0]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        psnr = 10 * math.log10(4 / max(1e-9, (y - x).square().mean().item()))
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
    parser.add_argument("--decoder-of", type=Path, help="train only the decoder of this autoencoder's folder further")
    args = parser.parse_args()
    device = torch.device(args.device)
    model = train(args.corpus, args.out, args.steps, args.batch, args.rate, device, args.decoder_of)
    if args.decoder_of is None:
        shard = np.load(min(args.corpus.glob("shard_*.npy")))
        normalize_latents(model, images(torch.from_numpy(shard[:40]).to(device)))
    model.save_pretrained(args.out / "vae")
    print(f"wrote {args.out / 'vae'}")


if __name__ == "__main__":
    main()
