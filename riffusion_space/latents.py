"""Spectrogram pixels to latents and back, in tiles along time, so that length costs time and not memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from riffusion_space.checkpoints import Checkpoint
from riffusion_space.stages import stage

_MARGIN = 8  # latent columns that neighbouring tiles share
_TILES_AT_ONCE = 2


@dataclass(frozen=True)
class Grid:
    """How a checkpoint's latents lie on the picture: columns of pixels to a latent, columns of a trained window."""

    scale: int  # 8
    window: int  # 64 latent columns are 512 pixel columns
    rows: int
    channels: int

    @classmethod
    def of(cls, checkpoint: Checkpoint, bands: int) -> Grid:
        scale = 2 ** (len(checkpoint.vae.config.block_out_channels) - 1)
        size = checkpoint.unet.config.sample_size
        window = size if isinstance(size, int) else size[1]
        return cls(scale, window, bands // scale, checkpoint.vae.config.latent_channels)

    def width(self, columns: int) -> int:
        """Latent columns of a canvas that holds ``columns`` pixel columns: at least one trained window."""
        return max(self.window, -(-columns // self.scale))


def _tiles(width: int, window: int) -> list[int]:
    """Starts of tiles of ``window`` columns that cover ``width`` and overlap by ``_MARGIN`` or more."""
    stride = max(1, window - _MARGIN)
    return [*range(0, width - window, stride), width - window]


def _join(tiles: list[torch.Tensor], starts: list[int], width: int, margin: int) -> torch.Tensor:
    """Tiles (..., window) laid over each other at ``starts``, crossfaded over ``margin`` columns."""
    joined = tiles[0].new_zeros(*tiles[0].shape[:-1], width)
    end = 0
    for tile, start in zip(tiles, starts):
        overlap = end - start
        if overlap > 0:
            # A ramp over the middle of the overlap: the edges of a tile are where the model sees least.
            ramp = (torch.arange(overlap, device=tile.device) + 0.5 - overlap / 2) / min(margin, overlap) + 0.5
            fade = ramp.clamp(0, 1).to(tile.dtype)
            joined[..., start:end] = torch.lerp(joined[..., start:end], tile[..., :overlap], fade)
        joined[..., max(start, end) : start + tile.shape[-1]] = tile[..., max(0, overlap) :]
        end = start + tile.shape[-1]
    return joined


@stage("encoder")
@torch.inference_mode()
def encode_pixels(pixels: torch.Tensor, checkpoint: Checkpoint, grid: Grid,
                  step: Callable[[float], None] = lambda fraction: None) -> torch.Tensor:
    """Latents, float32 (items, channels, rows, width), of uint8 pixels (items, bands, columns).

    Columns beyond the picture are silence (255). ``step`` is called with the fraction done before every tile.
    """
    items, bands, columns = pixels.shape
    width = grid.width(columns)
    canvas = pixels.new_full((items, bands, width * grid.scale), 255)
    canvas[..., :columns] = pixels
    starts = _tiles(width, grid.window)
    tiles = []
    for done, start in enumerate(starts):
        step(done / len(starts))
        part = canvas[..., start * grid.scale : (start + grid.window) * grid.scale]
        image = (part.to(checkpoint.device).float() / 127.5 - 1)[:, None].expand(-1, 3, -1, -1)
        # The mean, not a draw: the same clip has the same latents.
        means = [checkpoint.vae.encode(each).latent_dist.mode()
                 for each in image.to(checkpoint.dtype).split(1 if checkpoint.low_memory else _TILES_AT_ONCE)]
        tiles.append(torch.cat(means).float() * checkpoint.vae.config.scaling_factor)
    return _join(tiles, starts, width, _MARGIN // 2)


@stage("decoder")
@torch.inference_mode()
def decode_latents(latents: torch.Tensor, checkpoint: Checkpoint, grid: Grid, columns: int,
                   step: Callable[[float], None] = lambda fraction: None) -> torch.Tensor:
    """Pixels, uint8 (items, bands, columns) on the CPU, of latents (items, channels, rows, width).

    Raises ValueError where the latents, or in float16 the decoder, have gone beyond what numbers can hold.
    """
    width = latents.shape[-1]
    starts = _tiles(width, grid.window)
    at_once = 1 if checkpoint.low_memory else _TILES_AT_ONCE
    tiles = []
    for done, start in enumerate(starts):
        step(done / len(starts))
        tile = latents[..., start : start + grid.window] / checkpoint.vae.config.scaling_factor
        parts = [checkpoint.decoder(part.to(checkpoint.device, checkpoint.dtype)) for part in tile.split(at_once)]
        tiles.append(torch.cat(parts).float().cpu())
    image = _join(tiles, [start * grid.scale for start in starts], width * grid.scale, _MARGIN * grid.scale // 2)
    if not torch.isfinite(image).all():
        raise ValueError("the model's prediction overflowed: lower the guidance or the prompt's weights")
    return ((image + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)[..., :columns]


def decode_circular(latents: torch.Tensor, checkpoint: Checkpoint, grid: Grid,
                    step: Callable[[float], None] = lambda fraction: None) -> torch.Tensor:
    """Pixels, uint8 (items, bands, W * scale), of latents (items, channels, rows, W) whose last column is followed by
    the first. Raises ValueError as :func:`decode_latents` does.
    """
    width = latents.shape[-1]
    # The decoder sees the loop go on: before its beginning, and twice the margin after its end.
    seen = max(width + 3 * _MARGIN, grid.window)
    around = latents[..., (torch.arange(seen, device=latents.device) - _MARGIN) % width]
    pixels = decode_latents(around, checkpoint, grid, seen * grid.scale, step).float()
    margin, columns = _MARGIN * grid.scale, width * grid.scale
    # What follows the end gives way to the beginning, which is the same moment decoded with another context.
    after, loop = pixels[..., margin + columns : columns + 2 * margin], pixels[..., margin : margin + columns]
    over = min(margin, columns)
    fade = (torch.arange(over) + 0.5) / over
    loop[..., :over] = torch.lerp(after[..., :over], loop[..., :over], fade)
    return loop.round().to(torch.uint8)


class Sketch:
    """Latents as a small picture without the autoencoder: each pixel is the one linear guess that fits best.

    Fitted by least squares to a seed image, as is common for previews of image models.
    """

    def __init__(self, checkpoint: Checkpoint, grid: Grid, pixels: torch.Tensor) -> None:
        """``pixels``: uint8 (bands, columns) of any music."""
        latents = encode_pixels(pixels[None], checkpoint, grid)[0]
        small = F.avg_pool2d(pixels[None].float(), grid.scale)[0]
        inputs = latents[..., : small.shape[1]].flatten(1).T.cpu()
        inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], 1)
        self._weights = torch.linalg.lstsq(inputs, small.flatten()[:, None]).solution[:, 0]

    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        """uint8 (rows, W) of latents (items, channels, rows, W); items are averaged."""
        mean = latents.float().mean(0).cpu()
        pixels = torch.tensordot(self._weights[:-1], mean, 1) + self._weights[-1]
        return pixels.round().clamp(0, 255).to(torch.uint8)
