"""Say in words what a composed piece is, in many wordings, so that a model learns the meaning and not one template."""

from __future__ import annotations

import random

from riffusion_space.training.compose import Piece
from riffusion_space.training.sounds import AMBIENCE, GENRE, INSTRUMENT

MOOD_WORDS = {
    "happy": ("happy", "cheerful", "upbeat", "joyful", "bright", "fun", "uplifting"),
    "sad": ("sad", "melancholic", "sorrowful", "mournful", "emotional", "lonely"),
    "calm": ("calm", "relaxing", "peaceful", "gentle", "soft", "soothing", "smooth", "chill", "mellow"),
    "energetic": ("energetic", "lively", "exciting", "powerful", "driving", "intense", "aggressive", "wild"),
    "dark": ("dark", "mysterious", "ominous", "brooding", "spooky", "scary", "tense"),
    "dreamy": ("dreamy", "ethereal", "floating", "magical", "romantic", "atmospheric"),
}
TEXTURE_WORDS = {
    "melody": ("melody", "solo", "solo melody", "tune", "playing a melody", "lead line"),
    "chords": ("chords", "playing chords", "chord progression", "harmony"),
    "arpeggio": ("arpeggio", "arpeggios", "playing arpeggios", "broken chords"),
    "beat": ("rhythm", "groove", "pattern"),
    "band": ("", "groove", "band", "instrumental", "track", "tune"),
}


WITH_AMBIENCE = ("{music} with {ambience}", "{music} and {ambience}", "{music}, {ambience} in the background",
                 "{ambience} behind {music}")


def tempo_word(rng: random.Random, bpm: int) -> str:
    """A word for a tempo in BPM."""
    if bpm < 85:
        return rng.choice(("slow", "slow tempo", "downtempo", "adagio"))
    if bpm > 135:
        return rng.choice(("fast", "fast tempo", "quick", "uptempo", "presto"))
    return rng.choice(("medium tempo", "moderate", "mid-tempo", "andante"))


def _subject(piece: Piece, rng: random.Random) -> str:
    """What is heard, in one of many words for it."""
    sounds = [rng.choice(INSTRUMENT[name].synonyms) for name in piece.instruments]
    if piece.kind == "ambience":
        return rng.choice(AMBIENCE[piece.ambience].synonyms)
    if piece.kind == "solo":
        return sounds[0]
    if piece.kind == "duet":
        lead, backing = sounds
        return rng.choice((f"{lead} and {backing}", f"{lead} with {backing}", f"{lead} over {backing}",
                           f"{backing} and {lead}", f"{lead} melody over {backing}", f"{backing} with {lead} solo"))
    band = " ".join(rng.choice(GENRE[name].synonyms) for name in rng.sample(piece.genres, len(piece.genres)))
    if piece.texture == "bassline":
        band = rng.choice((f"{band} bassline", f"{band} bass and drums"))
    if not sounds:
        return band
    lead = sounds[0]
    return rng.choice((f"{lead} over {band}", f"{band} with {lead}", f"{band} with a {lead} solo", f"{band}, {lead}",
                       f"{lead} and {band}", f"{band} featuring {lead}"))


def caption(piece: Piece, rng: random.Random) -> str:
    """One caption of ``piece``: always the sound or genre, often mood, texture or tempo, in varying order."""
    subject = _subject(piece, rng)
    if piece.ambience and piece.kind != "ambience":
        background = rng.choice(AMBIENCE[piece.ambience].synonyms)
        subject = rng.choice(WITH_AMBIENCE).format(music=subject, ambience=background)
    if rng.random() < 0.25:
        return subject  # what most people type
    before, after = [], []
    if rng.random() < 0.5:
        before.append(rng.choice(MOOD_WORDS[piece.mood]))
    if piece.kind == "ambience":
        return rng.choice(("{}", "{}", "the sound of {}", "a recording of {}")).format(" ".join([*before, subject]))
    if rng.random() < 0.3:
        before.append(tempo_word(rng, piece.bpm))
    if piece.kind in ("solo", "genre") and not (piece.kind == "genre" and piece.instruments) and not piece.ambience \
            and piece.texture != "bassline" and rng.random() < 0.45:
        subject = f"{subject} {rng.choice(TEXTURE_WORDS[piece.texture])}".strip()
    if rng.random() < 0.45:
        after.append(f"{rng.choice(('', 'at '))}{piece.bpm} {rng.choice(('bpm', 'BPM', 'beats per minute'))}")
    if rng.random() < 0.2:
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
