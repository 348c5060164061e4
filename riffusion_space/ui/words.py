"""The words that the loaded checkpoint knows, as chips that write them into a prompt, and a dice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from riffusion_space.ui.components import PRIVATE
from riffusion_space.ui.scripted import scripted

if TYPE_CHECKING:
    from riffusion_space.checkpoints import Vocabulary

# What any checkpoint that was trained on music's captions is likely to know.
_INSTRUMENTS = ("piano", "acoustic guitar", "electric guitar", "violin", "flute", "saxophone", "trumpet", "harp",
                "church bells", "synth pad", "bass guitar", "drums")
_GENRES = ("jazz", "rock", "funk", "techno", "hip hop", "reggae", "blues", "ambient", "classical", "bossa nova")
_MOODS = ("happy", "sad", "calm", "energetic", "dark", "dreamy")
_TEMPOS = ("slow", "fast", "80 bpm", "100 bpm", "120 bpm", "140 bpm")

# A mood goes before what it is said of, all else after a comma; what stands there already is not said twice.
_WRITE = """({chosen}, prompt) => {
    const {kind, word} = chosen, said = prompt.trim().replace(/,$/, '');
    if (` ${said.toLowerCase().split(/[\\s,]+/).join(' ')} `.includes(` ${word} `)) return prompt;
    if (!said) return word;
    return kind === 'moods' ? `${word} ${said}` : `${said}, ${word}`;
}"""

# Perhaps a mood, something to play, perhaps a tempo.
_ROLL = """(known) => {
    const words = Object.fromEntries((known?.groups ?? []).map(({kind, words}) => [kind, words]));
    const any = (list) => list[Math.floor(Math.random() * list.length)], chance = (part) => Math.random() < part;
    const what = any([...words.instruments, ...words.instruments, ...words.genres]);
    const tempo = any(words.tempos.filter((word) => /bpm/.test(word)));
    return (chance(0.6) ? `${any(words.moods)} ` : '') + what + (chance(0.4) ? `, ${tempo}` : '');
}"""


def groups(vocabulary: Vocabulary | None = None) -> dict[str, Any]:
    """The value of :func:`word_picker` for what a checkpoint says that it knows; in general where it does not."""
    instruments = vocabulary.instruments if vocabulary else ()
    genres = vocabulary.genres if vocabulary else ()
    ambiences = vocabulary.ambiences if vocabulary else ()
    known = (("instruments", instruments or _INSTRUMENTS), ("genres", genres or _GENRES), ("moods", _MOODS),
             ("tempos", _TEMPOS), ("ambiences", ambiences))
    return {"groups": [{"kind": kind, "words": list(words)} for kind, words in known]}


def word_picker(prompt: gr.Textbox) -> gr.HTML:
    """Place the chips for a prompt, and a dice that throws one."""
    dice = gr.Button("Surprise me", size="sm", min_width=0, elem_classes="dice")
    with gr.Accordion("Words it knows", open=False):
        words = scripted(__file__, {}, groups())
    words.select(None, [words, prompt], prompt, js=_WRITE, **PRIVATE)
    dice.click(None, words, prompt, js=_ROLL, **PRIVATE)
    return words
