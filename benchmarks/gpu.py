"""Clips a second on a GPU: this library beside the original's way, with the architecture of Stable Diffusion 1.5.

The original's way: one clip at a time in float16, 50 PNDM steps at guidance 7, the decoder, and torchaudio's
InverseMelScale and GriffinLim on the same device. This library's: the settings that it recommends, batched clips, the
phase of all in one batch. The weights are random: they take the same time as trained ones.

``python benchmarks/gpu.py`` prints the table and writes benchmarks/results/gpu.md. ``--tiny --device cpu`` rehearses
the same with a model of a few thousand weights, and writes nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torchaudio
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, PNDMScheduler, UNet2DConditionModel

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from riffusion_space.checkpoints import Checkpoint, Recommended, Vocabulary
from riffusion_space.codec import pixels_to_amplitudes
from riffusion_space.denoise import Canvas, denoise
from riffusion_space.latents import Grid, decode_latents
from riffusion_space.phase import reconstruct
from riffusion_space.profiling import machine, measured_peak
from riffusion_space.spectrogram import SpectrogramParams
from riffusion_space.stages import recorded

RESULTS = Path(__file__).resolve().parent / "results" / "gpu.md"
PARAMS = SpectrogramParams()
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
TOKENS = 77
WIDTH = {False: 768, True: 16}  # of the embeddings


def models(tiny: bool) -> tuple[UNet2DConditionModel, AutoencoderKL]:
    """Stable Diffusion 1.5 with random weights, or something like it of a few channels."""
    unet = {"sample_size": 64, "cross_attention_dim": WIDTH[tiny], "attention_head_dim": 8}
    vae = {"sample_size": 512, "latent_channels": 4, "layers_per_block": 2, "block_out_channels": (128, 256, 512, 512),
           "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    if tiny:
        unet |= {"attention_head_dim": 2, "block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4,
                 "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
                 "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D")}
        vae |= {"block_out_channels": (4, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4}
    torch.manual_seed(0)
    return UNet2DConditionModel(**unet).eval(), AutoencoderKL(**vae).eval()


def checkpoint_of(unet: UNet2DConditionModel, vae: AutoencoderKL, device: torch.device,
                  dtype: torch.dtype) -> Checkpoint:
    """What the loop and the decoder need of a checkpoint; no text encoder."""
    unet.to(device, dtype, memory_format=torch.channels_last)
    return Checkpoint("random", "", unet, vae.to(device, dtype), None, None, DPMSolverMultistepScheduler(**SCHEDULE),
                      Recommended(), Vocabulary(), device, dtype, "")


@torch.inference_mode()
def original(checkpoint: Checkpoint, prompts: torch.Tensor, steps: int, decoder: Callable) -> torch.Tensor:
    """One clip's samples, as the original made them."""
    scheduler = PNDMScheduler(skip_prk_steps=True, **SCHEDULE)
    scheduler.set_timesteps(steps, device=checkpoint.device)
    latents = torch.randn(1, 4, 64, 64, device=checkpoint.device, dtype=checkpoint.dtype)
    for timestep in scheduler.timesteps:
        without, with_prompt = checkpoint.unet(torch.cat([latents, latents]), timestep, prompts).sample.chunk(2)
        latents = scheduler.step(without + 7 * (with_prompt - without), timestep, latents).prev_sample
    pixels = checkpoint.vae.decode(latents / checkpoint.vae.config.scaling_factor).sample.mean(1)
    pixels = ((pixels.float() + 1) * 127.5).nan_to_num().clamp(0, 255)
    return decoder(pixels_to_amplitudes(pixels, 1.0, PARAMS))


def ours(checkpoint: Checkpoint, prompts: torch.Tensor, clips: int, steps: int) -> torch.Tensor:
    """A batch of clips' samples."""
    grid = Grid.of(checkpoint, PARAMS.num_frequencies)
    canvas = Canvas(torch.randn(clips, 4, 64, 64), None, torch.ones(64), prompts[1:], prompts[:1], torch.tensor([7.0]))
    latents = denoise(checkpoint, canvas, grid.window, "dpm++", steps, 0)
    pixels = decode_latents(latents.nan_to_num(), checkpoint, grid, 512)
    return reconstruct(pixels_to_amplitudes(pixels.to(checkpoint.device), 1.0, PARAMS), PARAMS)


def timed(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median seconds, after one run that prepares."""
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def gflop(checkpoint: Checkpoint, prompts: torch.Tensor) -> tuple[float, float]:
    """Of one row of the UNet, and of the decoder, in 1e9."""
    from torch.utils.flop_counter import FlopCounterMode

    latents = torch.randn(1, 4, 64, 64, device=checkpoint.device, dtype=checkpoint.dtype)
    counted = []
    for work in (lambda: checkpoint.unet(latents, 1, prompts[:1]), lambda: checkpoint.decoder(latents)):
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            work()
        counted.append(counter.get_total_flops() / 1e9)
    return tuple(counted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="float16", choices=("float16", "bfloat16", "float32"))
    parser.add_argument("--clips", type=int, nargs="+", default=[1, 4, 16], metavar="N",
                        help="clips to a batch (1 4 16)")
    parser.add_argument("--steps", type=int, default=Recommended().steps)
    parser.add_argument("--original-steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="rehearse with a model of a few channels")
    options = parser.parse_args()
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("argument --device: there is no CUDA GPU; --tiny --device cpu --dtype float32 rehearses")
    checkpoint = checkpoint_of(*models(options.tiny), device, dtype)
    prompts = torch.randn(2, TOKENS, WIDTH[options.tiny], device=device, dtype=dtype)
    inverse = torchaudio.transforms.InverseMelScale(
        PARAMS.n_fft // 2 + 1, PARAMS.num_frequencies, PARAMS.sample_rate, PARAMS.min_frequency, PARAMS.max_frequency,
        norm=None, mel_scale="htk").to(device)
    griffin_lim = torchaudio.transforms.GriffinLim(PARAMS.n_fft, 32, PARAMS.win_length, PARAMS.hop_length, power=1.0,
                                                   momentum=0.99).to(device)
    slow = timed(lambda: original(checkpoint, prompts, options.original_steps, lambda mel: griffin_lim(inverse(mel))),
                 device, options.repeats)
    of_row, of_decoder = gflop(checkpoint, prompts)
    peak = measured_peak(device, dtype)
    rows = [f"| the original's way | 1 | {slow:.2f} | {1 / slow:.2f} | 1.0 | | | |"]
    for clips in options.clips:
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        work = partial(ours, checkpoint, prompts, clips, options.steps)
        seconds = timed(work, device, options.repeats)
        phases = []
        for _ in range(options.repeats):
            with recorded() as stages:
                work()
            phases.append(stages.seconds["phase"])
        memory = f"{torch.cuda.max_memory_reserved(device) / 1e9:.1f}" if device.type == "cuda" else ""
        limit = 1e9 * clips * (2 * options.steps * of_row + of_decoder) / peak.flops
        rows.append(f"| this library | {clips} | {seconds:.2f} | {clips / seconds:.2f} | "
                    f"{clips * slow / seconds:.1f} | "
                    f"{1000 * statistics.median(phases):.0f} | {limit / seconds:.0%} | {memory} |")
    lines = [
        "# On a GPU", "",
        f"`python benchmarks/gpu.py` in {options.dtype} on {machine(device)}; measured peak "
        f"{peak.flops / 1e12:.1f} TFLOP/s. The original's way takes {options.original_steps} PNDM steps, this library "
        f"{options.steps} of DPM-Solver++, both with guidance; a row of the UNet is {of_row:.0f} GFLOP. The limit is "
        "the arithmetic of UNet and decoder at the measured peak. Clips at once are one batch from noise to sound; of "
        "the app's requests, 8 at most, those that wait together share the UNet's calls alone. Memory is what torch "
        "reserves, without the text encoder (0.25 GB) and CUDA's own.", "",
        "| | clips at once | seconds | clips a second | times as fast | phase, ms | of the limit | peak GB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|", *rows,
    ]
    print("\n".join(lines))
    if not options.tiny:
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
