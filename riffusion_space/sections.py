"""Paints sections: the canvas of a whole piece, or of one section that is made anew in it.

Each section starts from a loop of whole bars of its own, turned so that its beats fall on the piece's grid, and read at
exactly the piece's tempo (``steady`` says why). The loops are laid out as a picture, which img2img goes on from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from riffusion_space.arrangement import Arrangement
from riffusion_space.audio import Waveform
from riffusion_space.denoise import Canvas
from riffusion_space.inpainting import repaint
from riffusion_space.latents import decode_circular, encode_pixels
from riffusion_space.layers import blended, level_of, on_the_beat, windows
from riffusion_space.looping import columns_at
from riffusion_space.prompts import embed_prompts
from riffusion_space.regions import Region, stretches
from riffusion_space.request import Request
from riffusion_space.steady import SHARED_NOISE, Period, mixed_noise, open_period
from riffusion_space.tempo import with_tempo

if TYPE_CHECKING:
    from riffusion_space.pipeline import RiffusionPipeline


@dataclass(frozen=True, eq=False)
class SectionPainter:
    """A piece, the settings it is made with, and the request that it is made for."""

    pipe: RiffusionPipeline
    piece: Arrangement
    settings: dict[str, Any]
    request: Request

    @property
    def steadiness(self) -> float:
        return float(self.settings["steadiness"])

    @property
    def column_s(self) -> float:
        """Seconds of a latent column."""
        return self.pipe.grid.scale * self.pipe.params.step_s

    @cached_property
    def period(self) -> Period:
        return open_period(self.pipe.grid.window, self.column_s, self.piece.bpm)

    @property
    def loop_s(self) -> float:
        return self.period.exact * self.column_s

    def _seed(self, number: int) -> int:
        seed = self.piece.sections[number].seed
        return self.settings["seed"] if seed is None else seed

    def anew(self, number: int, wave: Waveform) -> Waveform:
        """The piece as it is, with the section of that index painted anew."""
        pipe, piece, settings = self.pipe, self.piece, self.settings
        region = Region(piece.edges[number], min(piece.edges[number + 1], wave.duration_s))
        edges = piece.samples(wave.sample_rate)
        columns = pipe.grid.window * pipe.grid.scale
        (stretch,) = stretches((region,), wave.num_samples, pipe.params, columns, pipe.grid.scale)

        def paint(pixels: torch.Tensor, strengths: torch.Tensor, _: int, part: Request) -> torch.Tensor:
            canvas = self.canvas(stretch.start / wave.sample_rate, strengths.shape[-1], part, (pixels, strengths))
            return pipe._paint(canvas, pixels.shape[-1], settings, part)

        return repaint(wave, (region,), 1.0, pipe.params, columns, pipe.grid.scale, paint, settings["seed"],
                       self.request.within(0.0, 0.98), level_of(number, wave.samples, edges, piece.sections))

    def canvas(self, start_s: float, width: int, request: Request,
               kept: tuple[torch.Tensor, torch.Tensor] | None = None) -> Canvas:
        """The canvas whose first column is at ``start_s``.

        ``kept``: pixels (channels, bands, width * scale) that are there, and the strength of each cell (rows, width).
        """
        pipe, piece, settings, column_s = self.pipe, self.piece, self.settings, self.column_s
        cells = start_s + (np.arange(width) + 0.5) * column_s
        laid = windows(piece.place(cells), piece.stops, pipe.grid.window)
        words = [with_tempo(section.words, piece.bpm, settings["key"]) for section in piece.sections]
        embedded = embed_prompts(pipe.checkpoint, [*words, settings["negative_prompt"]])
        prompts, negative = embedded[:-1], embedded[-1:]
        guidance, count = float(settings["guidance"]), len(laid.starts)
        pixels, strength = None, torch.full((width,), 1 - self.steadiness)
        if self.steadiness > 0:
            moments = start_s + np.arange(width * pipe.grid.scale) * pipe.params.step_s
            pixels = self._looped(moments, words, (prompts, negative, guidance), request.within(0.0, 0.08))
        if kept is not None:
            given, strengths = kept
            fresh = F.interpolate((strengths > 0).any(0).float()[None, None], size=given.shape[-1])[0, 0] > 0
            pixels = given if pixels is None else torch.where(fresh, pixels, given)
            strength = strengths * strength
        init = None if pixels is None else encode_pixels(pixels, pipe.checkpoint, pipe.grid, request.stage(
            0.08, 0.1, "Reading the sections"))
        items = 1 if init is None else len(init)
        return Canvas(noise=self._noise(cells).expand(items, -1, -1, -1), init=init, strength=strength,
                      positive=blended(prompts, laid.stops), negative=negative.expand(count, -1, -1),
                      guidance=torch.full((count,), guidance), starts=laid.starts, share=laid.share)

    def _noise(self, cells: np.ndarray) -> torch.Tensor:
        """Noise (channels, rows, W) of columns at ``cells`` in seconds: each section's own, repeating with its loop."""
        noise = torch.empty(self.pipe.grid.channels, self.pipe.grid.rows, len(cells))
        owner, columns = np.rint(self.piece.place(cells)).astype(int), self.period.columns
        for number in np.unique(owner):
            seed, own = self._seed(number), torch.from_numpy(owner == number)
            since = np.floor((cells - self.piece.edges[number]) / self.loop_s * columns).astype(int) % columns
            shared = self.pipe._noise(seed ^ SHARED_NOISE, columns)[..., torch.from_numpy(since)]
            noise[..., own] = mixed_noise(shared, self.pipe._noise(seed, len(cells)), self.steadiness)[..., own]
        return noise

    def _looped(self, moments: np.ndarray, words: Sequence[str], prompts: tuple[torch.Tensor, torch.Tensor, float],
                request: Request) -> torch.Tensor:
        """Pixels (1, bands, columns) at ``moments`` in seconds: each section's loop, over and over from its start."""
        place = self.piece.place(moments)
        needed = np.union1d(np.floor(place), np.ceil(place)).astype(int)
        found: dict[tuple[str, int], torch.Tensor] = {}
        result = torch.zeros(self.pipe.params.num_frequencies, len(moments))
        for done, number in enumerate(needed):
            seed, part = self._seed(number), request.within(done / len(needed), (done + 1) / len(needed))
            if (key := (words[number], seed)) not in found:  # a verse that comes again
                found[key] = self._loop((prompts[0][number : number + 1], *prompts[1:]), seed, part)
            weight = (1 - np.abs(place - number)).clip(0)
            seen = np.flatnonzero(weight)
            at = torch.from_numpy((moments[seen] - self.piece.edges[number]) / self.loop_s * found[key].shape[-1])
            result[:, seen] += columns_at(found[key].float(), at) * torch.from_numpy(weight[seen]).float()
        return result.round().to(torch.uint8)[None]

    def _loop(self, prompts: tuple[torch.Tensor, torch.Tensor, float], seed: int, request: Request) -> torch.Tensor:
        """The picture of a section's loop, uint8 (bands, columns), which begins with a beat."""
        pipe = self.pipe
        latents = pipe._own_loop(self.period.columns, prompts, {**self.settings, "seed": seed}, request,
                                 self.piece.bpm)
        beats = round(self.loop_s * self.piece.bpm / 60)
        return on_the_beat(decode_circular(latents, pipe.checkpoint, pipe.grid)[0], beats)
