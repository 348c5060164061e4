"""Music that goes on without end, a chunk at a time: explicit state in, chunk and state out.

    state = StreamState(seed=7)
    chunk, state = next_chunk(pipe, state, StreamRequest("techno, 130 bpm"))

Every chunk is painted to the right of what was painted last, which the model sees and keeps (as ``denoise`` keeps what
has no strength; Lugmayr et al., "RePaint", 2022). A state can be kept, copied, written to bytes and gone on from twice:
to change what is queued but not yet heard, go on from the state before it.

What is heard lags a third of a second behind what is painted, so that the sound at the end of a chunk is found with
what follows in view; the next chunk's phase is found with the last samples pinned, and takes over within 20 ms from the
sound that went on from them. The level has one gain that moves over a chunk by two decibels up or three down at most.

What a chunk sees of the one before is too little to keep a beat by. So chunks are painted by img2img from a loop of
whole bars that goes round under the stream: a seed image, or else a loop of the prompt's own, painted in few steps when
the prompt begins, as long pieces have one (``steady``). While one prompt gives way to another, so do their loops, if
they are of one length; else the tempo changes with the prompt that leads, from one beat to the next. The wilder the
stream, the less it holds to its loop.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from riffusion_space.arguments import MAX_SEED, check_arguments
from riffusion_space.audio import Waveform
from riffusion_space.codec import pixels_to_amplitudes
from riffusion_space.denoise import Canvas, denoise
from riffusion_space.latents import decode_latents, encode_pixels
from riffusion_space.looping import columns_at
from riffusion_space.phase import Kept, reconstruct
from riffusion_space.pipeline import slerp
from riffusion_space.prompts import embed_prompts
from riffusion_space.request import Progress, Request
from riffusion_space.seed_images import load_seed_image, loop_columns
from riffusion_space.steady import SHARED_NOISE, WRAP, Period, open_period, repeated
from riffusion_space.tempo import named_bpm, with_tempo

if TYPE_CHECKING:
    import threading

    from riffusion_space.pipeline import RiffusionPipeline

LIVE_STEPS = 10  # what two cores keep up with on the embedded checkpoint
MIN_STEPS = 4
CHUNK = 32  # latent columns: 2.56 s
_CONTEXT = 24  # latent columns of what was played that the model sees
_HELD = 4  # latent columns that are painted but not yet heard
_KNOWN = 4  # latent columns whose sound is pinned
_MARGIN = 4  # latent columns before those, for the decoder's sake
_JOIN_S = 0.02
_HEARD = 0.02  # least share of a prompt
_CEILING = 0.9  # of full scale: louder samples are bent, not cut
_LEVEL = 0.12  # root mean square that the gain moves to
_HOLD = 0.8  # how much of its own loop a stream keeps that is not wild at all; half as wild, as long pieces do
_UP, _DOWN = 10 ** (2 / 20), 10 ** (-3 / 20)  # how far the gain moves in a chunk
_MOVING = 22_050  # samples in which it does
_FORMAT = 2


@dataclass(frozen=True)
class StreamRequest:
    """What is to be heard from the next chunk on.

    Attributes:
        prompt: what to play; a change is reached over ``transition`` chunks, embeddings interpolated linearly.
        negative_prompt: what to stay away from.
        wildness: 0 keeps to one loop and one noise, 1 has no loop of its own and new noise for every chunk.
        transition: chunks over which a new prompt is reached, 1 to 32; 1 is at once.
        steps: denoising steps; None takes ``LIVE_STEPS``.
        guidance, scheduler: None takes what suits the checkpoint.
        seed_image: the name of a built-in loop, or a file, that gives tempo and key in place of the stream's own;
            strength: how far to go from it.
        bpm, key: told to the checkpoint in words, where the prompt does not.
    """

    prompt: str
    negative_prompt: str = ""
    wildness: float = 0.5
    transition: int = 1
    steps: int | None = None
    guidance: float | None = None
    scheduler: str | None = None
    seed_image: str | Path | None = None
    strength: float = 0.75
    bpm: float | None = None
    key: str | None = None


@dataclass(frozen=True, eq=False)
class Loop:
    """What goes round under a stream.

    Attributes:
        latents: (1, channels, rows, columns).
        bpm: its tempo as it goes round, or None where that is not known.
        prompt: whose it is; empty for a seed image.
        made_of: all that it depends on.
    """

    latents: torch.Tensor
    bpm: float | None
    prompt: str
    made_of: str

    @property
    def columns(self) -> int:
        return self.latents.shape[-1]


@dataclass(frozen=True, eq=False)
class StreamState:
    """All that the next chunk depends on besides the request: the same state and request make the same chunk.

    Attributes:
        seed: that the noise walks from.
        chunks: made so far.
        latents: (1, channels, rows, up to 24), the last that were painted.
        samples: (n,), sound that is pinned and its first 20 ms beyond what was heard, before the gain.
        gain: at the end of the last chunk; 0 before the first sound.
        blend: share of each prompt in the last chunk, adding up to 1.
        target, remaining: the prompt that is being reached and in how many chunks.
        loops: of a seed image, or of the prompts in ``blend``.
        origin: column of the stream at which a loop begins.
    """

    seed: int = 0
    chunks: int = 0
    latents: torch.Tensor | None = None
    samples: torch.Tensor | None = None
    gain: float = 0.0
    blend: Mapping[str, float] = field(default_factory=dict)
    target: str = ""
    remaining: int = 0
    loops: tuple[Loop, ...] = ()
    origin: int = 0

    def to_bytes(self) -> bytes:
        """The state in safetensors' format, about half a megabyte."""
        tensors = {name: value.contiguous() for name in ("latents", "samples")
                   if (value := getattr(self, name)) is not None}
        tensors |= {f"loop {number}": loop.latents.contiguous() for number, loop in enumerate(self.loops)}
        plain = {name: getattr(self, name) for name in
                 ("seed", "chunks", "gain", "blend", "target", "remaining", "origin")}
        loops = [{"bpm": loop.bpm, "prompt": loop.prompt, "made_of": loop.made_of} for loop in self.loops]
        text = json.dumps({"format": _FORMAT, "loops": loops, **plain}).encode()
        return save({**tensors, "state": torch.frombuffer(bytearray(text), dtype=torch.uint8)})

    @classmethod
    def from_bytes(cls, data: bytes) -> StreamState:
        """What :meth:`to_bytes` wrote. Raises ValueError for anything else."""
        try:
            tensors = load(data)
            plain = json.loads(tensors.pop("state").numpy().tobytes())
            if plain.pop("format") == _FORMAT:
                loops = tuple(Loop(tensors.pop(f"loop {number}"), **loop)
                              for number, loop in enumerate(plain.pop("loops")))
                return cls(**plain, loops=loops, **tensors)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError("expected the bytes of a stream's state, got something else") from error
        raise ValueError("expected the bytes of a stream's state of this version, got those of another")


@dataclass(frozen=True, eq=False)
class StreamChunk:
    """A chunk to play right after the one before it.

    Attributes:
        audio: mono, 2.56 s.
        pixels: uint8 (bands, 256), the spectrogram of just that sound.
        start: of its first sample in the stream.
        blend: share of each prompt in it.
        bpm: of the loop under it, which is a whole number of columns long; without one, or where its tempo is not
            known, what was asked for, if anything.
        steps: that it was denoised in.
        took_s: seconds that making it took, without waiting for the device.
        loop_s: seconds that painting its loop took before that; 0 where it was there.
        state: to go on from, after it.
    """

    audio: Waveform
    pixels: np.ndarray
    start: int
    blend: Mapping[str, float]
    bpm: float | None
    steps: int
    took_s: float
    loop_s: float
    state: StreamState


def check_request(pipe: RiffusionPipeline, request: StreamRequest) -> None:
    """Raise ValueError, one sentence, for a request that cannot be played."""
    if not isinstance(request.seed_image, str | Path | None):
        raise ValueError(f"expected seed_image to be a name or a file, got {type(request.seed_image).__name__}")
    check_arguments(pipe.config, prompt=request.prompt, negative_prompt=request.negative_prompt, steps=request.steps,
                    guidance=request.guidance, scheduler=request.scheduler, seed_image=request.seed_image,
                    strength=request.strength, bpm=request.bpm, key=request.key, wildness=request.wildness,
                    transition=request.transition)


def usual_steps(pipe: RiffusionPipeline, request: StreamRequest) -> int:
    """The steps that a chunk gets when there is time."""
    return request.steps or min(LIVE_STEPS, pipe.checkpoint.recommended.steps, pipe.config.max_steps)


def next_chunk(pipe: RiffusionPipeline, state: StreamState, request: StreamRequest, *,
               progress: Progress | None = None,
               cancel: threading.Event | None = None) -> tuple[StreamChunk, StreamState]:
    """The chunk that follows ``state``, and the state after it.

    Raises ValueError for a request that cannot be played, Cancelled soon after ``cancel`` is set; the state is as good
    as before.
    """
    check_request(pipe, request)
    check_arguments(pipe.config, seed=state.seed)
    recommended = pipe.checkpoint.recommended
    steps = usual_steps(pipe, request)
    with pipe._request(progress, cancel, ahead=True) as turn:
        scheduler = request.scheduler or recommended.scheduler
        begun = time.perf_counter()
        state = _with_loops(pipe, state, _turned_to(state, request), request, scheduler, turn)
        started = time.perf_counter()
        canvas = _canvas(pipe, state, request)
        latents = denoise(pipe.checkpoint, canvas, canvas.noise.shape[-1], scheduler, steps, _chunk_seed(state),
                          lambda step, of: turn.report(0.1 + 0.7 * step / of, f"Step {step} of {of}"), cancel).cpu()
        pixels, sound = _sounding(pipe, latents, state, turn)
        samples, gain = _levelled(sound[: CHUNK * pipe.grid.scale * pipe.params.hop_length], state.gain)
        hop, known = pipe.params.hop_length, _KNOWN * pipe.grid.scale * pipe.params.hop_length
        join, heard = round(_JOIN_S * pipe.params.sample_rate), len(samples)
        after = replace(state, chunks=state.chunks + 1, latents=latents[..., -_CONTEXT:].clone(), gain=gain,
                        samples=sound[heard - known : heard + join].clone())
        chunk = StreamChunk(Waveform(samples[None], pipe.params.sample_rate), pixels[:, : heard // hop].numpy(),
                            state.chunks * heard, dict(state.blend), _tempo(state, request), steps,
                            time.perf_counter() - started, started - begun, after)
        return chunk, after


def stream(pipe: RiffusionPipeline, request: StreamRequest, state: StreamState | None = None, *,
           adapt: bool = True, cancel: threading.Event | None = None) -> Generator[StreamChunk, StreamRequest | None]:
    """Chunks without end. ``send`` a request to be heard from the next chunk on.

    Args:
        state: to go on from; a new one otherwise.
        adapt: take fewer steps, down to 4, when chunks take longer to make than to play, and more again when there is
            time.
        cancel: when set, Cancelled is raised within a denoising step.
    """
    check_request(pipe, request)
    state = state or StreamState()
    steps: int | None = None
    while True:
        wanted = usual_steps(pipe, request)
        steps = wanted if steps is None or not adapt else min(steps, wanted)
        chunk, state = next_chunk(pipe, state, replace(request, steps=steps), cancel=cancel)
        if adapt:
            steps = paced_steps(steps, wanted, chunk.took_s, chunk.audio.duration_s)
        request = (yield chunk) or request


def paced_steps(steps: int, wanted: int, took_s: float, chunk_s: float) -> int:
    """Steps for the next chunk after one of ``steps`` took ``took_s`` to make and ``chunk_s`` to play.

    >>> paced_steps(10, 10, 1.5, 2.56), paced_steps(10, 10, 4.0, 2.56), paced_steps(5, 10, 1.0, 2.56)
    (10, 5, 6)
    """
    if took_s > 0.9 * chunk_s:
        return max(min(MIN_STEPS, wanted), int(steps * 0.8 * chunk_s / took_s))
    return min(wanted, steps + (took_s * (steps + 1) / steps < 0.75 * chunk_s))


def _turned_to(state: StreamState, request: StreamRequest) -> StreamState:
    """The state with the share that each prompt has in the next chunk."""
    target = with_tempo(request.prompt, request.bpm, request.key)
    if not state.blend:
        return replace(state, blend={target: 1.0}, target=target, remaining=0)
    remaining = request.transition if target != state.target else state.remaining
    if remaining == 0:
        return replace(state, blend={target: 1.0}, target=target)
    step = 1 / remaining
    blend = {prompt: share * (1 - step) for prompt, share in state.blend.items() if remaining > 1}
    blend[target] = blend.get(target, 0.0) + step
    # What is heard no more goes: else prompts that change faster than they are reached add up without end.
    heard = {prompt: share for prompt, share in blend.items() if share >= _HEARD or prompt == target}
    blend = {prompt: share / sum(heard.values()) for prompt, share in heard.items()}
    return replace(state, blend=blend, target=target, remaining=remaining - 1)


def _with_loops(pipe: RiffusionPipeline, before: StreamState, state: StreamState, request: StreamRequest,
                scheduler: str, turn: Request) -> StreamState:
    """The state with the loops under the next chunk. Those that were there ``before`` are kept."""
    there = {loop.made_of: loop for loop in state.loops}
    model = (pipe.checkpoint.name, pipe.checkpoint.revision)
    # As many steps as there usually are, also where the chunk itself has to hurry: what is under it stays.
    settings = {"seed": state.seed ^ SHARED_NOISE, "scheduler": scheduler,
                "steps": min(LIVE_STEPS, pipe.checkpoint.recommended.steps, pipe.config.max_steps)}
    loops = []
    if request.seed_image is not None:
        made_of = json.dumps([str(request.seed_image), *model])
        loops.append(there.get(made_of) or _loop_of_image(pipe, request.seed_image, made_of, turn))
    elif request.wildness < 1:
        for prompt in state.blend:
            bpm, prompts = _bpm(prompt, request), _prompts(pipe, {prompt: 1.0}, request)
            period = _period(pipe, bpm)
            made_of = json.dumps([prompt, period.columns, request.negative_prompt, prompts[2], settings, *model,
                                  dict(pipe.lora_weights)])
            if (loop := there.get(made_of)) is None:
                latents = pipe._own_loop(period.columns, prompts, settings, turn.within(0.0, 0.1), bpm).cpu()
                loop = Loop(latents, None if bpm is None else round(bpm / period.stretch, 2), prompt, made_of)
            loops.append(loop)
    after = replace(state, loops=tuple(loops))
    old, new = _leading(before), _leading(after)
    if old is None or new is None or old.columns == new.columns or old.bpm is None or new.bpm is None:
        return after
    # The new loop goes on within the beat that the old one is in.
    column_s, first = pipe.grid.scale * pipe.params.step_s, state.chunks * CHUNK + _HELD
    into_beat = (first - state.origin) * column_s * old.bpm / 60 % 1
    return replace(after, origin=first - round(into_beat * 60 / new.bpm / column_s))


def _loop_of_image(pipe: RiffusionPipeline, source: str | Path, made_of: str, turn: Request) -> Loop:
    """A seed image, or as much of a picture or sound as is whole bars, stretched to whole columns of latents."""
    width, bpm = loop_columns(source, pipe.params)
    columns = max(1, round(width / pipe.grid.scale))
    picture = np.asarray(load_seed_image(source, pipe.params))[:, :, 0]
    stretch = width / (columns * pipe.grid.scale)
    position = torch.arange(columns * pipe.grid.scale, dtype=torch.float64) * stretch
    bars = columns_at(torch.from_numpy(picture.copy()).float(), position).round().to(torch.uint8)
    around = repeated(bars, pipe.grid.window * pipe.grid.scale)[None]  # so that its end is followed by its beginning
    latents = encode_pixels(around, pipe.checkpoint, pipe.grid, turn.stage(0.0, 0.05, "Reading the seed image"))
    return Loop(latents[..., :columns].cpu(), None if bpm is None else round(bpm * stretch, 2), "", made_of)


def _bpm(prompt: str, request: StreamRequest) -> float | None:
    """The tempo that the checkpoint is told for a prompt."""
    return named_bpm(prompt) or request.bpm


def _leading(state: StreamState) -> Loop | None:
    """The loop of the prompt with the largest share, or that of the seed image."""
    return max(state.loops, key=lambda loop: state.blend.get(loop.prompt, 0.0), default=None)


def _tempo(state: StreamState, request: StreamRequest) -> float | None:
    """The tempo of what the stream is painted over; where that is not known, the one that is asked for."""
    loop = _leading(state)
    if loop is not None and loop.bpm is not None:
        return loop.bpm
    return _bpm(max(state.blend, key=state.blend.__getitem__), request)


def _period(pipe: RiffusionPipeline, bpm: float | None) -> Period:
    """The loop of a prompt's own: whole bars, which a window sees together with their beginning, or one slow bar."""
    return open_period(pipe.grid.window - WRAP, pipe.grid.scale * pipe.params.step_s, bpm)


def _under(state: StreamState) -> torch.Tensor | None:
    """Latents (1, channels, rows, columns) of what goes round under a chunk: loops of one length, by their shares."""
    leading = _leading(state)
    if leading is None:
        return None
    loops = [loop for loop in state.loops if loop.columns == leading.columns]
    shares = torch.tensor([state.blend.get(loop.prompt, 1.0) for loop in loops])
    return sum(share * loop.latents for share, loop in zip(shares / shares.sum(), loops))


def _chunk_seed(state: StreamState) -> int:
    return (state.seed + state.chunks) % (MAX_SEED + 1)


def _prompts(pipe: RiffusionPipeline, blend: Mapping[str, float],
             request: StreamRequest) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Embeddings of prompts with their shares, and of what to stay away from, each (tokens, width); the guidance."""
    prompts = list(blend)
    embedded = embed_prompts(pipe.checkpoint, [*prompts, request.negative_prompt])
    shares = torch.tensor([blend[prompt] for prompt in prompts]).to(embedded)
    guidance = request.guidance
    if not any(text.strip() for text in (*prompts, request.negative_prompt)):
        guidance = 1.0  # towards nothing, away from nothing: the same, in half the time
    elif guidance is None:
        guidance = pipe.checkpoint.recommended.guidance
    return (shares[:, None, None] * embedded[:-1]).sum(0), embedded[-1], float(guidance)


def _canvas(pipe: RiffusionPipeline, state: StreamState, request: StreamRequest) -> Canvas:
    """What was painted last, to be kept, and beside it what is to be painted."""
    kept = 0 if state.latents is None else state.latents.shape[-1]
    new = CHUNK if kept else CHUNK + _HELD
    first = state.chunks * CHUNK + (_HELD if kept else 0)  # where the new columns lie in the stream
    under = _under(state)
    length = pipe.grid.window if under is None else under.shape[-1]
    place = (torch.arange(first - kept, first + new) - state.origin) % length
    noise = slerp(pipe._noise(state.seed ^ SHARED_NOISE, length)[..., place],
                  pipe._noise(_chunk_seed(state), kept + new), torch.full((kept + new,), float(request.wildness)))[None]
    strength = torch.full((kept + new,), _strength(state, request))
    init = None if under is None else under[..., place]
    if kept:
        init = torch.zeros_like(noise) if init is None else init
        init[..., :kept], strength[:kept] = state.latents, 0
    positive, negative, guidance = _prompts(pipe, state.blend, request)
    return Canvas(noise=noise, init=init, strength=strength, positive=positive[None], negative=negative[None],
                  guidance=torch.tensor([guidance]))


def _strength(state: StreamState, request: StreamRequest) -> float:
    """How far a chunk goes from the loop under it."""
    if not state.loops:
        return 1.0
    return float(request.strength if request.seed_image is not None else 1 - _HOLD * (1 - request.wildness))


def _sounding(pipe: RiffusionPipeline, latents: torch.Tensor, state: StreamState,
              turn: Request) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels (bands, columns) and samples (n,) from where the stream was heard up to; both reach beyond the chunk."""
    scale, hop = pipe.grid.scale, pipe.params.hop_length
    first = state.samples is None
    before = 0 if first else _HELD + _KNOWN + _MARGIN
    seen = latents if first else latents[..., -(before + CHUNK):]
    width = seen.shape[-1]
    turn.report(0.8, "Painting")
    pixels = decode_latents(seen, pipe.checkpoint, replace(pipe.grid, window=width), width * scale)[0]
    pixels = pixels[:, 0 if first else _MARGIN * scale :]
    mel = pixels_to_amplitudes(pixels, 1.0, pipe.params)[None].to(pipe.checkpoint.phase_device)
    seed = _chunk_seed(state)
    finding = turn.stage(0.85, 1.0, "Finding the sound of the picture")
    if first:
        return pixels, reconstruct(mel, pipe.params, seed, progress=finding)[0].cpu()
    known = _KNOWN * scale * hop
    total = (mel.shape[-1] - 1) * hop
    given = torch.zeros(1, total)
    given[0, : len(state.samples)] = state.samples
    weight = torch.zeros(total)
    weight[:known] = 1
    found = reconstruct(mel, pipe.params, seed, kept=Kept(given, weight), progress=finding)[0, known:].cpu()
    beyond = state.samples[known:]
    fade = (torch.arange(len(beyond)) + 0.5) / len(beyond)
    found[: len(beyond)] = torch.lerp(beyond, found[: len(beyond)], fade)
    return pixels[:, _KNOWN * scale :], found


def _levelled(sound: torch.Tensor, gain: float) -> tuple[np.ndarray, float]:
    """Samples (n,) at a level that moves slowly, and the gain at their end."""
    rms = float(sound.square().mean().sqrt())
    wanted = _LEVEL / rms if rms > 0 else gain  # silence tells nothing
    end = wanted if gain == 0 else float(np.clip(wanted, gain * _DOWN, gain * _UP))
    moving = min(len(sound), _MOVING)
    ramp = np.full(len(sound), end, np.float32)
    ramp[:moving] = np.linspace(gain or end, end, moving)
    samples = sound.numpy() * ramp
    over = np.maximum(np.abs(samples) - _CEILING, 0)
    bent = np.sign(samples) * (_CEILING + (1 - _CEILING) * np.tanh(over / (1 - _CEILING)))
    return np.where(over > 0, bent, samples).astype(np.float32), end
