"""Compose short pieces: solo instruments, duets, bands and ambiences, as notes in seconds.

Everything is drawn from one ``random.Random``, so a seed names a piece. Rules are those of any harmony primer:
diatonic chords of a key, a melody that walks on the scale and rests on chord tones, grooves on a grid of sixteenths.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from riffusion_space.training.sounds import AMBIENCES, GENRES, INSTRUMENT, INSTRUMENTS, Ambience, Genre, Instrument

MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
PROGRESSIONS = {  # scale degrees, one a bar
    "major": ((0, 4, 5, 3), (0, 3, 4, 0), (0, 5, 3, 4), (1, 4, 0, 0), (0, 3, 0, 4), (5, 3, 0, 4)),
    "minor": ((0, 5, 2, 6), (0, 3, 4, 0), (0, 6, 5, 4), (0, 3, 6, 2), (0, 0, 5, 6)),
}
NOTES = ("C", "C sharp", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B")
MOODS = ("happy", "sad", "calm", "energetic", "dark", "dreamy")

# General MIDI drum keys, and grooves on sixteenths: x a hit, o a soft hit. Each groove lists one or two bars.
KICK, SNARE, RIM, CLAP, HAT, OPEN_HAT, RIDE, CRASH, TOM, SHAKER = 36, 38, 37, 39, 42, 46, 51, 49, 45, 70
COWBELL, CONGA, LOW_CONGA, CLAVE, TIMBALE, SURDO, TAMBOURINE = 56, 62, 64, 75, 65, 41, 54
GROOVES: dict[str, dict[int, str]] = {
    "swing": {RIDE: "x...x..ox...x..o", HAT: "....x.......x...", KICK: "o.......o.......", SNARE: "......o........."},
    "backbeat": {KICK: "x.....x.x.x.....", SNARE: "....x.......x...", HAT: "x.o.x.o.x.o.x.o."},
    "blast": {KICK: "x.x.x.x.x.x.x.x.", SNARE: "....x.......x...", CRASH: "x...............",
              RIDE: "x...x...x...x..."},
    "four": {KICK: "x...x...x...x...", OPEN_HAT: "..x...x...x...x.", HAT: "x.oox.oox.oox.oo",
             CLAP: "....x.......x..."},
    "house": {KICK: "x...x...x...x...", OPEN_HAT: "..x...x...x...x.", CLAP: "....x.......x...",
              SHAKER: "oooooooooooooooo"},
    "funk": {KICK: "x..x..x...x..x..", SNARE: "....x..o.o..x..o", HAT: "xoxoxoxoxoxoxoxo"},
    "onedrop": {KICK: "........x.......", RIM: "........x.......", HAT: "x.o.x.o.x.o.x.o."},
    "boombap": {KICK: "x......x..x.....", SNARE: "....x.......x...", HAT: "x.x.x.x.x.x.x.xo"},
    "bossa": {KICK: "x..xx..xx..xx..x", RIM: "x..x..x...x..x..", SHAKER: "xoxoxoxoxoxoxoxo"},
    "shuffle": {KICK: "x.......x..x....", SNARE: "....x.......x...", RIDE: "x..ox..ox..ox..o"},
    "train": {KICK: "x.......x.......", SNARE: "o.oox.ooo.oox.oo", HAT: "..x...x...x...x."},
    "trance": {KICK: "x...x...x...x...", OPEN_HAT: "..x...x...x...x.", CLAP: "....x.......x..o",
               RIDE: "o.o.o.o.o.o.o.o."},
    "breakbeat": {KICK: "x.........x.....", SNARE: "....x..o.o..x..o", HAT: "x.x.x.x.x.x.x.x.",
                  RIDE: "..o...o...o...o."},
    "synthwave": {KICK: "x...x...x...x...", SNARE: "....x.......x...", HAT: "x.x.x.x.x.x.x.x.",
                  TOM: "..............xx"},
    "trap": {KICK: "x.....x....x....", SNARE: "........x.......", HAT: "xxx.xxx.xxxxxxoo"},
    "punk": {KICK: "x.x...x.x.x...x.", SNARE: "..x.x...x...x.x.", CRASH: "x...............", HAT: "x.x.x.x.x.x.x.x."},
    "ska": {KICK: "x.......x.......", SNARE: "....x.......x...", HAT: "..x...x...x...x."},
    "salsa": {COWBELL: "x...x.x.x...x.x.", CONGA: "..x...xx..x...xx", LOW_CONGA: "......x.......x.",
              CLAVE: "x..x..x...x.x...", TIMBALE: "...........x..x."},
    "samba": {SURDO: "o.......x.......", SHAKER: "xooxxooxxooxxoox", TAMBOURINE: "x.xx.x.xx.xx.x.x",
              SNARE: "o.ox.oo.o.ox.oo."},
    "bodhran": {SURDO: "x..ox.o.x..ox.o.", TAMBOURINE: "....x.......x..."},
    "taiko": {SURDO: "x..x..x.x..x..xx", TOM: "x.......x.....x.", CRASH: "x..............."},
    "pop": {KICK: "x.....x.x.......", SNARE: "....x.......x...", HAT: "x.x.x.x.x.x.x.x.",
            TAMBOURINE: "....x.......x..."},
    "march": {KICK: "x.......x.......", SNARE: "x.xxx.x.x.xxxxxx", CRASH: "........o......."},
}
PERCUSSION = ("x.x.x.x.x.x.x.x.", "xoxoxoxoxoxoxoxo", "x..x..x.x..x..x.", "x...x...x...x...", "x.xxx.x.x.xxx.xx",
              "xooxooxoxooxooxo", "....x.......x...", "x.o.xxo.x.o.xxoo", "x..x..x...x.x...")


@dataclass(frozen=True)
class Note:
    start: float  # seconds
    duration: float  # seconds
    key: int  # MIDI key
    velocity: int  # 1 to 127


@dataclass(frozen=True)
class Track:
    program: int
    notes: tuple[Note, ...]
    drums: bool = False
    gain: int = 100  # MIDI volume, 0 to 127
    pan: int = 64  # MIDI pan, 0 left to 127 right


@dataclass(frozen=True)
class Piece:
    """A composed clip and what may be said of it."""

    kind: str  # "solo", "duet", "genre" or "ambience"
    instruments: tuple[str, ...]  # names of sounds.INSTRUMENTS, the lead first; of a genre, the featured one
    genres: tuple[str, ...]  # names of sounds.GENRES; a second one where two are blended
    ambience: str  # a name of sounds.AMBIENCES: alone, or behind the music; or empty
    texture: str  # "melody", "chords", "arpeggio", "beat", "band", "bassline" or "ambience"
    mood: str
    bpm: int
    key: str  # such as "C minor"
    tracks: tuple[Track, ...]

    @property
    def sounds(self) -> frozenset[str]:
        """The names of all that is heard: instruments, genres, ambience."""
        return frozenset({*self.instruments, *self.genres, *([self.ambience] if self.ambience else ())})


@dataclass(frozen=True)
class Harmony:
    root: int  # MIDI pitch class of the tonic
    scale: tuple[int, ...]
    degrees: tuple[int, ...]  # one a bar

    def pitch(self, degree: int) -> int:
        """Semitones above the tonic of a scale degree, in any octave."""
        return 12 * (degree // 7) + self.scale[degree % 7]

    def chord(self, bar: int, low: int, size: int = 3) -> list[int]:
        """MIDI keys of the bar's chord in close position from about ``low`` up."""
        degree = self.degrees[bar % len(self.degrees)]
        keys = [self.root + self.pitch(degree + 2 * third) for third in range(size)]
        return sorted(key + 12 * -((key - low) // 12) for key in keys)

    def bass(self, bar: int, low: int) -> int:
        return self.chord(bar, low, 1)[0]


class Player:
    """Writes one track on the grid: turns sixteenths into humanised seconds.

    A player leans ahead of the beat or behind it, is more or less exact, and swells over a bar or several.
    """

    def __init__(self, rng: random.Random, bpm: float, swing: float, loudness: int, tight: bool = False) -> None:
        self.rng, self.sixteenth, self.swing, self.loudness = rng, 15.0 / bpm, swing, loudness
        self.jitter = 0.0 if tight else rng.uniform(0.002, 0.012)
        self.lean = 0.0 if tight else rng.gauss(0, 0.006)
        self.spread = rng.uniform(2, 8)
        self.swell, self.swell_steps = rng.uniform(0, 10), rng.choice((16, 32, 64))
        self.notes: list[Note] = []

    def play(self, step: float, length: float, key: int, accent: float = 0.0) -> None:
        """A note at ``step`` sixteenths for ``length`` sixteenths; the second eighth of a beat swings."""
        late = 2 * self.swing if step % 4 == 2 else self.swing if step % 4 in (1, 3) else 0.0
        start = max(0.0, (step + late) * self.sixteenth + self.lean + self.rng.gauss(0, self.jitter))
        swell = self.swell * math.sin(2 * math.pi * step / self.swell_steps)
        velocity = round(self.loudness + 18 * accent + swell + self.rng.gauss(0, self.spread))
        self.notes.append(Note(start, max(0.05, length * self.sixteenth), key, min(127, max(20, velocity))))

    def track(self, program: int, **kwargs) -> Track:
        return Track(program, tuple(sorted(self.notes, key=lambda note: note.start)), **kwargs)


def write_melody(player: Player, harmony: Harmony, instrument: Instrument, bars: int, dense: float) -> None:
    """A scale walk inside the instrument's register, chord tones on the strong beats, with rests and repeats."""
    rng = player.rng
    span = [k for k in range(instrument.low, instrument.high + 1) if (k - harmony.root) % 12 in harmony.scale]
    at = len(span) // 2 + rng.randint(-3, 3)
    rhythms = ((4, 4, 4, 4), (2, 2, 4, 4, 4), (6, 2, 4, 4), (8, 4, 4), (2, 2, 2, 2, 4, 4), (2,) * 8, (3, 3, 2, 4, 4),
               (8, 8), (16,))
    fast, slow = rhythms[4:7], (rhythms[3], rhythms[7], rhythms[8], rhythms[0])
    motif = rng.choice(fast if rng.random() < dense else slow if dense < 0.3 else rhythms[:4])
    other = rng.choice(rhythms[:7])
    for bar in range(bars):
        step = 16 * bar
        for length in motif if bar % 2 == 0 else other:
            at = min(len(span) - 1, max(0, at + rng.choice((-2, -1, -1, 0, 1, 1, 2, 3, -3))))
            key = span[at]
            if step % 8 == 0:
                tones = [t % 12 for t in harmony.chord(bar, 48)]
                key = min((k for k in span if k % 12 in tones), key=lambda k: abs(k - span[at]), default=key)
            if step == 0 or rng.random() < 0.93:
                player.play(step, length * (0.95 if instrument.sustained else 1.4), key, 0.5 if step % 16 == 0 else 0)
            step += length


def write_chords(player: Player, harmony: Harmony, low: int, bars: int, style: str, size: int) -> None:
    """Chords in a rhythm named by ``style``; low is the lowest key of the voicing."""
    rng = player.rng
    hits: dict[str, tuple[tuple[float, float], ...]] = {
        "block": ((0, 8), (8, 8)), "sustain": ((0, 16),), "pulse": ((0, 4), (4, 4), (8, 4), (12, 4)),
        "comp": ((0, 3), (6, 2), (10, 3)), "power": tuple((s, 2) for s in range(0, 16, 2)),
        "chug": tuple((s, 1) for s in (0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14)),
        "stab": ((0, 1), (3, 1), (6, 1), (10, 1), (13, 1)),
        "scratch": ((2, 1), (5, 1), (7, 1), (10, 1), (13, 1), (15, 1)), "skank": ((4, 1.2), (12, 1.2)),
        "offbeats": ((2, 1), (6, 1), (10, 1), (14, 1)),
        "montuno": ((0, 1.5), (2, 1), (3, 1.5), (6, 1.5), (9, 1.5), (12, 1), (15, 1.5)),
        "pad": ((0, 14),), "bossa": ((0, 2), (3, 2), (6, 2), (10, 2), (13, 2)),
        "strum": ((0, 4), (4, 2), (6, 2), (8, 4), (12, 2), (14, 2)),
    }
    if style == "arpeggio":
        pattern = rng.choice(((0, 1, 2, 3), (0, 2, 1, 3), (0, 1, 2, 3, 2, 1), (3, 2, 1, 0)))
        stride = rng.choice((1, 2, 2))
        for step in range(0, 16 * bars, stride):
            tones = harmony.chord(step // 16, low)
            tones = [*tones, tones[0] + 12]
            player.play(step, stride * 2, tones[pattern[(step // stride) % len(pattern)]], 0.4 if step % 4 == 0 else 0)
        return
    hand = rng.choice((0.0, 0.0, 0.03, 0.08)) if player.jitter else 0.0  # nor do fingers all land at once
    for bar in range(bars):
        tones = harmony.chord(bar, low, size)
        if style in ("power", "chug"):
            tones = [tones[0], tones[0] + 7, tones[0] + 12]
        for step, length in hits[style]:
            for i, key in enumerate(tones):
                roll = i * (0.12 if style == "strum" else hand)  # a pick crosses the strings one by one
                player.play(16 * bar + step + roll, length, key, 0.3 if step == 0 else 0)


def write_bass(player: Player, harmony: Harmony, bars: int, style: str) -> None:
    rng, low = player.rng, 28
    for bar in range(bars):
        root = harmony.bass(bar, low)
        start = 16 * bar
        if style == "walking":
            target = harmony.bass(bar + 1, low)
            walk = (root, rng.choice((root + 3, root + 4)), root + 7, target + rng.choice((-1, 1, 2)))
            for beat, key in enumerate(walk):
                player.play(start + 4 * beat, 3.6, key)
            continue
        steps: dict[str, tuple[tuple[float, float, int], ...]] = {
            "eighths": tuple((s, 2, 0) for s in range(0, 16, 2)),
            "gallop": tuple((s, 1, 0) for s in (0, 2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15)),
            "offbeat": tuple((s, 1, o) for s in range(0, 16, 4) for s, o in ((s + 1, 0), (s + 2, 0), (s + 3, 12))),
            "syncopated": ((0, 2, 0), (3, 2, 0), (6, 2, 12), (10, 2, 7), (13, 2, 0)),
            "slap": ((0, 1.5, 0), (3, 1, 12), (6, 1, 0), (7, 1, 12), (10, 1.5, 10), (12, 1, 0), (14, 1, 12)),
            "dub": ((0, 3, 0), (3, 3, 0), (8, 4, 7), (12, 3, 0)), "sparse": ((0, 6, 0), (7, 2, 0), (10, 5, 7)),
            "bossa": ((0, 5, 0), (6, 2, 7), (8, 5, 7), (14, 2, 0)), "long": ((0, 15, 0),),
            "boogie": ((0, 2, 0), (2, 2, 0), (4, 2, 4), (6, 2, 4), (8, 2, 7), (10, 2, 9), (12, 2, 10), (14, 2, 9)),
            "tumbao": ((6, 3, 7), (12, 4, 0)),
            "twobeat": ((0, 4, 0), (8, 4, 7)), "octaves": tuple((s, 2, 12 * (s // 2 % 2)) for s in range(0, 16, 2)),
        }
        for step, length, interval in steps[style]:
            player.play(start + step, length, root + interval, 0.3 if step == 0 else 0)


def write_drums(player: Player, groove: str, bars: int) -> None:
    rng = player.rng
    for bar in range(bars):
        fill = bar % 4 == 3 and rng.random() < 0.5
        for key, pattern in GROOVES[groove].items():
            for step, mark in enumerate(pattern):
                if mark == "." or (fill and step >= 12 and key != KICK) or rng.random() < 0.03:
                    continue
                player.play(16 * bar + step, 1, key, 0.6 if mark == "x" else -1.2)
        if fill:
            for step in range(12, 16):
                player.play(16 * bar + step, 1, rng.choice((SNARE, TOM, TOM + 2, TOM + 5)), 0.5)


def write_percussion(player: Player, kit: tuple[int, ...], bars: int) -> None:
    """A pattern of one or two bars on the keys of ``kit``; high and low alternate where there are several."""
    rng = player.rng
    patterns = [rng.choice(PERCUSSION) for _ in range(rng.choice((1, 1, 2)))]
    keys = [rng.choice(kit) for _ in range(16)]
    for bar in range(bars):
        for step, mark in enumerate(patterns[bar % len(patterns)]):
            if mark != "." and rng.random() > 0.03:
                player.play(16 * bar + step, 1, keys[step], 0.5 if mark == "x" else -1.0)


def _mood(rng: random.Random) -> tuple[str, str, tuple[int, int], int]:
    """A mood with the mode, tempo range and loudness that express it."""
    mood = rng.choice(MOODS)
    modes = {"happy": "major", "sad": "minor", "dark": "minor", "dreamy": "major"}
    mode = modes.get(mood) or rng.choice(("major", "minor"))
    tempo = {"happy": (105, 160), "sad": (55, 85), "calm": (55, 90), "energetic": (125, 180), "dark": (60, 120),
             "dreamy": (60, 100)}[mood]
    loudness = {"calm": 62, "sad": 68, "dreamy": 66, "energetic": 104, "happy": 90, "dark": 84}[mood]
    return mood, mode, tempo, loudness


def _harmony(rng: random.Random, mode: str) -> tuple[Harmony, str]:
    root = rng.randrange(12)
    return Harmony(root, MAJOR if mode == "major" else MINOR, rng.choice(PROGRESSIONS[mode])), f"{NOTES[root]} {mode}"


def _bars(bpm: float, seconds: float) -> int:
    return int(seconds * bpm / 240) + 1


def compose_solo(rng: random.Random, instrument: Instrument, seconds: float) -> Piece:
    """One instrument alone, in a texture it can play."""
    mood, mode, tempo, loudness = _mood(rng)
    bpm = rng.randint(*tempo)
    harmony, key = _harmony(rng, mode)
    bars = _bars(bpm, seconds)
    player = Player(rng, bpm, 0.0, loudness)
    if instrument.drums:
        if instrument.kit:
            write_percussion(player, instrument.kit, bars)
        else:
            write_drums(player, rng.choice(sorted(GROOVES)), bars)
        return Piece("solo", (instrument.name,), (), "", "beat", mood, bpm, key, (player.track(0, drums=True),))
    if instrument.name == "taiko":
        write_percussion(player, (36, 40, 43, 47), bars)
        return Piece("solo", (instrument.name,), (), "", "beat", mood, bpm, key, (player.track(instrument.program),))
    texture = rng.choice(("melody", "chords", "arpeggio") if instrument.chordal else ("melody", "melody", "arpeggio"))
    if texture == "melody":
        write_melody(player, harmony, instrument, bars, {"energetic": 0.9, "happy": 0.7}.get(mood, 0.2))
    elif texture == "chords":
        style = rng.choice(("sustain", "block") if instrument.sustained else ("block", "pulse", "comp"))
        if instrument.name == "electric guitar":
            style = rng.choice(("power", "block"))
        elif instrument.name in ("acoustic guitar", "classical guitar", "jazz guitar", "banjo") and rng.random() < 0.7:
            style = "strum"
        write_chords(player, harmony, instrument.low + rng.choice((0, 5, 9)), bars, style, rng.choice((3, 3, 4)))
    else:
        write_chords(player, harmony, instrument.low + rng.choice((2, 7, 12)), bars, "arpeggio", 3)
    return Piece("solo", (instrument.name,), (), "", texture, mood, bpm, key, (player.track(instrument.program),))


def compose_duet(rng: random.Random, lead: Instrument, backing: Instrument, seconds: float) -> Piece:
    """A melody over chords, or over a drum beat where the backing is the drum kit."""
    mood, mode, tempo, loudness = _mood(rng)
    bpm = rng.randint(*tempo)
    harmony, key = _harmony(rng, mode)
    bars = _bars(bpm, seconds)
    first, second = Player(rng, bpm, 0.0, min(110, loudness + 8)), Player(rng, bpm, 0.0, loudness - 6)
    write_melody(first, harmony, lead, bars, {"energetic": 0.9, "happy": 0.7}.get(mood, 0.2))
    if backing.kit:
        write_percussion(second, backing.kit, bars)
    elif backing.drums:
        write_drums(second, rng.choice(sorted(GROOVES)), bars)
    else:
        style = rng.choice(("sustain", "block") if backing.sustained else ("block", "pulse", "arpeggio"))
        write_chords(second, harmony, max(45, backing.low), bars, style, 3)
    tracks = (first.track(lead.program, pan=50), second.track(backing.program, drums=backing.drums, gain=82, pan=78))
    return Piece("duet", (lead.name, backing.name), (), "", "melody", mood, bpm, key, tracks)


def compose_genre(rng: random.Random, genre: Genre, seconds: float, second: Genre | None = None,
                  featured: Instrument | None = None, bassline: bool = False) -> Piece:
    """A band in a style: drums, bass, chords and, most times, a lead.

    Args:
        second: a style whose chords and leads play over the drums and bass of ``genre``.
        featured: an instrument that plays the lead.
        bassline: drums and bass alone, besides what is featured.
    """
    over = second or genre
    mode = "minor" if rng.random() < over.minor else "major"
    harmony, key = _harmony(rng, mode)
    bpm = rng.randint(*genre.tempo)
    bars = _bars(bpm, seconds)
    tight = genre.name in ("techno", "house", "trance", "drum and bass", "synthwave", "trap")
    loudness = {"ambient": 70, "classical": 78, "bossa nova": 78, "metal": 112}.get(genre.name, 94)

    def part(write: Callable[[Player], None], program: int, **kwargs) -> Track:
        player = Player(rng, bpm, genre.swing, loudness, tight)
        write(player)
        return player.track(program, **kwargs)

    tracks = []
    if genre.groove:
        tracks.append(part(lambda p: write_drums(p, genre.groove, bars), 0, drums=True, gain=108))
    tracks.append(part(lambda p: write_bass(p, harmony, bars, genre.bass_style), rng.choice(genre.bass), gain=104))
    if not bassline:
        low = 40 if over.chord_style in ("power", "chug") else 53
        tracks.append(part(lambda p: write_chords(p, harmony, low, bars, over.chord_style, 4 if over.sevenths else 3),
                           rng.choice(over.chords), gain=84, pan=rng.choice((44, 84))))
    if featured or (not bassline and rng.random() < over.lead_chance):
        lead = featured or Instrument("", rng.choice(over.leads), 58, 82, False, True, ())
        dense = 0.1 if genre.name in ("ambient", "classical") else 0.6
        tracks.append(part(lambda p: write_melody(p, harmony, lead, bars, dense), lead.program,
                           gain=118 if featured else 96, pan=64))
    mood = "calm" if genre.name in ("ambient", "bossa nova") else "energetic" if genre.tempo[1] > 140 else \
        "dark" if genre.minor > 0.8 else "happy"
    return Piece("genre", (featured.name,) if featured else (), (genre.name, second.name) if second else (genre.name,),
                 "", "bassline" if bassline else "band", mood, bpm, key, tuple(tracks))


def compose_ambience(rng: random.Random, ambience: Ambience) -> Piece:
    """A sound without notes; ``bpm`` and ``key`` say nothing."""
    mood = rng.choice(("calm", "dark", "dreamy"))
    return Piece("ambience", (), (), ambience.name, "ambience", mood, 0, "", ())


# Who plays a melody that is told apart over a band: no basses and no drums.
_MELODIC = tuple(i for i in INSTRUMENTS if not i.drums and i.program not in (32, 33, 36, 38, 47, 58, 116))
_BACKING = (*(i for i in INSTRUMENTS if i.chordal), *(i for i in INSTRUMENTS if i.drums), *[INSTRUMENT["drums"]] * 4)


def compose(seed: int, seconds: float) -> Piece:
    """The piece that a seed names, with every sound equally often.

    45 % solos, 27 % bands, 10 % duets, 8 % bands with a featured instrument, 4 % blends of two styles, 6 % ambiences;
    of the music, 4 % has an ambience behind it.
    """
    rng = random.Random(f"riffusion-mini 2 {seed}")
    draw = rng.random()
    genre = GENRES[seed % len(GENRES)]
    if draw < 0.45:
        piece = compose_solo(rng, INSTRUMENTS[seed % len(INSTRUMENTS)], seconds)
    elif draw < 0.72:
        piece = compose_genre(rng, genre, seconds)
    elif draw < 0.80:
        piece = compose_genre(rng, genre, seconds, featured=rng.choice(_MELODIC), bassline=rng.random() < 0.3)
    elif draw < 0.84:
        piece = compose_genre(rng, genre, seconds, second=rng.choice([g for g in GENRES if g is not genre]))
    elif draw < 0.94:
        lead = rng.choice(_MELODIC)
        piece = compose_duet(rng, lead, rng.choice([i for i in _BACKING if i is not lead]), seconds)
    else:
        return compose_ambience(rng, AMBIENCES[seed % len(AMBIENCES)])
    if rng.random() < 0.04:
        piece = replace(piece, ambience=rng.choice(AMBIENCES).name)
    return piece
