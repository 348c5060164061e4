"""Say in words what a composed piece is, in many wordings, so that a model learns the meaning and not one template."""

from __future__ import annotations

import random

from riffusion_space.training.compose import Piece
from riffusion_space.training.sounds import GENRE, INSTRUMENT

MOOD_WORDS = {
    "happy": ("happy", "cheerful", "upbeat", "joyful", "bright"),
    "sad": ("sad", "melancholic", "sorrowful", "mournful"),
    "calm": ("calm", "relaxing", "peaceful", "gentle", "soft", "soothing", "smooth"),
    "energetic": ("energetic", "lively", "exciting", "powerful", "driving"),
    "dark": ("dark", "mysterious", "ominous", "brooding", "spooky"),
    "dreamy": ("dreamy", "ethereal", "floating", "magical"),
}
TEXTURE_WORDS = {
    "melody": ("melody", "solo", "solo melody", "tune", "playing a melody", "lead line"),
    "chords": ("chords", "playing chords", "chord progression", "harmony"),
    "arpeggio": ("arpeggio", "arpeggios", "playing arpeggios", "broken chords"),
    "beat": ("rhythm", "groove", "pattern"),
    "band": ("", "groove", "band", "instrumental", "track", "tune"),
}


def tempo_word(rng: random.Random, bpm: int) -> str:
    """A word for a tempo in BPM."""
    if bpm < 85:
        return rng.choice(("slow", "slow tempo", "downtempo"))
    if bpm > 135:
        return rng.choice(("fast", "fast tempo", "quick", "uptempo"))
    return rng.choice(("medium tempo", "moderate", "mid-tempo"))


def caption(piece: Piece, rng: random.Random) -> str:
    """One caption of ``piece``: always the sound or genre, often mood, texture or tempo, in varying order."""
    if piece.kind == "genre":
        subject = rng.choice(GENRE[piece.genre].synonyms)
    elif piece.kind == "solo":
        subject = rng.choice(INSTRUMENT[piece.instruments[0]].synonyms)
    else:
        lead, backing = (rng.choice(INSTRUMENT[name].synonyms) for name in piece.instruments)
        subject = rng.choice((f"{lead} and {backing}", f"{lead} with {backing}", f"{lead} over {backing}",
                              f"{backing} and {lead}", f"{lead} melody over {backing}"))
    if rng.random() < 0.3:
        return subject  # what most people type
    before, after = [], []
    if rng.random() < 0.5:
        before.append(rng.choice(MOOD_WORDS[piece.mood]))
    if rng.random() < 0.3:
        before.append(tempo_word(rng, piece.bpm))
    if piece.kind != "duet" and rng.random() < 0.45:
        subject = f"{subject} {rng.choice(TEXTURE_WORDS[piece.texture])}".strip()
    if rng.random() < 0.2:
        after.append(rng.choice((f"{piece.bpm} bpm", f"at {piece.bpm} bpm", f"{piece.bpm} BPM")))
    if rng.random() < 0.12:
        after.append(f"in {piece.key}")
    rng.shuffle(before)
    style = rng.random()
    if style < 0.55:
        text = " ".join([*before, subject, *after])
    elif style < 0.8:
        text = ", ".join([subject, *before, *after])
    elif style < 0.9:
        text = ", ".join([*before, *after, subject])
    else:
        words = " ".join([*before, subject])
        text = rng.choice(("the sound of {}", "a {} piece", "music with {}", "a recording of {}")).format(words)
        text = " ".join([text, *after])
    return text
