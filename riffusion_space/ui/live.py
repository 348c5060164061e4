"""The tab that plays on without end, and the endpoint that gives the same chunk by chunk.

The browser asks for a chunk when it has little left to play (live.js), so whoever stops, leaves or loses the connection
costs nothing more. Chunks wait in a line of their own, and go ahead of pieces (``batching``), which else would keep
Live waiting until they are done: several listeners take turns, a chunk at a time, and on ZeroGPU no call lasts longer
than a chunk.
"""

from __future__ import annotations

import base64
import io
import os
import secrets
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
from gradio.utils import get_upload_folder
from PIL import Image

from riffusion_space.arguments import MAX_SEED, MAX_TRANSITION, check_arguments
from riffusion_space.audio import write_audio
from riffusion_space.spectrogram import SpectrogramParams
from riffusion_space.tempo import KEYS
from riffusion_space.ui import picture
from riffusion_space.ui.chart import chart
from riffusion_space.ui.components import (
    NONE,
    PRIVATE,
    Sampling,
    SeedImagePicker,
    Tab,
    blank_number,
    blanks_to_null,
    chosen,
    examples,
    negative_prompt_box,
    prompt_box,
    strength_slider,
)
from riffusion_space.ui.listeners import Listeners
from riffusion_space.ui.sentences import language_of, said
from riffusion_space.ui.words import word_picker
from riffusion_space.ui.worker import Worker, sentence

if TYPE_CHECKING:
    from riffusion_space.streaming import StreamChunk

EXAMPLES = ["techno, 130 bpm", "jazz piano", "ambient synth pad", "funk", "bossa nova", "flute melody", "church bells"]
_PICTURE_ROWS = 256
# A link fills fields in before live.js is there, which then finds them here.
_TELL = "(value) => ((window.riffusionLiveFields ??= {}).NAME = value, window.riffusionLive?.NAME(value), undefined)"
_NOW = "(text) => window.riffusionLive.now(text)"


def live(label: str, max_minutes: float) -> gr.HTML:
    """A place where chunks are played as they come; ``pull``, ``cancel`` and ``leave`` are what it asks for.

    Its value is the answer to the last ``pull``: see :func:`_answer`.
    """
    params = SpectrogramParams()
    facts = {"rate": params.sample_rate, "label": label, "recordMinutes": max_minutes}
    return chart(__file__, facts, label=label)


def build(worker: Worker, sampling: Sampling) -> Tab:
    """Place the tab's components and its endpoint, /stream."""
    listeners = Listeners(worker.config.max_listeners)
    given_up: dict[str | None, int] = {}  # of each page, the last request that it no longer waits for

    async def following(handle: str | None, seed: int | None, at_most: int | None, request: gr.Request,
                        session: str | None, **wanted: Any) -> tuple[StreamChunk, str, int, int]:
        """The chunk after the one that a handle is from, its own handle, the stream's seed, and its usual steps."""
        from riffusion_space.streaming import StreamRequest, StreamState  # which imports diffusers

        begun, loop = None, wanted["seed_image"]
        if loop and Path(loop).is_file():
            os.utime(loop)  # it is in use, however long ago it was uploaded: Gradio deletes what is old
        try:
            check_arguments(worker.config, seed=seed, **wanted)
            if not handle:
                first = StreamState(secrets.randbelow(MAX_SEED + 1) if seed is None else seed)
                begun = handle = listeners.begin(first, session)
            state = listeners.state(handle)
        except ValueError as error:
            raise gr.Error(sentence(error), print_exception=False) from error
        try:
            chunk, after, usual = await worker.next_chunk(request, state, StreamRequest(**wanted), at_most)
        except BaseException:
            if begun:  # whoever hears nothing is no listener, and has no handle to come back with
                listeners.drop(begun)
            raise
        return chunk, listeners.follow(handle, after), after.seed, usual

    async def stream(
        prompt: str,
        negative_prompt: str = "",
        wildness: float = 0.5,
        transition: int = 1,
        steps: int | None = None,
        guidance: float | None = None,
        scheduler: str | None = None,
        seed_image: str | None = None,
        strength: float = 0.75,
        bpm: float | None = None,
        key: str | None = None,
        seed: int | None = None,
        state: str | None = None,
        seed_file: str | None = None,
        request: gr.Request = None,
    ) -> tuple[str, dict[str, Any]]:
        """Make the next 2.56 s of music that goes on without end.

        Args:
            prompt: what to play from now on, such as "techno, 130 bpm".
            negative_prompt: what to stay away from.
            wildness: 0 keeps to one loop and one noise, 1 has no loop of its own and new noise for every chunk.
            transition: chunks over which a new prompt is reached; 1 is at once.
            steps: denoising steps, from 1; left out, what is quick enough to be played live.
            guidance: how closely to follow the prompt, 0 to 30; left out, what suits the checkpoint.
            scheduler: dpm++, unipc, euler, euler a, ddim, pndm or lms; recommended is what suits the checkpoint.
            seed_image: name of a built-in loop that gives tempo and key; none for the stream's own.
            strength: with a seed image, how far to go from it: 0 keeps it, 1 ignores it.
            bpm: tempo, 40 to 240; a prompt that names none is given it in words.
            key: such as "A minor"; a prompt that names none is given it in words; none leaves it open.
            seed: of a new stream, 0 to 4294967295; left out, one is drawn, which the settings tell.
            state: where the stream is, from the settings of the chunk before; left out, a new one begins. It is kept
                for five minutes; an earlier one, up to eight chunks back, goes on from earlier.
            seed_file: a picture or sound of one's own in place of seed_image.

        Returns:
            The sound, to be played right after the one before it, and its settings: state is what to go on from, start
            its first sample in the stream, blend the share of each prompt in it.
        """
        wanted = dict(prompt=prompt, negative_prompt=negative_prompt, wildness=wildness, transition=transition,
                      steps=steps, guidance=guidance, scheduler=chosen(scheduler),
                      seed_image=seed_file or chosen(seed_image), strength=strength, bpm=bpm, key=chosen(key))
        chunk, handle, seed, _ = await following(state, seed, None, request, request.session_hash, **wanted)
        folder = Path(get_upload_folder()).resolve() / secrets.token_hex(16)
        folder.mkdir(parents=True)
        sound = write_audio(chunk.audio, folder / f"chunk-{chunk.state.chunks}.wav")
        listeners.keep(handle, folder)
        if seed_file:
            wanted["seed_image"] = Path(seed_file).name
        settings = {"task": "stream", **wanted, "steps": chunk.steps, "seed": seed, "state": handle,
                    "start": chunk.start, "blend": dict(chunk.blend)}
        return str(sound), settings

    async def pull(negative_prompt: str, wildness: float, transition: int, steps: int | None, guidance: float | None,
                   scheduler: str | None, seed_image: str | None, seed_file: str | None, strength: float,
                   bpm: float | None, key: str | None, event: gr.EventData, request: gr.Request) -> dict[str, Any]:
        """A chunk for the page, or a sentence on why there is none; the page's own words are in the event."""
        asked = event._data
        number = int(asked["number"])
        if number <= given_up.get(request.session_hash, -1):
            return {"number": number, "cancelled": True}
        if asked["state"] and not listeners.knows(asked["state"]):
            return {"number": number, "lost": True}
        prompt = str(asked["prompt"])
        try:
            chunk, handle, seed, usual = await following(
                asked["state"], asked["seed"], asked["atMost"], request, request.session_hash, prompt=prompt,
                negative_prompt=negative_prompt, wildness=wildness, transition=transition, steps=steps,
                guidance=guidance, scheduler=chosen(scheduler), seed_image=seed_file or chosen(seed_image),
                strength=strength, bpm=bpm, key=chosen(key))
        except gr.Error as error:
            cancelled = number <= given_up.get(request.session_hash, -1)
            told = said(error.message, language_of(request))
            return {"number": number, "cancelled": True} if cancelled else {"number": number, "error": told}
        checkpoint = worker.loader.state.pipeline.checkpoint
        return {"number": number, "state": handle, "seed": seed, "usual": usual,
                "others": worker.pieces, "checkpoint": checkpoint.name, "revision": checkpoint.revision,
                **_answer(chunk)}

    def cancel(event: gr.EventData, request: gr.Request) -> None:
        given_up[request.session_hash] = int(event._data["number"])
        worker.cancel_task("stream", request)

    def leave(request: gr.Request) -> None:
        """Whoever stops is no longer listening."""
        worker.cancel_task("stream", request)
        listeners.forget(request.session_hash)

    def closed(request: gr.Request) -> None:
        """Nothing more will come from this page."""
        leave(request)
        given_up.pop(request.session_hash, None)

    with gr.Row():
        with gr.Column():
            prompt = prompt_box("Prompt", "an instrument, a genre, a mood, a tempo")
            with gr.Row():
                now = gr.Button("Play now", variant="primary", elem_id="live-now", min_width=120)
                later = gr.Button("Add to the queue", min_width=120)
            place = gr.Column()
            words = word_picker(prompt)
        with gr.Column():
            heard = live("Live", worker.config.max_live_minutes)
    with gr.Row():
        with gr.Column():
            wildness = gr.Slider(0, 1, 0.5, step=0.05, label="How wild",
                                 info="0 keeps to one idea, 1 has a new one every time")
            transition = gr.Slider(1, MAX_TRANSITION, 1, step=1, precision=0, label="Transition",
                                   info="In how many steps of 2.6 s a new prompt is reached")
        with gr.Column():
            with gr.Accordion("Advanced", open=False):
                negative_prompt = negative_prompt_box()
                seed = blank_number("Seed", "random", info="of the next start", precision=0)
                with gr.Row():
                    bpm = blank_number("Tempo", "any", info="bpm", min_width=100)
                    key = gr.Dropdown([("any", NONE), *KEYS], label="Key", min_width=120)
            with gr.Accordion("Seed image: a loop that gives tempo and key", open=False) as seeds:
                seed_image = SeedImagePicker.build()
                strength = strength_slider(0.75, "How far to go from the seed image: 0 keeps it, 1 ignores it")
    with place:
        examples([[text] for text in EXAMPLES], [prompt], "() => document.getElementById('live-now').click()")
    gr.on([now.click, prompt.submit], None, prompt, None, js=_NOW, **PRIVATE)
    later.click(None, prompt, prompt, js="(text) => (window.riffusionLive.later(text), '')", **PRIVATE)
    for field, name in ((prompt, "written"), (seed, "seed")):
        field.change(None, field, None, js=_TELL.replace("NAME", name), **PRIVATE)
    sampled = [negative_prompt, wildness, transition, sampling.steps, sampling.guidance, sampling.scheduler]
    fields = [*sampled, seed_image.name, seed_image.file, strength, bpm, key]
    # A request may come before the answer to the last one, which is then no longer waited for.
    heard.pull(pull, fields, heard, js=blanks_to_null(fields), concurrency_limit=None, trigger_mode="multiple",
               show_progress="hidden", api_visibility="private"
               ).failure(None, None, None, js="() => window.riffusionLive.failed()", **PRIVATE)
    heard.cancel(cancel, None, None, trigger_mode="multiple", **PRIVATE)
    heard.leave(leave, None, None, trigger_mode="multiple", **PRIVATE)

    told = [prompt, *sampled, seed_image.name, strength, bpm, key, seed]
    inputs = [*told, gr.Textbox(None, visible=False), seed_image.file]
    endpoint = gr.Button(visible=False)
    endpoint.click(stream, inputs, [gr.Audio(visible=False), gr.JSON(visible=False)], api_name="stream",
                   concurrency_limit=None, js=blanks_to_null(inputs))
    return replace(Tab.of(stream, told, seed_image.file, None, words, seeds), closed=closed)


def _answer(chunk: StreamChunk) -> dict[str, Any]:
    """A chunk as the page takes it: ``sound`` 16-bit samples in base64, ``picture`` a data URL, and facts."""
    samples = np.clip(np.rint(chunk.audio.samples[0] * 32768), -32768, 32767).astype("<i2")
    return {"sound": base64.b64encode(samples.tobytes()).decode(), "picture": _picture(chunk.pixels),
            "blend": dict(chunk.blend), "bpm": chunk.bpm, "steps": chunk.steps, "took": chunk.took_s,
            "loop": chunk.loop_s}


def _picture(pixels: np.ndarray) -> str:
    """A data URL of pixels (bands, columns), coloured; a column is a column."""
    small = Image.fromarray(255 - pixels).resize((pixels.shape[1], _PICTURE_ROWS), Image.Resampling.BOX)
    data = io.BytesIO()
    Image.fromarray(picture.colour_table()[np.asarray(small)]).save(data, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"
