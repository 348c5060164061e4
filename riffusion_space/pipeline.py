"""The pipeline: words to sound, sound restyled by words, one prompt turning into another.

A task paints a spectrogram on a canvas of latents (``denoise``), decodes it to pixels (``latents``) and the pixels to
sound (``codec``). Every task checks its input before anything heavy, and is the same again for the same arguments on
the same device; where several requests are denoised together, as nearly as ``batching`` says.
"""

from __future__ import annotations

import math
import secrets
import threading
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

import riffusion_space
from riffusion_space.again import arguments_of, difference, settings_of
from riffusion_space.arguments import MAX_SEED, check_arguments, check_longer, check_number
from riffusion_space.arrangement import DEFAULT_BPM, Arrangement, Section, as_sections, as_settings
from riffusion_space.audio import Waveform, read_audio
from riffusion_space.batching import Turns
from riffusion_space.checkpoints import Checkpoint, load
from riffusion_space.clip import Clip
from riffusion_space.codec import amplitudes_to_pixels, decode, encode, pixels_to_amplitudes
from riffusion_space.config import BATCH_ON_GPU, Config
from riffusion_space.denoise import Canvas, denoise, window_starts
from riffusion_space.inpainting import repaint
from riffusion_space.latents import Grid, Sketch, decode_circular, decode_latents, encode_pixels
from riffusion_space.layers import even_gains
from riffusion_space.looping import columns_at, reconstruct_loop
from riffusion_space.lora import check_lora_weight, fetch_lora
from riffusion_space.mel import mel_amplitudes
from riffusion_space.morphing import course
from riffusion_space.prompts import embed_prompts
from riffusion_space.regions import Region, as_regions, check_inside
from riffusion_space.request import Progress, Request
from riffusion_space.sections import SectionPainter
from riffusion_space.seed_images import built_in, load_seed_image
from riffusion_space.spectrogram import CLIP_COLUMNS, SpectrogramParams, from_exif, to_exif
from riffusion_space.steady import (
    BEAT_NOISE,
    LOOP_STEPS,
    SHARED_NOISE,
    WRAP,
    Period,
    beating_noise,
    closed_period,
    mixed_noise,
    open_period,
    repeated,
    with_bars_again,
)
from riffusion_space.tempo import STEADINESS, named_bpm, piece_samples, steady_beat, with_tempo

if TYPE_CHECKING:
    from riffusion_space.streaming import StreamChunk, StreamRequest, StreamState

SeedSource = str | Path | Image.Image

_TURNS: dict[torch.device, Turns] = {}  # pipelines on one device share them
_FADE_S = 0.01  # a piece cut to length ends in a fade this long, so that it does not click
_PEAK_DB = -1.0
_LENGTH_SLACK_S = 0.06  # MP3 adds up to so much


class RiffusionPipeline:
    """A checkpoint with the tasks it can do.

    Requests of several threads, and of several pipelines on one device, wait for each other, or as many as the
    configuration says are denoised together (``batching``).
    """

    def __init__(self, checkpoint: Checkpoint, config: Config | None = None) -> None:
        self.checkpoint = checkpoint
        self.config = config or Config()
        self.params = SpectrogramParams()
        self.grid = Grid.of(checkpoint, self.params.num_frequencies)
        self._turn = _TURNS.setdefault(checkpoint.unet.device, Turns())
        many = checkpoint.unet.device.type == "cuda" and not checkpoint.low_memory
        self._seats = self.config.batch or (BATCH_ON_GPU if many else 1)

    @classmethod
    def from_pretrained(cls, name: str = "auto", device: str | torch.device | None = None,
                        dtype: torch.dtype | None = None, progress: Progress | None = None,
                        config: Config | None = None, few_steps: bool = True) -> RiffusionPipeline:
        """Load a checkpoint: ``auto``, ``embedded``, a Hub id with an optional ``@revision``, or a folder.

        ``few_steps=False`` leaves out what lets some checkpoints paint in few steps without guidance: such a one then
        takes the steps and the guidance that it was trained for. Limits come from ``config``, by
        default the environment's. Raises CheckpointError, one sentence.
        """
        config = config or Config.from_environment()
        dtype = dtype or (getattr(torch, config.dtype) if config.dtype else None)
        return cls(load(name, device or config.device, dtype, progress, few_steps, config.low_memory), config)

    def warm_up(self, progress: Progress | None = None) -> None:
        """Make a short clip that nobody hears, so that the first request finds prepared what is prepared once."""
        self.text2audio("church bells", seed=0, steps=min(2, self.config.max_steps), duration_s=1.0,
                        progress=lambda fraction, text: progress and progress(fraction, f"Warming up: {text}"))

    # Tasks ----------------------------------------------------------------------------------------------------------

    def text2audio(self, prompt: str, negative_prompt: str = "", seed: int | None = None, steps: int | None = None,
                   guidance: float | None = None, scheduler: str | None = None, duration_s: float = 5.11,
                   seed_image: SeedSource | None = None, strength: float = 0.75, *, loop: bool = False,
                   bpm: float | None = None, bars: int | None = None, key: str | None = None,
                   steadiness: float = STEADINESS, progress: Progress | None = None,
                   cancel: threading.Event | None = None) -> Clip:
        """Make sound from words.

        Args:
            prompt: what to play; ``(word:1.3)`` weighs a word. Empty, it leaves that to the checkpoint.
            negative_prompt: what to stay away from.
            seed: 0 to 4294967295; None draws one, which the clip's settings tell.
            steps: denoising steps; None takes what suits the checkpoint, likewise for guidance and scheduler.
            guidance: how closely to follow the prompt, 0 to 30; 1 ignores the negative prompt and is up to twice as
                fast.
            scheduler: a name of ``schedulers.SCHEDULERS``.
            duration_s: seconds, 1 to the configured limit.
            seed_image: a loop that gives tempo and key: a name of ``seed_images.names()``, a file or an image.
            strength: with a seed image, how far to go from it: 0 keeps it, 1 ignores it.
            loop: the last sample is followed by the first: it can be repeated without end.
            bpm: tempo, 40 to 240; a prompt that names none is given it in words. A loop is then of whole bars.
            bars: of four beats; with ``bpm`` the length is that many, to the sample, whatever ``duration_s`` says.
            key: such as "A minor"; a prompt that names none is given it in words.
            steadiness: what a piece of over 5 s shares with a loop of its own that it starts from (``steady``): 0 lets
                the beat go where it likes, 1 repeats the loop.
            progress: called with a fraction and a text; what its method ``preview`` gets, if it has one, is the picture
                as far as it is.
            cancel: when set, Cancelled is raised within a denoising step.

        Raises:
            ValueError: an argument is out of range; says what was expected.
        """
        # Only what was asked for: a request for neither beat nor loop has the settings it always had.
        rhythm = {name: value for name, value in (("bpm", bpm), ("bars", bars), ("key", key)) if value is not None}
        rhythm |= _unusual(steadiness)
        settings = self._settings("text2audio", prompt=prompt, negative_prompt=negative_prompt, seed=seed, steps=steps,
                                  guidance=guidance, scheduler=scheduler, duration_s=duration_s, seed_image=seed_image,
                                  strength=strength, **rhythm, **({"loop": True} if loop else {}))
        beat = None if seed_image is None else load_seed_image(seed_image, self.params)
        samples = piece_samples(duration_s, self.params.sample_rate, bpm, bars, loop, self.config.max_seconds)
        columns = -(-samples // self.params.hop_length) + 1
        with self._request(progress, cancel) as request:
            positive, negative = embed_prompts(self.checkpoint, [with_tempo(prompt, bpm, key), negative_prompt])
            prompts = (positive, negative, float(settings["guidance"]))
            long = columns > self.grid.window * self.grid.scale + 1
            steady = steadiness > 0 and beat is None and long
            tempo = bpm or named_bpm(prompt)
            period, width = self._period(samples, tempo, loop) if steady else (
                None, self._loop_width(samples) if loop else self.grid.width(columns))
            init, kept = None, float(strength)
            noise = self._noise(settings["seed"], width, None if long or beat is not None else tempo, loop)
            if beat is not None:
                init = self._looped_latents(beat, width, request)
            elif period is not None:
                init = self._own_loop(period.columns, prompts, settings, request.within(0.0, 0.1), tempo)
                init, kept = repeated(init, width), 1 - steadiness
                noise = mixed_noise(self._noise(settings["seed"] ^ SHARED_NOISE, period.columns), noise, steadiness)
            canvas = self._canvas(noise, init, 1.0 if init is None else kept, *prompts, circular=loop)
            stretch = 1.0 if period is None or loop else period.stretch
            pixels = self._paint(canvas, width * self.grid.scale, settings, request)
            if loop:
                return self._finish_loop(pixels, samples, settings, request)
            position = torch.arange(columns, dtype=torch.float64) * stretch
            if stretch != 1:
                pixels = columns_at(pixels.float(), position).round().to(torch.uint8)
            return self._finish(pixels[..., :columns], None, samples, settings, request)

    def audio2audio(self, audio: str | Path | Waveform, prompt: str, negative_prompt: str = "", strength: float = 0.55,
                    seed: int | None = None, steps: int | None = None, guidance: float | None = None,
                    scheduler: str | None = None, *, progress: Progress | None = None,
                    cancel: threading.Event | None = None) -> Clip:
        """Restyle a sound by words. The result is as long as the input to the sample, mono or stereo like it.

        Args:
            audio: a file of nearly any format, or a waveform; resampled to 44.1 kHz.
            prompt: what it should become; empty makes a variation, at a low strength a near one.
            strength: 0 gives back the codec's round trip of the input, 1 ignores the input.
            negative_prompt, seed, steps, guidance, scheduler, progress, cancel: as in :meth:`text2audio`.

        Raises:
            ValueError: an argument is out of range, or the file holds no sound that can be read.
        """
        settings = self._settings("audio2audio", audio=audio, prompt=prompt, negative_prompt=negative_prompt,
                                  strength=strength, seed=seed, steps=steps, guidance=guidance, scheduler=scheduler)
        wave = self._read(audio)
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

    def inpaint(self, audio: str | Path | Waveform, prompt: str, regions: Sequence[Sequence[float]],
                negative_prompt: str = "", strength: float = 1.0, seed: int | None = None, steps: int | None = None,
                guidance: float | None = None, scheduler: str | None = None, *, progress: Progress | None = None,
                cancel: threading.Event | None = None) -> Clip:
        """Make parts of a sound anew by words, so that they fit what is around them.

        Outside the regions the result is the input at 44.1 kHz, sample for sample; joins lie inside the regions. Only
        the parts that the regions touch are denoised.

        Args:
            audio: a file of nearly any format, or a waveform; resampled to 44.1 kHz.
            prompt: what belongs into the regions.
            regions: each (start, end) in seconds, at least 0.1 s long, or (start, end, low, high) with a band in Hz, of
                which at least 50 Hz within 0 to 10,000; other bands keep their sound.
            strength: how far to go from what is there: 0 keeps it, 1 ignores it.
            negative_prompt, seed, steps, guidance, scheduler, progress, cancel: as in :meth:`text2audio`.

        Raises:
            ValueError: an argument is out of range, or the file holds no sound that can be read.
        """
        settings = self._settings(
            "inpaint", audio=audio, prompt=prompt, regions=regions, negative_prompt=negative_prompt, strength=strength,
            seed=seed, steps=steps, guidance=guidance, scheduler=scheduler)
        settings["regions"] = [[float(number) for number in region if number is not None] for region in regions]
        wave, wanted = self._read(audio), as_regions(regions, self.params)
        check_inside(wanted, wave.duration_s)
        with self._request(progress, cancel) as request:
            made = wave if strength == 0 else self._repaint(wave, wanted, settings, strength, request)
            return self._analysed(made, settings, request)

    def extend(self, audio: str | Path | Waveform, prompt: str, seconds: float = 5.0, side: str = "right",
               negative_prompt: str = "", seed: int | None = None, steps: int | None = None,
               guidance: float | None = None, scheduler: str | None = None, steadiness: float = STEADINESS, *,
               progress: Progress | None = None, cancel: threading.Event | None = None) -> Clip:
        """Let a sound go on, or begin earlier. The input at 44.1 kHz is in the result, sample for sample.

        More than 5 s start from the input's own last bars, or first ones, repeated (``steady``).

        Args:
            audio: a file of nearly any format, or a waveform; resampled to 44.1 kHz.
            prompt: what goes on.
            seconds: how much longer it becomes, 0.1 up to the configured limit for the whole.
            side: ``right`` goes on after the end, ``left`` begins earlier.
            steadiness: what more than 5 s share with the bars that they start from: 0 lets the beat go where it likes,
                1 repeats them.
            negative_prompt, seed, steps, guidance, scheduler, progress, cancel: as in :meth:`text2audio`.

        Raises:
            ValueError: an argument is out of range, or the file holds no sound that can be read.
        """
        settings = self._settings(
            "extend", audio=audio, prompt=prompt, seconds=seconds, side=side, negative_prompt=negative_prompt,
            seed=seed, steps=steps, guidance=guidance, scheduler=scheduler, **_unusual(steadiness))
        wave = self._read(audio)
        check_longer(self.config, wave.duration_s, seconds)
        rate, added = wave.sample_rate, round(seconds * wave.sample_rate)
        at_end = side == "right"
        window_s = self.grid.window * self.grid.scale * self.params.step_s
        kept = steadiness if seconds > window_s else 0.0
        if kept > 0:
            longer = Waveform(with_bars_again(wave, added, at_end, window_s), rate)
        else:
            # Mirrored for the time being: what the model sees at the join is not an end.
            padding = (0, added) if at_end else (added, 0)
            longer = Waveform(np.pad(wave.samples, ((0, 0), padding), "symmetric"), rate)
        region = Region(wave.num_samples / rate, longer.num_samples / rate) if at_end else Region(0.0, added / rate)
        with self._request(progress, cancel) as request:
            made = self._repaint(longer, (region,), settings, 1 - kept, request)
            fade = np.linspace(0, 1, min(added, round(_FADE_S * rate)), dtype=np.float32)
            if at_end:
                made.samples[:, made.num_samples - len(fade) :] *= fade[::-1]
            else:
                made.samples[:, : len(fade)] *= fade
            return self._analysed(made, settings, request)

    def arrange(self, sections: Sequence[Section | Mapping[str, Any]], bpm: float = DEFAULT_BPM, key: str | None = None,
                negative_prompt: str = "", seed: int | None = None, steps: int | None = None,
                guidance: float | None = None, scheduler: str | None = None, steadiness: float = STEADINESS,
                audio: str | Path | Waveform | None = None, anew: int | None = None, *,
                progress: Progress | None = None, cancel: threading.Event | None = None) -> Clip:
        """A piece of sections, such as intro, verse, build, drop and outro, on one canvas and one grid of beats.

        Every section starts from a loop of its own, turned so that its beats fall on the grid (``layers``). The piece
        is as long as its bars, to the sample.

        Args:
            sections: ``Section`` or objects with its fields: name, bars, prompt, energy (very low, low, medium, high,
                very high), transition into it (cut, crossfade, interpolate), and perhaps a seed of its own.
            bpm: tempo, 40 to 240.
            key: such as "A minor"; prompts that name none are given it in words.
            steadiness: what sections share with their loops: 0 lets the beat go where it likes, 1 repeats them.
            audio, anew: the piece as it is, and the number, from 1, of a section that alone is made anew: with its own
                seed, or if it has none with one that is drawn. Outside of it the result is ``audio``, to the sample.
            negative_prompt, seed, steps, guidance, scheduler, progress, cancel: as in :meth:`text2audio`.

        Raises:
            ValueError: an argument is out of range, or the audio is not as long as the sections.
        """
        change = {name: value for name, value in (("audio", audio), ("anew", anew)) if value is not None}
        settings = self._settings("arrange", sections=sections, bpm=bpm, key=key, negative_prompt=negative_prompt,
                                  seed=seed, steps=steps, guidance=guidance, scheduler=scheduler,
                                  steadiness=steadiness, **change)
        piece = Arrangement(as_sections(sections), bpm)
        samples = piece.samples(self.params.sample_rate)[-1]
        wave = None if audio is None else self._read(audio)
        if wave is not None:
            if abs(wave.num_samples - samples) > _LENGTH_SLACK_S * wave.sample_rate:
                raise ValueError(f"expected audio to be the piece of these sections, {piece.edges[-1]:.2f} s long, "
                                 f"got {wave.duration_s:.2f} s")
            if piece.sections[anew - 1].seed is None:
                piece = piece.with_seed(anew - 1, secrets.randbelow(MAX_SEED + 1))
        settings["sections"] = as_settings(piece.sections)
        with self._request(progress, cancel) as request:
            painter = SectionPainter(self, piece, settings, request)
            if wave is not None:
                return self._analysed(painter.anew(anew - 1, wave), settings, request)
            columns = -(-samples // self.params.hop_length) + 1
            canvas = painter.canvas(0.0, self.grid.width(columns), request)
            mel = pixels_to_amplitudes(self._paint(canvas, columns, settings, request), 1.0, self.params)
            mel *= even_gains(mel[0], piece.place(np.arange(columns) * self.params.step_s), piece.sections)
            pixels = amplitudes_to_pixels(mel, float(mel.max()), self.params)
            return self._finish(pixels, None, samples, settings, request)

    def morph(self, audio_a: str | Path | Waveform, audio_b: str | Path | Waveform, prompt: str = "",
              duration_s: float = 10.0, strength: float = 0.6, negative_prompt: str = "", seed: int | None = None,
              steps: int | None = None, guidance: float | None = None, scheduler: str | None = None, *,
              progress: Progress | None = None, cancel: threading.Event | None = None) -> Clip:
        """One sound turns into another (``morphing``); stereo if one of them is.

        Args:
            audio_a, audio_b: files of nearly any format, or waveforms. The first plays from its beginning, the second
                to its end; what is too short is repeated. With steady beats in both, the tempo glides.
            prompt: what they have in common, or what lies between them; empty leaves it open.
            duration_s: seconds, 1 to the configured limit.
            strength: how far the middle may go from both: 0 blends their pictures, 1 ignores them there.
            negative_prompt, seed, steps, guidance, scheduler, progress, cancel: as in :meth:`text2audio`.

        Raises:
            ValueError: an argument is out of range, or a file holds no sound that can be read.
        """
        settings = self._settings("morph", audio_a=audio_a, audio_b=audio_b, prompt=prompt, duration_s=duration_s,
                                  strength=strength, negative_prompt=negative_prompt, seed=seed, steps=steps,
                                  guidance=guidance, scheduler=scheduler)
        waves = [self._read(audio) for audio in (audio_a, audio_b)]
        if {wave.channels for wave in waves} == {1, 2}:
            waves = [wave.to_stereo() for wave in waves]
        samples = round(duration_s * self.params.sample_rate)
        columns = -(-samples // self.params.hop_length) + 1
        width = self.grid.width(columns)
        with self._request(progress, cancel) as request:
            request.report(0.0, "Analysing the input")
            lengths = tuple(wave.duration_s for wave in waves)
            way = course(np.arange(columns) * self.params.step_s, duration_s, lengths, tuple(map(steady_beat, waves)))
            mels = [torch.stack([mel_amplitudes(torch.from_numpy(channel[None].copy()), self.params)[0]
                                 for channel in wave.samples]) for wave in waves]
            loudest = max(float(mel.max()) for mel in mels)  # one gain: what is softer stays so
            latents = []
            for mel, at, done in zip(mels, (way.first_s, way.second_s), (0.0, 0.05)):
                pixels = amplitudes_to_pixels(mel, loudest, self.params).float()
                read = columns_at(pixels, torch.from_numpy(at / self.params.step_s)).round().to(torch.uint8)
                latents.append(encode_pixels(read, self.checkpoint, self.grid,
                                             request.stage(done, done + 0.05, "Reading the input")))
            cells = (np.arange(width) + 0.5) * self.grid.scale * self.params.step_s
            along = torch.from_numpy(np.interp(cells, np.arange(columns) * self.params.step_s, way.along)).float()
            positive, negative = embed_prompts(self.checkpoint, [prompt, negative_prompt])
            canvas = self._canvas(self._noise(settings["seed"], width), torch.lerp(*latents, along.to(latents[0])),
                                  float(strength) * torch.sin(torch.pi * along).clamp(min=0), positive, negative,
                                  float(settings["guidance"]))
            pixels = self._paint(canvas, columns, settings, request)
            return self._finish(pixels, loudest, samples, settings, request)

    def again(self, made: str | Path | Mapping[str, Any], *, progress: Progress | None = None,
              cancel: threading.Event | None = None, **changes: Any) -> Clip:
        """Make a clip once more, or with changes: ``pipe.again("bells.wav", prompt="flute")``.

        Args:
            made: a file that :meth:`Clip.save` wrote, or a clip's settings. With the same checkpoint and LoRAs the
                samples are the same; with others there is a UserWarning.
            progress, cancel: as in :meth:`text2audio`.
            changes: arguments of the task that made it. Recordings and seed images of one's own have to be given,
                unless they lie beside the file.

        Raises:
            ValueError: the file holds no settings, a recording is not there, or a change is not allowed.
        """
        settings = settings_of(made)
        task = getattr(self, settings["task"])
        arguments = arguments_of(settings, made, task, changes)
        if reason := difference(self.checkpoint, settings):
            warnings.warn(reason, stacklevel=2)
        return task(**arguments, progress=progress, cancel=cancel)

    def stream(self, prompt: str | StreamRequest, seed: int | None = None, *, state: StreamState | None = None,
               adapt: bool = True, cancel: threading.Event | None = None,
               **options: Any) -> Generator[StreamChunk, StreamRequest | None]:
        """Music that goes on without end, in chunks of 2.56 s.

        ``for chunk in pipe.stream("techno, 130 bpm"): play(chunk.audio)``. The generator takes another StreamRequest
        with ``send``, to be heard from the next chunk on; ``chunk.state`` is what to go on from later.

        Args:
            prompt: what to play, or a whole StreamRequest.
            seed: that the noise walks from; None draws one.
            state: to go on from, instead of a seed.
            adapt: take fewer steps where chunks take longer to make than to play.
            options: of StreamRequest: negative_prompt, wildness, transition, steps, guidance, scheduler, seed_image,
                strength, bpm, key.

        Raises:
            ValueError: an argument is out of range.
        """
        from riffusion_space import streaming  # which needs this module

        request = prompt if isinstance(prompt, streaming.StreamRequest) else streaming.StreamRequest(prompt, **options)
        streaming.check_request(self, request)  # now, and not when the first chunk is asked for
        check_arguments(self.config, seed=seed)
        if state is None:
            state = streaming.StreamState(seed=secrets.randbelow(MAX_SEED + 1) if seed is None else seed)
        return streaming.stream(self, request, state, adapt=adapt, cancel=cancel)

    # LoRAs ----------------------------------------------------------------------------------------------------------

    @property
    def lora_weights(self) -> dict[str, float]:
        """The weight of each loaded LoRA by name."""
        return self.checkpoint.loras.weights

    def load_lora(self, source: str | Path, weight: float = 1.0, name: str | None = None) -> str:
        """Lay a LoRA over the checkpoint, on top of those that are loaded; requests that run are waited for.

        Args:
            source: a .safetensors file, a folder with one, or a Hub id, of which only that file is downloaded.
            weight: how much of it, -10 to 10; 1 is what it was trained for.
            name: what it goes by from now on; by default the file's, folder's or model's.

        Returns:
            The name.

        Raises:
            ValueError: there is no such LoRA, its file is damaged, it does not fit, or the name is taken. What was
                loaded before stays as it was.
        """
        check_lora_weight(name or str(source), weight)
        lora = fetch_lora(source, name, self._adaptable)
        with self._turn.alone():
            self.checkpoint.loras.set(self._adaptable, self.checkpoint.loras.with_lora(lora, weight))
        return lora.name

    def set_lora_weights(self, weights: Mapping[str, float]) -> None:
        """Change the weights of loaded LoRAs by name; those not named keep theirs. 0 mutes one.

        Raises ValueError for a name that is not loaded, or a weight beyond -10 to 10.
        """
        with self._turn.alone():
            self.checkpoint.loras.set(self._adaptable, self.checkpoint.loras.with_weights(weights))

    def unload_loras(self, *names: str) -> None:
        """Take LoRAs off, all of them if none is named. Of the bare checkpoint the samples are then the same again, to
        the last bit. ValueError for a name that is not loaded.
        """
        with self._turn.alone():
            self.checkpoint.loras.set(self._adaptable, self.checkpoint.loras.without(names) if names else {})

    @property
    def _adaptable(self) -> dict[str, torch.nn.Module]:
        return {"unet": self.checkpoint.unet, "text_encoder": self.checkpoint.text_encoder}

    # Steps that the tasks share -------------------------------------------------------------------------------------

    def _settings(self, task: str, **arguments: Any) -> dict[str, Any]:
        """Check a task's arguments, fill in what was left open, and note what makes the result again."""
        check_arguments(self.config, **arguments)
        recommended = self.checkpoint.recommended
        # Numbers of NumPy's are taken as well, but JSON does not know them.
        settings = {name: value.item() if isinstance(value, np.generic) else value for name, value in arguments.items()}
        for name, value in (("seed", secrets.randbelow(MAX_SEED + 1)),
                            ("steps", min(recommended.steps, self.config.max_steps)),
                            ("guidance", recommended.guidance),
                            ("scheduler", recommended.scheduler)):
            if settings[name] is None:
                settings[name] = value
        asked = [with_tempo(settings.get(name, ""), settings.get("bpm"), settings.get("key"))
                 for name in ("prompt", "negative_prompt", "prompt_a", "prompt_b")]
        if "sections" not in settings and not any(text.strip() for text in asked):
            settings["guidance"] = 1.0  # towards nothing, away from nothing: the same, in half the time
        for name in ("audio", "audio_a", "audio_b", "seed_image"):
            if name in settings:
                settings[name] = _source_name(settings[name])
        return {"task": task, **settings, "checkpoint": self.checkpoint.name, "revision": self.checkpoint.revision,
                "dtype": self.checkpoint.dtype_name, "version": riffusion_space.__version__}

    def _read(self, audio: str | Path | Waveform) -> Waveform:
        """What a task is given, mono or stereo at the checkpoint's rate."""
        wave = audio if isinstance(audio, Waveform) else read_audio(audio, max_seconds=self.config.max_seconds)
        check_number("the length of the audio in seconds", wave.duration_s, 0, self.config.max_seconds)
        return (wave if wave.channels == 1 else wave.to_stereo()).resampled(self.params.sample_rate)

    @contextmanager
    def _request(self, progress: Progress | None, cancel: threading.Event | None, ahead: bool = False):
        """Wait for one of this device's seats and hold it; ``ahead`` of all that is not, for what has to be in time."""
        request = Request(progress, cancel)
        with self._turn.together(self._seats, lambda: request.report(0.0, "Waiting for another request"), ahead), \
                self.checkpoint.shared_unet.ahead() if ahead else nullcontext():
            yield request

    def _noise(self, seed: int, width: int, bpm: float | None = None, circular: bool = False) -> torch.Tensor:
        """Noise (channels, rows, width), drawn on the CPU: a seed means the same on every device.

        With a tempo it repeats from beat to beat as far as the checkpoint recommends; a ``circular`` one holds whole
        beats.
        """
        def drawn(seed: int, width: int) -> torch.Tensor:
            generator = torch.Generator().manual_seed(seed)
            return torch.randn((self.grid.channels, self.grid.rows, width), generator=generator)

        noise, share = drawn(seed, width), self.checkpoint.recommended.beat
        if bpm is None or share == 0:
            return noise
        columns = 60 * self.params.sample_rate / (bpm * self.grid.scale * self.params.hop_length)
        if circular:
            columns = width / max(1, round(width / columns))
        return beating_noise(drawn(seed ^ BEAT_NOISE, math.ceil(columns)), noise, columns, share)

    def _clip_noise(self, seed: int, width: int) -> torch.Tensor:
        """Noise (channels, rows, width) that is the same in every clip."""
        noise = self._noise(seed, CLIP_COLUMNS // self.grid.scale)
        return noise.repeat(1, 1, -(-width // noise.shape[-1]))[..., :width]

    def _canvas(self, noise: torch.Tensor, init: torch.Tensor | None, strength: float | torch.Tensor,
                positive: torch.Tensor, negative: torch.Tensor, guidance: float, circular: bool = False,
                starts: tuple[int, ...] | None = None) -> Canvas:
        """A canvas with one prompt throughout: its items, which are those of ``init``, share noise (channels, rows, W).

        ``strength`` is everywhere the same, or that of each column or cell; ``starts`` as in ``Canvas``.
        """
        width, items = noise.shape[-1], 1 if init is None else len(init)
        count = len(window_starts(width, self.grid.window, circular) if starts is None else starts)
        if not isinstance(strength, torch.Tensor):
            strength = torch.full((width,), strength)
        return Canvas(noise=noise.expand(items, -1, -1, -1), init=init, strength=strength,
                      positive=positive.expand(count, -1, -1), negative=negative.expand(count, -1, -1),
                      guidance=torch.full((count,), guidance), circular=circular, starts=starts)

    def _period(self, samples: int, bpm: float | None, loop: bool) -> tuple[Period, int]:
        """The loop that a long piece starts from, and the width of the piece's canvas."""
        column = self.grid.scale * self.params.hop_length
        if loop:
            period, times = closed_period(samples / column, self.grid.window, column / self.params.sample_rate, bpm)
            return period, times * period.columns
        period = open_period(self.grid.window, column / self.params.sample_rate, bpm)
        return period, max(self.grid.window, math.ceil((samples / column + 1) * period.stretch) + 1)

    def _own_loop(self, columns: int, prompts: tuple[torch.Tensor, torch.Tensor, float], settings: Mapping[str, Any],
                  request: Request, bpm: float | None) -> torch.Tensor:
        """Latents (1, channels, rows, columns) of a loop of the prompt, in fewer steps than what is painted over it.

        ``prompts`` are embeddings (tokens, width) of what to play and what to stay away from, and the guidance;
        ``settings`` are seed, steps and scheduler.
        """
        # One window sees most loops and where they begin again.
        starts = (0,) if columns <= self.grid.window - WRAP else None
        canvas = self._canvas(self._noise(settings["seed"], columns, bpm, circular=True), None, 1.0, *prompts,
                              circular=True, starts=starts)
        return denoise(self.checkpoint, canvas, self.grid.window, settings["scheduler"],
                       math.ceil(LOOP_STEPS * settings["steps"]), settings["seed"],
                       lambda step, steps: request.report(step / steps, "Finding a beat"), request.cancel)

    def _loop_width(self, samples: int) -> int:
        """Latent columns of a loop: the nearest whole number, at least two."""
        return max(2, round(samples / (self.grid.scale * self.params.hop_length)))

    def _looped_latents(self, loop: Image.Image, width: int, request: Request) -> torch.Tensor:
        """Latents (1, channels, rows, width) of a 512-column loop, repeated."""
        pixels = torch.from_numpy(np.asarray(loop)[:, :, 0].copy())[None]
        latents = encode_pixels(pixels, self.checkpoint, self.grid, request.stage(0.0, 0.05, "Reading the seed image"))
        latents = latents[..., : CLIP_COLUMNS // self.grid.scale]
        return latents.repeat(1, 1, 1, -(-width // latents.shape[-1]))[..., :width]

    def _restyle(self, pixels: torch.Tensor, prompt: str, negative_prompt: str, strength: float,
                 settings: dict[str, Any], request: Request) -> torch.Tensor:
        """Img2img of pixels (channels, bands, columns) with one prompt."""
        init = encode_pixels(pixels, self.checkpoint, self.grid, request.stage(0.0, 0.1, "Reading the input"))
        positive, negative = embed_prompts(self.checkpoint, [prompt, negative_prompt])
        canvas = self._canvas(self._noise(settings["seed"], init.shape[-1]), init, strength, positive, negative,
                              float(settings["guidance"]))
        return self._paint(canvas, pixels.shape[-1], settings, request)

    def _repaint(self, wave: Waveform, regions: tuple[Region, ...], settings: dict[str, Any], strength: float,
                 request: Request) -> Waveform:
        """A sound with regions painted anew as the settings' prompts say."""
        positive, negative = embed_prompts(self.checkpoint, [settings["prompt"], settings["negative_prompt"]])

        def paint(pixels: torch.Tensor, strengths: torch.Tensor, number: int, part: Request) -> torch.Tensor:
            init = encode_pixels(pixels, self.checkpoint, self.grid, part.stage(0.0, 0.1, "Reading the input"))
            noise = self._noise((settings["seed"] + number) % (MAX_SEED + 1), init.shape[-1])  # each place its own
            canvas = self._canvas(noise, init, strengths, positive, negative, float(settings["guidance"]))
            return self._paint(canvas, pixels.shape[-1], settings, part)

        return repaint(wave, regions, strength, self.params, self.grid.window * self.grid.scale, self.grid.scale,
                       paint, settings["seed"], request.within(0.0, 0.98))

    def _analysed(self, wave: Waveform, settings: dict[str, Any], request: Request) -> Clip:
        """A clip of sound that was not decoded from one picture; its picture is the analysis."""
        request.report(0.98, "Analysing the result")
        clip = Clip(wave, encode(wave, replace(self.params, stereo=wave.channels == 2)),
                    self._with_loras(settings))
        request.report(1.0, "Done")
        return clip

    @cached_property
    def _sketch(self) -> Sketch:
        loop = load_seed_image(built_in()[0].name, self.params)
        return Sketch(self.checkpoint, self.grid, torch.from_numpy(np.asarray(loop)[..., 0].copy()))

    def _paint(self, canvas: Canvas, columns: int, settings: dict[str, Any], request: Request) -> torch.Tensor:
        """Pixels, uint8 (channels, bands, columns), of a canvas; of a circular one all it has."""
        def stepped(step: int, steps: int) -> None:
            request.report(0.1 + 0.7 * step / steps, f"Step {step} of {steps}")

        def sketched(latents: torch.Tensor) -> None:
            shown = self._sketch(latents)[:, : -(-columns // self.grid.scale)]
            request.preview(Image.fromarray(shown.numpy()))

        latents = denoise(self.checkpoint, canvas, self.grid.window, settings["scheduler"], settings["steps"],
                          settings["seed"], stepped, request.cancel, sketched if request.preview else None)
        painting = request.stage(0.8, 0.9, "Painting")
        if canvas.circular:
            return decode_circular(latents, self.checkpoint, self.grid, painting)
        return decode_latents(latents, self.checkpoint, self.grid, columns, painting)

    def _finish(self, pixels: torch.Tensor, max_value: float | None, samples: int, settings: dict[str, Any],
                request: Request) -> Clip:
        """Pixels (channels, bands, columns) to a clip of ``samples`` samples.

        ``max_value`` is the amplitude of pixel 0; None sets the level so that the peak is at -1 dBFS. One gain holds
        for the whole piece, and the image's EXIF says it.
        """
        stereo = len(pixels) == 2
        channels = [torch.zeros_like(pixels[0]), *pixels] if stereo else [pixels[0]] * 3
        image = Image.fromarray(torch.stack(channels, -1).numpy())
        params = replace(self.params, stereo=stereo)
        wave = decode(image, params, 1.0 if max_value is None else max_value, settings["seed"],
                      request.stage(0.9, 1.0, "Finding the sound of the picture"),
                      self.checkpoint.phase_device)
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
        return Clip(Waveform(np.ascontiguousarray(shaped), wave.sample_rate), image, self._with_loras(settings))

    def _finish_loop(self, pixels: torch.Tensor, samples: int, settings: dict[str, Any], request: Request) -> Clip:
        """Circular pixels (1, bands, columns) to a clip that can be repeated, its peak at -1 dBFS."""
        mel = pixels_to_amplitudes(pixels, 1.0, self.params)
        found = reconstruct_loop(mel, samples, self.params, settings["seed"],
                                 progress=request.stage(0.9, 1.0, "Finding the sound of the picture"))
        wave = Waveform(found.numpy(), self.params.sample_rate)
        gain = 10 ** (_PEAK_DB / 20) / wave.peak if wave.peak > 0 else 1.0
        # The picture of the loop with columns a hop apart, and after its end the beginning, as an analysis has it.
        position = torch.arange(self.params.columns_for_samples(samples)) * self.params.hop_length / samples
        shown = columns_at(pixels[0].float(), position.double() * pixels.shape[-1]).round().to(torch.uint8)
        image = Image.fromarray(torch.stack([shown] * 3, -1).numpy())
        image.getexif().update(to_exif(self.params, gain))
        return Clip(Waveform(wave.samples * np.float32(gain), wave.sample_rate), image, self._with_loras(settings))

    def _with_loras(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Settings that tell the LoRAs, which are those sampled with: the request holds its turn."""
        loras = self.checkpoint.loras.settings
        return {**settings, "loras": loras} if loras else settings


def slerp(a: torch.Tensor, b: torch.Tensor, along: torch.Tensor) -> torch.Tensor:
    """Spherical interpolation of two noises (..., W) by a fraction for each column (W,): the variance stays 1.

    Shoemake, "Animating rotation with quaternion curves", 1985.
    """
    cosine = (a * b).sum() / (a.norm() * b.norm())
    if cosine.abs() > 0.9995:  # the same noise, or nearly: the angle's sine would divide by zero
        return torch.lerp(a, b, along)
    angle = torch.acos(cosine)
    return (torch.sin((1 - along) * angle) * a + torch.sin(along * angle) * b) / torch.sin(angle)


def _unusual(steadiness: float) -> dict[str, float]:
    """What settings say of steadiness: nothing of what is usual, so that they are what they were without it."""
    return {} if steadiness == STEADINESS else {"steadiness": steadiness}


def _source_name(source: Any) -> str | None:
    """What the settings say of a file, an image or a waveform that was given."""
    if source is None:
        return None
    return Path(source).name if isinstance(source, (str, Path)) else type(source).__name__
