"""The diffusion loop: noise on a canvas of any width becomes latents.

A canvas wider than the model was trained on is denoised in overlapping windows whose predictions are averaged at every
step, so that they agree where they meet: Bar-Tal, Yariv, Lipman and Dekel, "MultiDiffusion: Fusing Diffusion Paths for
Controlled Image Generation", 2023. Every window has its own prompt and guidance, which is how one canvas interpolates.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from riffusion_space.checkpoints import Checkpoint
from riffusion_space.schedulers import make_scheduler

# A prompt's noise and the noise that some schedulers add have to differ: the same numbers twice would add up.
_STEP_NOISE = 0x5DEECE66
_STRIDE = 0.75  # of a window, from one to the next
_ROWS_AT_ONCE = {"cuda": 32, "mps": 8, "cpu": 8}  # pictures in one call of the UNet


class Cancelled(Exception):
    """The request was cancelled; nothing was made."""


@dataclass(frozen=True, eq=False)
class Canvas:
    """What to denoise. Shapes: items I (channels of sound), latent width W, windows N, tokens T.

    ``noise`` (I, channels, rows, W) float32. ``init``, same shape, is what img2img starts from, or None. ``strength``
    (W,) in 0..1 says, for each column, how much of the schedule is run: 0 keeps ``init``, 1 ignores it. ``positive``
    and ``negative`` (N, T, width) are the prompt embeddings of each window, ``guidance`` (N,) its guidance scale.
    """

    noise: torch.Tensor
    init: torch.Tensor | None
    strength: torch.Tensor
    positive: torch.Tensor
    negative: torch.Tensor
    guidance: torch.Tensor


def window_starts(width: int, window: int) -> list[int]:
    """Latent columns at which the windows of a canvas begin, evenly spread.

    >>> window_starts(64, 64), window_starts(128, 64)
    ([0], [0, 32, 64])
    """
    count = 1 + -(-(width - window) // int(_STRIDE * window))
    return [round(i * (width - window) / max(1, count - 1)) for i in range(count)]


def denoise(checkpoint: Checkpoint, canvas: Canvas, window: int, scheduler_name: str, steps: int, seed: int,
            progress: Callable[[int, int], None] = lambda step, steps: None,
            cancel: threading.Event | None = None) -> torch.Tensor:
    """Latents (I, channels, rows, W) of a canvas, float32 on the checkpoint's device.

    ``seed`` is for schedulers that add noise at every step. ``progress`` is called after each step with its number
    and how many there are. Raises Cancelled soon after ``cancel`` is set.
    """
    device = checkpoint.device
    scheduler = make_scheduler(scheduler_name, checkpoint.scheduler)
    scheduler.set_timesteps(steps, device=device)
    timesteps = scheduler.timesteps
    # The first step of each column, beyond the last one where the strength is 0.
    strength = canvas.strength.to(device)
    first = ((1 - strength) * len(timesteps)).round().long().clamp(max=len(timesteps) - 1)
    first[strength == 0] = len(timesteps)
    begin = int(first.min())
    noise = canvas.noise.to(device)
    init = None if canvas.init is None else canvas.init.to(device)
    latents = noise * scheduler.init_noise_sigma
    # Both channels of a stereo clip get the same noise, or the sound would wander between them.
    generators = [torch.Generator().manual_seed(seed ^ _STEP_NOISE) for _ in range(len(noise))]

    for done, timestep in enumerate(timesteps[begin:]):
        waiting = first > begin + done
        starting = (first == begin + done) & (strength < 1)
        extra: dict[str, Any] = {}
        if scheduler_name == "euler a":
            extra["generator"] = generators
        elif scheduler_name == "lms":  # of as high an order as there are predictions: begun midway, it assumes more
            extra["order"] = min(4, done + 1)
        if init is not None and (waiting | starting).any():
            noised = scheduler.add_noise(init, noise, timestep.expand(len(init)))
            latents = torch.where(waiting | starting, noised, latents)
            if scheduler_name == "unipc":
                scheduler.last_sample = None  # its corrector would go back to what these columns were before
        scaled = scheduler.scale_model_input(latents, timestep)
        prediction = _predict(checkpoint, scaled, timestep, canvas, window, cancel)
        latents = scheduler.step(prediction, timestep, latents, **extra).prev_sample
        progress(done + 1, len(timesteps) - begin)
    return latents if init is None else torch.where(first == len(timesteps), init, latents)


@torch.inference_mode()
def _predict(checkpoint: Checkpoint, latents: torch.Tensor, timestep: torch.Tensor, canvas: Canvas, window: int,
             cancel: threading.Event | None) -> torch.Tensor:
    """The guided prediction for the whole canvas, averaged over the windows that see a column."""
    items, width = len(latents), latents.shape[-1]
    starts = window_starts(width, window)
    guided = bool((canvas.guidance != 1).any())
    feather = (1 - torch.linspace(-1, 1, window + 2, device=latents.device)[1:-1].abs()).clamp(min=0.02)
    total = torch.zeros_like(latents)
    weight = torch.zeros(width, device=latents.device)
    at_once = max(1, _ROWS_AT_ONCE.get(latents.device.type, 8) // (items * (1 + guided)))
    for begin in range(0, len(starts), at_once):
        if cancel is not None and cancel.is_set():
            raise Cancelled("cancelled")
        part = range(begin, min(begin + at_once, len(starts)))
        pictures = torch.cat([latents[..., starts[i] : starts[i] + window] for i in part])
        prompts = canvas.positive[part.start : part.stop].repeat_interleave(items, 0)
        if guided:
            pictures = torch.cat([pictures, pictures])
            prompts = torch.cat([canvas.negative[part.start : part.stop].repeat_interleave(items, 0), prompts])
        output = checkpoint.unet(pictures.to(checkpoint.dtype), timestep, encoder_hidden_states=prompts).sample.float()
        if guided:
            scale = canvas.guidance[part.start : part.stop].to(output).repeat_interleave(items)[:, None, None, None]
            without, with_prompt = output.chunk(2)
            output = without + scale * (with_prompt - without)
        for i, picture in zip(part, output.split(items)):
            total[..., starts[i] : starts[i] + window] += picture * feather
            weight[starts[i] : starts[i] + window] += feather
    return total / weight
