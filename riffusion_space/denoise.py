"""The diffusion loop: noise on a canvas of any width becomes latents.

A canvas wider than the model was trained on is denoised in overlapping windows whose predictions are averaged at every
step, so that they agree where they meet: Bar-Tal, Yariv, Lipman and Dekel, "MultiDiffusion: Fusing Diffusion Paths for
Controlled Image Generation", 2023. Every window has its own prompt and guidance, which is how one canvas interpolates.

Guidance counts while there is much noise; later a checkpoint may do without, at half the cost of a step: Kynkäänniemi,
Aittala, Karras, Laine, Aila and Lehtinen, "Applying Guidance in a Limited Interval Improves Sample and Distribution
Quality in Diffusion Models", 2024.

Every cell has its own strength. Until its time comes it is at every step what the input is under that step's noise, so
that the cells beside it see what they have to go on from: Lugmayr et al., "RePaint: Inpainting using Denoising
Diffusion Probabilistic Models", 2022; by degrees, Levin and Fried, "Differential Diffusion", 2023.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import SchedulerMixin

from riffusion_space.checkpoints import Checkpoint
from riffusion_space.request import Cancelled
from riffusion_space.schedulers import make_scheduler
from riffusion_space.stages import stage

# A prompt's noise and the noise that some schedulers add have to differ: the same numbers twice would add up.
_STEP_NOISE = 0x5DEECE66
STRIDE = 0.75  # of a window, from one to the next


@dataclass(frozen=True, eq=False)
class Canvas:
    """What to denoise. Shapes: items I (channels of sound), latent width W, windows N, tokens T.

    ``noise`` (I, channels, rows, W) float32. ``init``, same shape, is what img2img starts from, or None. ``strength``
    (W,) or (rows, W) in 0..1 says, for each column or cell, how much of the schedule is run: 0 keeps ``init``, 1
    ignores it. ``positive`` and ``negative`` (N, T, width) are the prompt embeddings of each window, ``guidance`` (N,)
    its guidance scale. ``circular``: the last column is followed by the first, as windows see it. ``starts`` (N) are
    the windows' first columns, where they are not evenly spread, and ``share`` (N, window) in 0..1 is how much of each
    of a window's columns counts; every column has to count somewhere.
    """

    noise: torch.Tensor
    init: torch.Tensor | None
    strength: torch.Tensor
    positive: torch.Tensor
    negative: torch.Tensor
    guidance: torch.Tensor
    circular: bool = False
    starts: tuple[int, ...] | None = None
    share: torch.Tensor | None = None


def window_starts(width: int, window: int, circular: bool = False) -> list[int]:
    """Latent columns at which the windows of a canvas begin, evenly spread.

    Those of a circular one go on at its beginning where it ends; one that is narrower than a window is seen repeated.

    >>> window_starts(64, 64), window_starts(128, 64)
    ([0], [0, 32, 64])
    >>> window_starts(48, 64, circular=True), window_starts(96, 64, circular=True)
    ([0], [0, 48])
    """
    if circular:
        count = -(-width // int(STRIDE * window))
        return [round(i * width / count) for i in range(count)]
    count = 1 + -(-(width - window) // int(STRIDE * window))
    return [round(i * (width - window) / max(1, count - 1)) for i in range(count)]


@stage("steps")
def denoise(checkpoint: Checkpoint, canvas: Canvas, window: int, scheduler_name: str, steps: int, seed: int,
            progress: Callable[[int, int], None] = lambda step, steps: None,
            cancel: threading.Event | None = None,
            preview: Callable[[torch.Tensor], None] | None = None) -> torch.Tensor:
    """Latents (I, channels, rows, W) of a canvas, float32 on the checkpoint's device.

    ``seed`` is for schedulers that add noise at every step. ``progress`` is called after each step with its number
    and how many there are, ``preview`` with the latents that the model then expects in the end. Raises Cancelled soon
    after ``cancel`` is set.
    """
    device = checkpoint.device
    scheduler = make_scheduler(scheduler_name, checkpoint.scheduler)
    # The scheduler counts on the CPU: a number that it asked a GPU for would have to wait for all that is under way.
    scheduler.set_timesteps(steps, device="cpu")
    strength = canvas.strength.cpu()
    whole, begin_at = len(scheduler.timesteps), 1.0
    if scheduler_name == "ddim":
        begin_at = float(strength.max())
        _begin_at(scheduler, begin_at)
    timesteps = scheduler.timesteps
    on_device = timesteps.to(device)
    # The first step of each column or cell, beyond the last one where the strength is 0.
    first = ((begin_at - strength) * whole).round().long().clamp(max=len(timesteps) - 1)
    first[strength == 0] = len(timesteps)
    begin = int(first.min())
    if scheduler_name == "pndm" and begin == 1 < len(timesteps) - 1:
        begin = 2  # the same time again: its second step is there to mend the first, which is not taken
        first = first.clamp(min=begin)
    partly = strength < 1
    # All of it before the loop, in which a GPU that is asked or given something waits for all that is under way.
    windows = _Windows.of(checkpoint, canvas, window)
    from_init = [(first > step) | ((first == step) & partly) for step in range(begin, len(timesteps))]
    from_init_there = torch.stack([*from_init, first == len(timesteps)]).to(device)
    noise = canvas.noise.to(device)
    init = None if canvas.init is None else canvas.init.to(device)
    latents = noise * scheduler.init_noise_sigma
    # Both channels of a stereo clip get the same noise, or the sound would wander between them.
    generators = [torch.Generator().manual_seed(seed ^ _STEP_NOISE) for _ in range(len(noise))]

    # Guidance below 1 is away from the prompt: that is not left to the first steps.
    part = 1.0 if bool((canvas.guidance < 1).any()) else checkpoint.recommended.guided
    guided = math.ceil(part * (len(timesteps) - begin) - 1e-6)

    with checkpoint.shared_unet.loop():
        for done, timestep in enumerate(timesteps[begin:]):
            extra: dict[str, Any] = {}
            if scheduler_name == "euler a":
                extra["generator"] = generators
            elif scheduler_name == "lms":  # of as high an order as there are predictions: begun midway, it assumes more
                extra["order"] = min(4, done + 1)
            elif scheduler_name == "pndm" and begin > 0 and done == 1:
                scheduler.counter = 2  # and begun midway, it would take the second step of all for that
            if init is not None and from_init[done].any():
                noised = _noised(scheduler, init, noise, timestep)
                latents = torch.where(from_init_there[done], noised, latents)
                if scheduler_name == "unipc":
                    scheduler.last_sample = None  # its corrector would go back to what these cells were before
            scaled = scheduler.scale_model_input(latents, timestep)
            prediction = _predict(checkpoint, scaled, on_device[begin + done], windows, done < guided, cancel)
            latents = scheduler.step(prediction, timestep, latents, **extra).prev_sample
            progress(done + 1, len(timesteps) - begin)
            if preview is not None:
                preview(_expected(scheduler, prediction, scaled, timestep))
    return latents if init is None else torch.where(from_init_there[-1], init, latents)


def _noised(scheduler: SchedulerMixin, init: torch.Tensor, noise: torch.Tensor,
            timestep: torch.Tensor) -> torch.Tensor:
    """``init`` under a timestep's noise. What a scheduler adds is linear in both: it is asked for the two factors."""
    one, zero = torch.ones(1), torch.zeros(1)
    kept, added = (scheduler.add_noise(*pair, timestep[None]) for pair in ((one, zero), (zero, one)))
    return kept[0] * init + added[0] * noise


def _begin_at(scheduler: SchedulerMixin, strength: float) -> None:
    """Move a DDIM schedule so that img2img begins right at its strength, and not at the nearest of a few steps.

    Its steps stay as long as they were, which is what a model distilled to so many steps knows; the last is shorter.
    """
    whole = len(scheduler.timesteps)
    kept = min(whole, math.ceil(strength * whole - 1e-6))
    later = round((kept / whole - strength) * scheduler.config.num_train_timesteps)
    if kept > 0:
        scheduler.timesteps = (scheduler.timesteps[whole - kept :] - later).clamp(min=0)


def _expected(scheduler: SchedulerMixin, prediction: torch.Tensor, sample: torch.Tensor,
              timestep: torch.Tensor) -> torch.Tensor:
    """The noiseless latents that a prediction means; ``sample`` is what the model saw.

    Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion Models", 2022, appendix D.
    """
    kept = scheduler.alphas_cumprod[round(float(timestep))]
    if scheduler.config.prediction_type == "v_prediction":
        return kept.sqrt() * sample - (1 - kept).sqrt() * prediction
    return (sample - (1 - kept).sqrt() * prediction) / kept.sqrt()


@dataclass(frozen=True, eq=False)
class _Windows:
    """What the windows of a canvas need at every step, on the checkpoint's device.

    ``columns``: of the canvas that each window sees, (window,) each. ``counts`` (N, window): how much each column
    of a window counts in the average. ``guidance`` is on the CPU, ``scale`` (N,) the same on the device.
    """

    columns: list[torch.Tensor]
    counts: torch.Tensor
    positive: torch.Tensor
    negative: torch.Tensor
    guidance: torch.Tensor
    scale: torch.Tensor

    @classmethod
    def of(cls, checkpoint: Checkpoint, canvas: Canvas, window: int) -> _Windows:
        device, dtype = checkpoint.device, checkpoint.dtype
        width = canvas.noise.shape[-1]
        inside = torch.arange(window, device=device)
        starts = window_starts(width, window, canvas.circular) if canvas.starts is None else canvas.starts
        feather = (1 - torch.linspace(-1, 1, window + 2, device=device)[1:-1].abs()).clamp(min=0.02)
        counts = feather.expand(len(starts), -1) if canvas.share is None else feather * canvas.share.to(feather)
        guidance = canvas.guidance.float().cpu()
        return cls([(start + inside) % width for start in starts], counts, canvas.positive.to(device, dtype),
                   canvas.negative.to(device, dtype), guidance, guidance.to(device))


@torch.inference_mode()
def _predict(checkpoint: Checkpoint, latents: torch.Tensor, timestep: torch.Tensor, windows: _Windows, guided: bool,
             cancel: threading.Event | None) -> torch.Tensor:
    """The prediction for the whole canvas, guided or that of the prompts alone; an average of all windows that see a
    column.
    """
    items, width, window = len(latents), latents.shape[-1], windows.counts.shape[-1]
    columns = windows.columns
    guided = guided and bool((windows.guidance != 1).any())
    total = torch.zeros_like(latents)
    weight = torch.zeros(width, device=latents.device)
    at_once = max(1, checkpoint.rows_at_once // (items * (1 + guided)))
    for begin in range(0, len(columns), at_once):
        if cancel is not None and cancel.is_set():
            raise Cancelled("cancelled")
        part = range(begin, min(begin + at_once, len(columns)))
        pictures = torch.cat([latents[..., columns[i]] for i in part])
        prompts = windows.positive[part.start : part.stop].repeat_interleave(items, 0)
        if guided:
            pictures = torch.cat([pictures, pictures])
            prompts = torch.cat([windows.negative[part.start : part.stop].repeat_interleave(items, 0), prompts])
        with stage("UNet"):
            output = checkpoint.shared_unet(pictures.to(checkpoint.dtype), timestep, prompts).float()
        if guided:
            scale = windows.scale[part.start : part.stop].repeat_interleave(items)[:, None, None, None]
            without, with_prompt = output.chunk(2)
            output = without + scale * (with_prompt - without)
        for i, picture in zip(part, output.split(items)):
            counts = windows.counts[i]
            # A canvas narrower than a window is in it several times: added in turn, the sum is the same every time.
            for seen in range(0, window, width):
                turn = slice(seen, seen + width)
                total[..., columns[i][turn]] += picture[..., turn] * counts[turn]
                weight[columns[i][turn]] += counts[turn]
    return total / weight
