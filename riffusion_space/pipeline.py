"""The pipeline: words to sound, sound restyled by words, one prompt turning into another.

A task paints a spectrogram on a canvas of latents (``denoise``), decodes it to pixels (``latents``) and the pixels to
sound (``codec``). Every task checks its input before anything heavy, runs alone on its device, and is the same again
for the same arguments.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import riffusion_space
from riffusion_space.arguments import MAX_SEED, check_arguments, check_number
from riffusion_space.audio import Waveform, read_audio
from riffusion_space.checkpoints import Checkpoint, load
from riffusion_space.clip import Clip
from riffusion_space.codec import decode, encode
from riffusion_space.config import Config
from riffusion_space.denoise import Cancelled, Canvas, denoise, window_starts
from riffusion_space.latents import Grid, decode_latents, encode_pixels
from riffusion_space.prompts import embed_prompts
from riffusion_space.seed_images import load_seed_image
from riffusion_space.spectrogram import CLIP_COLUMNS, SpectrogramParams, from_exif, to_exif

Progress = Callable[[float, str], None]
SeedSource = str | Path | Image.Image

_TURNS: dict[torch.device, threading.Lock] = {}  # a request holds its device's; pipelines on one device share it
_FADE_S = 0.01  # a piece cut to length ends in a fade this long, so that it does not click
_PEAK_DB = -1.0


class RiffusionPipeline:
    """A checkpoint with the tasks it can do.

    Requests of several threads, and of several pipelines on one device, wait for each other.
    """

    def __init__(self, checkpoint: Checkpoint, config: Config | None = None) -> None:
        self.checkpoint = checkpoint
        self.config = config or Config()
        self.params = SpectrogramParams()
        self.grid = Grid.of(checkpoint, self.params.num_frequencies)
        self._turn = _TURNS.setdefault(checkpoint.unet.device, threading.Lock())

    @classmethod
    def from_pretrained(cls, name: str = "auto", device: str | torch.device | None = None,
                        dtype: torch.dtype | None = None, progress: Progress | None = None,
                        config: Config | None = None) -> RiffusionPipeline:
        """Load a checkpoint: ``auto``, ``embedded``, a Hub id with an optional ``@revision``, or a folder.

        Limits come from ``config``, by default the environment's. Raises CheckpointError, one sentence.
        """
        config = config or Config.from_environment()
        return cls(load(name, device or config.device, dtype, progress), config)

    # Tasks ----------------------------------------------------------------------------------------------------------

    def text2audio(self, prompt: str, negative_prompt: str = "", seed: int | None = None, steps: int | None = None,
                   guidance: float | None = None, scheduler: str | None = None, duration_s: float = 5.11,
                   seed_image: SeedSource | None = None, strength: float = 0.75, *,
                   progress: Progress | None = None, cancel: threading.Event | None = None) -> Clip:
        """Make sound from words.

        Args:
            prompt: what to play; ``(word:1.3)`` weighs a word.
            negative_prompt: what to stay away from.
            seed: 0 to 4294967295; None draws one, which the clip's settings tell.
            steps: denoising steps; None takes what suits the checkpoint, likewise for guidance and scheduler.
            guidance: how closely to follow the prompt; 1 does not look at the negative prompt and is twice as fast.
            scheduler: a name of ``schedulers.SCHEDULERS``.
            duration_s: seconds, 1 to the configured limit.
            seed_image: a loop that gives tempo and key: a name of ``seed_images.names()``, a file or an image.
            strength: with a seed image, how far to go from it: 0 keeps it, 1 ignores it.
            progress: called with a fraction and a text.
            cancel: when set, Cancelled is raised within a denoising step.

        Raises:
            ValueError: an argument is out of range; says what was expected.
        """
        settings = self._settings("text2audio", prompt=prompt, negative_prompt=negative_prompt, seed=seed, steps=steps,
                                  guidance=guidance, scheduler=scheduler, duration_s=duration_s, seed_image=seed_image,
                                  strength=strength)
        loop = None if seed_image is None else load_seed_image(seed_image, self.params)
        columns = self.params.columns_for_seconds(duration_s)
        with self._request(progress, cancel) as request:
            width = self.grid.width(columns)
            init = None if loop is None else self._looped_latents(loop, width, request)
            count = len(window_starts(width, self.grid.window))
            positive, negative = embed_prompts(self.checkpoint, [prompt, negative_prompt])
            canvas = Canvas(
                noise=self._noise(settings["seed"], width)[None], init=init,
                strength=torch.full((width,), 1.0 if init is None else float(strength)),
                positive=positive.expand(count, -1, -1), negative=negative.expand(count, -1, -1),
                guidance=torch.full((count,), float(settings["guidance"])))
            pixels = self._paint(canvas, columns, settings, request)
            samples = round(duration_s * self.params.sample_rate)
            return self._finish(pixels, None, samples, settings, request)

    def audio2audio(self, audio: str | Path | Waveform, prompt: str, negative_prompt: str = "", strength: float = 0.55,
                    seed: int | None = None, steps: int | None = None, guidance: float | None = None,
                    scheduler: str | None = None, *, progress: Progress | None = None,
                    cancel: threading.Event | None = None) -> Clip:
        """Restyle a sound by words. The result is as long as the input to the sample, mono or stereo like it.

        Args:
            audio: a file of nearly any format, or a waveform; resampled to 44.1 kHz.
            prompt: what it should become.
            strength: 0 gives back the codec's round trip of the input, 1 ignores the input.
            negative_prompt, seed, steps, guidance, scheduler, progress, cancel: as in :meth:`text2audio`.

        Raises:
            ValueError: an argument is out of range, or the file holds no sound that can be read.
        """
        settings = self._settings("audio2audio", audio=audio, prompt=prompt, negative_prompt=negative_prompt,
                                  strength=strength, seed=seed, steps=steps, guidance=guidance, scheduler=scheduler)
        wave = audio if isinstance(audio, Waveform) else read_audio(audio, max_seconds=self.config.max_seconds)
        check_number("the length of the audio in seconds", wave.duration_s, 0, self.config.max_seconds)
        wave = (wave if wave.channels == 1 else wave.to_stereo()).resampled(self.params.sample_rate)
        with self._request(progress, cancel) as request:
            request.report(0.0, "Analysing the input")
            # Whole hops, so that the tail has its column: what is added is cut off again at the end.
            padding = -wave.num_samples % self.params.hop_length + self.params.hop_length
            padded = Waveform(np.pad(wave.samples, ((0, 0), (0, padding))), wave.sample_rate)
            image = encode(padded, replace(self.params, stereo=wave.channels == 2))
            _, max_value = from_exif(image.getexif())
            pixels = torch.from_numpy(np.asarray(image).transpose(2, 0, 1)[-wave.channels :].copy())
            if strength == 1:
                max_value = None  # the level, too, is not that of the input
            if strength > 0 and max_value != 0:  # silence has nothing to restyle
                pixels = self._restyle(pixels, prompt, negative_prompt, float(strength), settings, request)
            return self._finish(pixels, max_value, wave.num_samples, settings, request)

    def interpolate(self, prompt_a: str, prompt_b: str = "", clips: int = 6, negative_prompt: str = "",
                    seed: int | None = None, seed_b: int | None = None, steps: int | None = None,
                    guidance: float | None = None, guidance_b: float | None = None, scheduler: str | None = None,
                    seed_image: SeedSource | None = None, strength: float = 0.75, strength_b: float | None = None, *,
                    progress: Progress | None = None, cancel: threading.Event | None = None) -> Clip:
        """Travel from one prompt to another, or from one seed to another, over a number of 5.12 s clips.

        The prompts' embeddings are interpolated linearly, the noise spherically, guidance and strength linearly. All
        clips are denoised together on one canvas, so that one runs into the next.

        Args:
            prompt_a, prompt_b: from and to; an empty ``prompt_b`` keeps ``prompt_a`` and needs ``seed_b``.
            clips: 2 to the configured limit.
            seed, seed_b: of the noise at the start and at the end; without ``seed_b`` it stays.
            guidance_b, strength_b: at the end; None keeps that of the start.
            seed_image, strength: the loop under every clip, and how far to go from it.
            negative_prompt, steps, guidance, scheduler, progress, cancel: as in :meth:`text2audio`.

        Raises:
            ValueError: an argument is out of range.
        """
        settings = self._settings(
            "interpolate", prompt_a=prompt_a, prompt_b=prompt_b, clips=clips, negative_prompt=negative_prompt,
            seed=seed, seed_b=seed_b, steps=steps, guidance=guidance, guidance_b=guidance_b, scheduler=scheduler,
            seed_image=seed_image, strength=strength, strength_b=strength_b)
        if guidance_b is None:
            settings["guidance_b"] = settings["guidance"]
        strength_b = settings["strength_b"] = strength if strength_b is None else strength_b
        loop = None if seed_image is None else load_seed_image(seed_image, self.params)
        columns = clips * CLIP_COLUMNS
        with self._request(progress, cancel) as request:
            window, width = self.grid.window, self.grid.width(columns)
            starts = torch.tensor(window_starts(width, window))
            # How far along: of a window, and of a column. The first window is all A, the last all B.
            along = starts / (width - window)
            columns_along = ((torch.arange(width) + 0.5 - window / 2) / (width - window)).clamp(0, 1)
            a, b, negative = embed_prompts(self.checkpoint, [prompt_a, prompt_b if prompt_b.strip() else prompt_a,
                                                             negative_prompt])
            positive = torch.lerp(a[None], b[None], along.to(a)[:, None, None])
            noise = self._clip_noise(settings["seed"], width)
            if seed_b is not None:
                noise = slerp(noise, self._clip_noise(seed_b, width), columns_along)
            init = None if loop is None else self._looped_latents(loop, width, request)
            path = torch.lerp(torch.tensor(float(strength)), torch.tensor(float(strength_b)), columns_along)
            ends = torch.tensor([float(settings["guidance"]), float(settings["guidance_b"])])
            canvas = Canvas(
                noise=noise[None], init=init, strength=torch.ones(width) if init is None else path,
                positive=positive, negative=negative.expand(len(starts), -1, -1),
                guidance=torch.lerp(ends[0], ends[1], along))
            pixels = self._paint(canvas, columns, settings, request)
            return self._finish(pixels, None, self.params.samples_for_columns(columns), settings, request)

    # Steps that the tasks share -------------------------------------------------------------------------------------

    def _settings(self, task: str, **arguments: Any) -> dict[str, Any]:
        """Check a task's arguments, fill in what was left open, and note what makes the result again."""
        recommended = self.checkpoint.recommended
        settings = dict(arguments)
        for name, value in (("seed", secrets.randbelow(MAX_SEED + 1)),
                            ("steps", min(recommended.steps, self.config.max_steps)),
                            ("guidance", recommended.guidance), ("scheduler", recommended.scheduler)):
            if settings[name] is None:
                settings[name] = value
        check_arguments(self.config, **settings)
        for name in ("audio", "seed_image"):
            if name in settings:
                settings[name] = _source_name(settings[name])
        return {"task": task, **settings, "checkpoint": self.checkpoint.name, "revision": self.checkpoint.revision,
                "version": riffusion_space.__version__}

    @contextmanager
    def _request(self, progress: Progress | None, cancel: threading.Event | None):
        """Wait for this device's turn and hold it."""
        request = _Request(progress, cancel)
        while not self._turn.acquire(timeout=0.1):
            request.report(0.0, "Waiting for another request")
        try:
            yield request
        finally:
            self._turn.release()

    def _noise(self, seed: int, width: int) -> torch.Tensor:
        """Noise (channels, rows, width), drawn on the CPU: a seed means the same on every device."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn((self.grid.channels, self.grid.rows, width), generator=generator)

    def _clip_noise(self, seed: int, width: int) -> torch.Tensor:
        """Noise (channels, rows, width) that is the same in every clip."""
        noise = self._noise(seed, CLIP_COLUMNS // self.grid.scale)
        return noise.repeat(1, 1, -(-width // noise.shape[-1]))[..., :width]

    def _looped_latents(self, loop: Image.Image, width: int, request: _Request) -> torch.Tensor:
        """Latents (1, channels, rows, width) of a 512-column loop, repeated."""
        pixels = torch.from_numpy(np.asarray(loop)[:, :, 0].copy())[None]
        latents = encode_pixels(pixels, self.checkpoint, self.grid, request.stage(0.0, 0.05, "Reading the seed image"))
        latents = latents[..., : CLIP_COLUMNS // self.grid.scale]
        return latents.repeat(1, 1, 1, -(-width // latents.shape[-1]))[..., :width]

    def _restyle(self, pixels: torch.Tensor, prompt: str, negative_prompt: str, strength: float,
                 settings: dict[str, Any], request: _Request) -> torch.Tensor:
        """Img2img of pixels (channels, bands, columns) with one prompt."""
        init = encode_pixels(pixels, self.checkpoint, self.grid, request.stage(0.0, 0.1, "Reading the input"))
        width = init.shape[-1]
        count = len(window_starts(width, self.grid.window))
        positive, negative = embed_prompts(self.checkpoint, [prompt, negative_prompt])
        canvas = Canvas(
            noise=self._noise(settings["seed"], width).expand(len(init), -1, -1, -1), init=init,
            strength=torch.full((width,), strength), positive=positive.expand(count, -1, -1),
            negative=negative.expand(count, -1, -1), guidance=torch.full((count,), float(settings["guidance"])))
        return self._paint(canvas, pixels.shape[-1], settings, request)

    def _paint(self, canvas: Canvas, columns: int, settings: dict[str, Any], request: _Request) -> torch.Tensor:
        """Pixels, uint8 (channels, bands, columns), of a canvas."""
        def stepped(step: int, steps: int) -> None:
            request.report(0.1 + 0.7 * step / steps, f"Step {step} of {steps}")

        latents = denoise(self.checkpoint, canvas, self.grid.window, settings["scheduler"], settings["steps"],
                          settings["seed"], stepped, request.cancel)
        return decode_latents(latents, self.checkpoint, self.grid, columns, request.stage(0.8, 0.9, "Painting"))

    def _finish(self, pixels: torch.Tensor, max_value: float | None, samples: int, settings: dict[str, Any],
                request: _Request) -> Clip:
        """Pixels (channels, bands, columns) to a clip of ``samples`` samples.

        ``max_value`` is the amplitude of pixel 0; None sets the level so that the peak is at -1 dBFS. One gain holds
        for the whole piece, and the image's EXIF says it.
        """
        stereo = len(pixels) == 2
        channels = [torch.zeros_like(pixels[0]), *pixels] if stereo else [pixels[0]] * 3
        image = Image.fromarray(torch.stack(channels, -1).numpy())
        params = replace(self.params, stereo=stereo)
        wave = decode(image, params, 1.0 if max_value is None else max_value, settings["seed"],
                      lambda fraction: request.report(0.9 + 0.1 * fraction, "Finding the sound of the picture"))
        wave = wave.sliced(0, min(samples, wave.num_samples))
        peak, ceiling = wave.peak, 10 ** (_PEAK_DB / 20)
        gain = 1.0
        if peak > 0 and (max_value is None or peak > 1):
            gain = ceiling / peak
        shaped = wave.samples * np.float32(gain)
        fade = min(shaped.shape[1], round(_FADE_S * wave.sample_rate))
        if max_value is None and fade:
            shaped[:, -fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
        image.getexif().update(to_exif(params, (1.0 if max_value is None else max_value) * gain))
        return Clip(Waveform(np.ascontiguousarray(shaped), wave.sample_rate), image, settings)


class _Request:
    """One request's progress, and the place where it notices that it was cancelled."""

    def __init__(self, progress: Progress | None, cancel: threading.Event | None) -> None:
        self._progress, self.cancel = progress, cancel

    def report(self, fraction: float, text: str) -> None:
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled("cancelled")
        if self._progress is not None:
            self._progress(fraction, text)

    def stage(self, start: float, stop: float, text: str) -> Callable[[float], None]:
        """Progress of a part of the work, from 0 to 1, as that part of the whole."""
        return lambda fraction: self.report(start + (stop - start) * fraction, text)


def slerp(a: torch.Tensor, b: torch.Tensor, along: torch.Tensor) -> torch.Tensor:
    """Spherical interpolation of two noises (..., W) by a fraction for each column (W,): the variance stays 1.

    Shoemake, "Animating rotation with quaternion curves", 1985.
    """
    cosine = (a * b).sum() / (a.norm() * b.norm())
    if cosine.abs() > 0.9995:  # the same noise, or nearly: the angle's sine would divide by zero
        return torch.lerp(a, b, along)
    angle = torch.acos(cosine)
    return (torch.sin((1 - along) * angle) * a + torch.sin(along * angle) * b) / torch.sin(angle)


def _source_name(source: Any) -> str | None:
    """What the settings say of a file, an image or a waveform that was given."""
    if source is None:
        return None
    return Path(source).name if isinstance(source, (str, Path)) else type(source).__name__
