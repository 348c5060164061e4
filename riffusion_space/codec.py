"""Waveform to spectrogram image and back: the idea of Riffusion.

A column is a moment, a row a mel band with low frequencies at the bottom, darkness is amplitude. One channel is
replicated to RGB; a stereo image holds left in green and right in blue, and nothing in red.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from riffusion_space.audio import Waveform
from riffusion_space.images import is_stereo
from riffusion_space.mel import mel_amplitudes
from riffusion_space.phase import reconstruct
from riffusion_space.spectrogram import SpectrogramParams, from_exif, has_params, to_exif

# Mel amplitude of pixel 0 in an image that does not say: the original's 30e6, for samples in -1..1.
DEFAULT_MAX_VALUE = 30e6 / 32768


def amplitudes_to_pixels(mel: torch.Tensor, max_value: float, params: SpectrogramParams) -> torch.Tensor:
    """Mel amplitudes to 8-bit pixels, truncated as the original does.

    Args:
        mel: (..., bands, columns), not negative, lowest band first.
        max_value: amplitude of pixel 0; what is above is clipped. 0, for silence, makes every pixel 255.

    Returns:
        uint8 (..., rows, columns), lowest band in the last row.

    Raises:
        ValueError: ``max_value`` is negative, infinite or NaN.
    """
    _check_max(max_value)
    level = (mel / max_value).clamp_(max=1) if max_value > 0 else torch.zeros_like(mel)
    pixels = level.pow_(params.power_for_image).mul_(-255).add_(255)
    return pixels.to(torch.uint8).flip(-2)


def pixels_to_amplitudes(pixels: torch.Tensor, max_value: float, params: SpectrogramParams) -> torch.Tensor:
    """Pixels to mel amplitudes.

    Args:
        pixels: (..., rows, columns), uint8, or float in 0..255 with fractions; lowest band in the last row.
        max_value: amplitude of pixel 0.

    Returns:
        float32 (..., bands, columns), lowest band first.

    Raises:
        ValueError: ``max_value`` is negative, infinite or NaN.
    """
    _check_max(max_value)
    level = pixels.flip(-2).float().mul_(-1 / 255).add_(1).clamp_(0, 1)
    return level.pow_(1 / params.power_for_image).mul_(max_value)


def _check_max(max_value: float) -> None:
    if not 0 <= max_value < math.inf:
        raise ValueError(f"expected a finite maximum of at least 0, got {max_value}")


def encode(wave: Waveform, params: SpectrogramParams | None = None, max_value: float | None = None) -> Image.Image:
    """Spectrogram image of a waveform, ``1 + n // hop_length`` columns wide, with its parameters as EXIF.

    Pillow drops the EXIF unless told otherwise: ``image.save(path, exif=image.getexif())``.

    Args:
        wave: any rate; resampled to that of ``params``.
        params: default: the checkpoint's, stereo if ``wave`` is. They decide whether the image is stereo.
        max_value: mel amplitude of pixel 0, for one gain over several clips. Default: the clip's own maximum.

    Returns:
        RGB image of ``num_frequencies`` rows.

    Raises:
        ValueError: the maximum is impossible, or the samples are too large for float32.
    """
    params = params or SpectrogramParams(stereo=wave.channels > 1)
    wave = (wave.to_stereo() if params.stereo else wave.to_mono()).resampled(params.sample_rate)
    # Channel by channel: the intermediate values of a long clip are large.
    mel = [mel_amplitudes(torch.from_numpy(channel[None]), params)[0] for channel in wave.samples]
    if max_value is None:
        max_value = max(float(channel.max()) for channel in mel)
    pixels = np.zeros((*mel[0].shape, 3), np.uint8)
    for plane, channel in zip(((1,), (2,)) if params.stereo else ((0, 1, 2),), mel):
        pixels[..., plane] = amplitudes_to_pixels(channel, max_value, params)[..., None].numpy()
    image = Image.fromarray(pixels)
    image.getexif().update(to_exif(params, max_value))
    return image


def decode(
    image: Image.Image,
    params: SpectrogramParams | None = None,
    max_value: float | None = None,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
    device: torch.device | None = None,
) -> Waveform:
    """Waveform of a spectrogram image, ``(columns - 1) * hop_length`` samples long.

    Args:
        image: any mode that converts to RGB, ``num_frequencies`` rows, at least two columns.
        params: default: from the EXIF, or the checkpoint's where there is none. When they say mono and the image
            is stereo, left and right are mixed.
        max_value: mel amplitude of pixel 0. Default: from the EXIF, or ``DEFAULT_MAX_VALUE``.
        seed: of the phase.
        progress: called with the fraction done, up to 1.
        device: where the phase is found; None is the CPU.

    Raises:
        ValueError: the image does not fit the parameters, or its EXIF is damaged.
    """
    rgb = image.convert("RGB")
    pixels, in_stereo = np.asarray(rgb), is_stereo(rgb)
    if has_params(image.getexif()):
        exif_params, exif_max = from_exif(image.getexif())
    else:
        exif_params, exif_max = SpectrogramParams(stereo=in_stereo), DEFAULT_MAX_VALUE
    params = params or exif_params
    max_value = exif_max if max_value is None else max_value
    if image.height != params.num_frequencies or image.width < 2:
        raise ValueError(
            f"expected a spectrogram image of {params.num_frequencies} rows and at least 2 columns, "
            f"got {image.height} rows and {image.width} columns"
        )
    planes = (1, 2) if in_stereo or params.stereo else (0,)
    mel = torch.empty(len(planes), *pixels.shape[:2])
    for amplitudes, plane in zip(mel, planes):
        amplitudes.copy_(pixels_to_amplitudes(torch.from_numpy(pixels[..., plane].copy()), max_value, params))
    del pixels, rgb  # a long clip leaves little memory to spare
    if not params.stereo:
        mel = mel.mean(0, keepdim=True)
    samples = reconstruct(mel.to(device), params, seed, progress=progress, channels=len(mel))
    return Waveform(samples.cpu().numpy(), params.sample_rate)
