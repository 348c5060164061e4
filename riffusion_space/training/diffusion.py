"""Train the diffusion model: a UNet2DConditionModel that paints the autoencoder's latents from the text's embeddings.

``python -m riffusion_space.training.diffusion --corpus data/corpus --vae data/autoencoder/vae --text data/text
--out data/diffusion --steps 6000``

``--start CHECKPOINT`` goes on from another checkpoint's UNet: a corpus of more sounds is learned in less time. On a
GPU: ``--batch 512 --rate 1e-3 --cropped 0 --compile``, and ``--minutes`` instead of ``--steps`` for time that is paid.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from riffusion_space.training.autoencoder import images
from riffusion_space.training.captions import caption
from riffusion_space.training.corpus import read_pieces
from riffusion_space.training.state import TrainingState, half_precision, set_rate
from riffusion_space.training.text import WIDTH, tokenize

UNCONDITIONAL = 0.1  # share of captions left out, for classifier-free guidance (Ho & Salimans 2022)
CROP_COLUMNS = 32  # half a clip
WORDINGS = 8  # captions of each clip
MIN_SNR = 5.0  # Hang et al. 2023, in the form for v-prediction


def build_unet() -> UNet2DConditionModel:
    """A UNet for 8 x 64 x 64 latents, narrow where they are wide, with attention on the two lower levels.

    The prompt also reaches every residual block: its pooled embedding joins the timestep's (``addition_embed_type``),
    which teaches a small model what to paint far sooner than cross-attention alone.
    """
    channels = (32, 96, 192, 256)
    return UNet2DConditionModel(
        sample_size=64, in_channels=8, out_channels=8, block_out_channels=channels, layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH, attention_head_dim=tuple(c // 32 for c in channels), norm_num_groups=16,
        resnet_time_scale_shift="scale_shift", addition_embed_type="text", addition_embed_type_num_heads=8,
    )


def build_scheduler() -> DPMSolverMultistepScheduler:
    """Stable Diffusion's noise schedule, predicting velocity."""
    return DPMSolverMultistepScheduler(
        num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        prediction_type="v_prediction", timestep_spacing="trailing")


def latents_folder(corpus: Path, vae: AutoencoderKL) -> Path:
    """Where a corpus keeps its latents; they are never mistaken for those of another autoencoder."""
    weights = b"".join(value.float().cpu().numpy().tobytes() for value in vae.state_dict().values())
    return corpus / f"latents-{hashlib.sha256(weights).hexdigest()[:8]}"


@torch.no_grad()
def encode_corpus(corpus: Path, folder: Path, vae: AutoencoderKL, device: torch.device, most: int) -> list[Path]:
    """Write latents, float16 (clips, 8, 64, 64), of shards that have none into ``folder``; returns all there are.

    At most ``most`` shards are encoded: on a CPU a clip takes as long to encode as to train on once.
    """
    folder.mkdir(exist_ok=True)
    together = 4 if device.type == "cpu" else 25
    written = []
    for shard in sorted(corpus.glob("shard_*.npy")):
        path = folder / shard.name
        if not path.exists():
            if most == 0:
                continue
            most -= 1
            pixels = torch.from_numpy(np.load(shard))
            with half_precision(device):
                parts = [vae.encode(images(part.to(device))).latent_dist.mean.float().cpu()
                         for part in pixels.split(together)]
            partial = path.with_suffix(f".{os.getpid()}.partial")  # another process may be at it, too
            with partial.open("wb") as file:
                np.save(file, torch.cat(parts).half().numpy())
            partial.rename(path)
        written.append(path)
    return written


class Examples:
    """Draws latents and the tokens of one of a few wordings of their captions, both on ``device``."""

    def __init__(self, tokenizer: CLIPTokenizer, device: torch.device, seed: str) -> None:
        self.rng = random.Random(seed)
        self.paths: list[Path] = []
        self._tokenizer, self._device = tokenizer, device
        self._latents = torch.empty(0)  # float16 (clips, 8, 64, 64)
        self._tokens = torch.empty(0)  # int64 (clips, WORDINGS, 77)
        self._nothing = tokenize(tokenizer, [""]).to(device)

    def add(self, paths: list[Path]) -> None:
        """Read the latents, and what was composed, of those shards among ``paths`` that were not read before."""
        fresh = [path for path in paths if path not in self.paths]
        if not fresh:
            return
        self.paths += fresh
        pieces = [piece for path in fresh for piece in read_pieces(path.parent.parent / path.name)]
        captions = [caption(piece, self.rng) for piece in pieces for _ in range(WORDINGS)]
        tokens = tokenize(self._tokenizer, captions).reshape(len(pieces), WORDINGS, -1).to(self._device)
        latents = torch.cat([torch.from_numpy(np.load(path)) for path in fresh]).to(self._device)
        self._latents = torch.cat([self._latents, latents]) if len(self._latents) else latents
        self._tokens = torch.cat([self._tokens, tokens]) if len(self._tokens) else tokens

    def batch(self, size: int, crop: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents, float32 (size, 8, 64, 64 or, cropped, 32), and tokens (size, 77), some those of no caption."""
        chosen, wording, named = torch.tensor(
            [(self.rng.randrange(len(self._latents)), self.rng.randrange(WORDINGS), self.rng.random() >= UNCONDITIONAL)
             for _ in range(size)], device=self._device).T
        latents = self._latents[chosen]
        if crop:
            first = self.rng.randrange(latents.shape[-1] - CROP_COLUMNS + 1)
            latents = latents[..., first : first + CROP_COLUMNS]
        return latents.float(), torch.where(named[:, None] > 0, self._tokens[chosen, wording], self._nothing)


def train(corpus: Path, vae_folder: Path, text_folder: Path, out: Path, steps: int, batch: int, rate: float,
          device: torch.device, start: Path | None = None, cropped: float = 0.8, minutes: float | None = None,
          compiled: bool = False) -> None:
    """Train to ``steps`` steps in all, resuming; writes the averaged weights to ``out/unet`` now and then.

    Args:
        start: the folder of a checkpoint whose UNet, of the shape of ``build_unet``, the first step begins from.
        cropped: for this share of the training, half a clip: timbre is learned at half the cost, rhythm is not.
        minutes: of training in all, instead of ``steps``.
        compiled: whether the UNet is compiled: a minute at first, then faster steps on a GPU.
    """
    vae = AutoencoderKL.from_pretrained(vae_folder).to(device).eval()
    folder = latents_folder(corpus, vae)
    at_once, saved_every = (1, 200) if device.type == "cpu" else (20, 1000)  # shards to encode, steps
    paths = encode_corpus(corpus, folder, vae, device, most=max(0, 10 - len(list(folder.glob("shard_*.npy")))))
    if not paths:
        raise FileNotFoundError(f"no shards in {corpus}: run python -m riffusion_space.training.corpus first")
    tokenizer = CLIPTokenizer.from_pretrained(text_folder / "tokenizer")
    text_encoder = CLIPTextModel.from_pretrained(text_folder / "text_encoder").to(device).eval()
    scheduler = build_scheduler()
    scheduler.save_pretrained(out / "scheduler")
    alphas = scheduler.alphas_cumprod.to(device)

    torch.manual_seed(0)
    model = build_unet()
    if start:
        model.load_state_dict(UNet2DConditionModel.from_pretrained(start / "unet", dtype=torch.float32).state_dict())
    model.to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    state = TrainingState(out, model, optimizer, decay=0.9985)
    run = torch.compile(model, dynamic=False) if compiled else model
    examples = Examples(tokenizer, device, f"diffusion {state.step}")
    examples.add(paths)
    generator = torch.Generator(device).manual_seed(state.step)
    recent: list[float] = []
    while (done := state.progress(steps, minutes)) < 1:
        latents, tokens = examples.batch(batch, crop=done < cropped)
        with torch.no_grad(), half_precision(device):
            text = text_encoder(tokens).last_hidden_state.float()
        noise = torch.randn(latents.shape, generator=generator, device=device)
        # One timestep from each of ``batch`` equal parts of the schedule: the loss varies less from step to step.
        spread = (torch.arange(batch, device=device) + torch.rand(batch, generator=generator, device=device)) / batch
        timesteps = (spread * 1000).long().clamp(max=999)
        alpha = alphas[timesteps][:, None, None, None]
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
        set_rate(optimizer, rate, state.step, done)
        with half_precision(device):
            predicted = run(noisy, timesteps, text).sample.float()
        snr = alpha.flatten() / (1 - alpha.flatten())
        error = (predicted - velocity).square().mean((1, 2, 3))
        loss = (error * snr.clamp(max=MIN_SNR) / (snr + 1)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        recent = [*recent[-99:], loss.item()]
        state.update(loss=loss.item(), error=error.mean().item())
        if state.step % 50 == 0:
            mean = sum(recent) / len(recent)
            print(f"diffusion step {state.step}: loss {mean:.4f}, {len(examples.paths)} shards, {state.seconds:.0f} s",
                  flush=True)
        if state.step % 100 == 0:
            examples.add(encode_corpus(corpus, folder, vae, device, most=at_once))
        if state.step % saved_every == 0 or state.progress(steps, minutes) >= 1:
            state.save()
            average = build_unet()
            average.load_state_dict(state.average)
            average.half().save_pretrained(out / "unet", max_shard_size="9MB")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train riffusion-mini's diffusion model.")
    parser.add_argument("--corpus", type=Path, default=Path("data/corpus"))
    parser.add_argument("--vae", type=Path, default=Path("data/autoencoder/vae"))
    parser.add_argument("--text", type=Path, default=Path("data/text"))
    parser.add_argument("--out", type=Path, default=Path("data/diffusion"))
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--minutes", type=float, help="of training in all, instead of --steps")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=4e-4)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--start", type=Path, metavar="CHECKPOINT", help="go on from this checkpoint's UNet")
    parser.add_argument("--cropped", type=float, default=0.8, help="share of the training with half clips")
    parser.add_argument("--compile", action="store_true", help="compile the UNet, for a GPU")
    args = parser.parse_args()
    train(args.corpus, args.vae, args.text, args.out, args.steps, args.batch, args.rate, torch.device(args.device),
          args.start, args.cropped, args.minutes, args.compile)


if __name__ == "__main__":
    main()
