"""The vocabulary of the training corpus: the instruments and genres, how they are played, what people call them.

Program numbers are those of General MIDI Level 1 (counted from 0).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Instrument:
    """One General MIDI sound and how a player would use it.

    ``low`` and ``high`` bound the MIDI keys of its melodies. ``chordal`` instruments also play chords;
    ``sustained`` ones hold a note for as long as it is written (wind, bow, voice, organ).
    """

    name: str
    program: int
    low: int
    high: int
    chordal: bool
    sustained: bool
    synonyms: tuple[str, ...]
    drums: bool = False


INSTRUMENTS: tuple[Instrument, ...] = (
    Instrument("piano", 0, 48, 84, True, False, ("piano", "grand piano", "acoustic piano")),
    Instrument("electric piano", 4, 45, 79, True, False, ("electric piano", "rhodes", "e-piano")),
    Instrument("harpsichord", 6, 48, 84, True, False, ("harpsichord", "baroque harpsichord", "cembalo")),
    Instrument("music box", 10, 72, 96, True, False, ("music box", "musical box", "toy music box")),
    Instrument("vibraphone", 11, 55, 84, True, False, ("vibraphone", "vibes", "vibraphone mallets")),
    Instrument("marimba", 12, 48, 84, True, False, ("marimba", "wooden marimba", "marimba mallets")),
    Instrument("xylophone", 13, 67, 98, False, False, ("xylophone", "bright xylophone")),
    Instrument("church bells", 14, 55, 79, False, False, ("church bells", "bells", "tubular bells", "cathedral bells")),
    Instrument("church organ", 19, 40, 76, True, True, ("church organ", "pipe organ", "cathedral organ")),
    Instrument("electric organ", 16, 45, 79, True, True, ("electric organ", "hammond organ", "drawbar organ")),
    Instrument("accordion", 21, 53, 84, True, True, ("accordion", "squeezebox", "french accordion")),
    Instrument("harmonica", 22, 60, 84, False, True, ("harmonica", "mouth harp", "blues harp")),
    Instrument("acoustic guitar", 25, 43, 76, True, False,
               ("acoustic guitar", "steel string guitar", "guitar", "strummed guitar")),
    Instrument("electric guitar", 30, 40, 76, True, True,
               ("electric guitar", "distorted guitar", "overdriven electric guitar")),
    Instrument("bass guitar", 33, 28, 50, False, False, ("bass guitar", "electric bass", "bassline")),
    Instrument("slap bass", 36, 28, 50, False, False, ("slap bass", "funky slap bass", "slapped bass guitar")),
    Instrument("synth bass", 38, 28, 50, False, True, ("synth bass", "acid bass", "analog bass")),
    Instrument("violin", 40, 57, 91, False, True, ("violin", "fiddle", "solo violin")),
    Instrument("cello", 42, 38, 67, False, True, ("cello", "violoncello", "solo cello")),
    Instrument("strings", 48, 43, 81, True, True, ("strings", "string section", "string orchestra", "string ensemble")),
    Instrument("pizzicato strings", 45, 45, 81, True, False, ("pizzicato strings", "pizzicato", "plucked strings")),
    Instrument("harp", 46, 43, 91, True, False, ("harp", "concert harp", "harp strings")),
    Instrument("timpani", 47, 36, 55, False, False, ("timpani", "kettledrums", "orchestral timpani")),
    Instrument("choir", 52, 48, 79, True, True, ("choir", "vocal choir", "choir singing aah", "voices")),
    Instrument("trumpet", 56, 55, 82, False, True, ("trumpet", "solo trumpet", "bright trumpet")),
    Instrument("trombone", 57, 40, 67, False, True, ("trombone", "slide trombone")),
    Instrument("brass section", 61, 46, 77, True, True, ("brass section", "brass", "horn section", "brass ensemble")),
    Instrument("saxophone", 66, 46, 77, False, True, ("saxophone", "sax", "tenor sax", "tenor saxophone")),
    Instrument("clarinet", 71, 50, 86, False, True, ("clarinet", "solo clarinet")),
    Instrument("flute", 73, 60, 93, False, True, ("flute", "solo flute", "concert flute")),
    Instrument("pan flute", 75, 60, 89, False, True, ("pan flute", "pan pipes", "andean flute")),
    Instrument("synth lead", 81, 52, 84, False, True, ("synth lead", "sawtooth synth", "synthesizer lead")),
    Instrument("synth pad", 89, 43, 76, True, True, ("synth pad", "warm pad", "synthesizer pad")),
    Instrument("sitar", 104, 48, 77, False, False, ("sitar", "indian sitar")),
    Instrument("banjo", 105, 50, 81, True, False, ("banjo", "bluegrass banjo")),
    Instrument("koto", 107, 50, 82, True, False, ("koto", "japanese koto")),
    Instrument("kalimba", 108, 55, 86, True, False, ("kalimba", "thumb piano", "mbira")),
    Instrument("bagpipes", 109, 55, 79, False, True, ("bagpipes", "scottish bagpipes", "bagpipe")),
    Instrument("steel drums", 114, 52, 84, True, False, ("steel drums", "steelpan", "caribbean steel drum")),
    Instrument("drums", 0, 35, 59, False, False, ("drums", "drum kit", "drum beat", "drum solo", "drum loop"),
               drums=True),
)
INSTRUMENT = {instrument.name: instrument for instrument in INSTRUMENTS}


@dataclass(frozen=True)
class Genre:
    """A style: its tempo range (BPM), swing (0 straight to 0.33 triplets), players and what people call it.

    ``chords``, ``bass`` and ``leads`` hold General MIDI programs to draw from (an empty tuple: that part is silent);
    ``groove`` names a drum pattern of ``compose.GROOVES`` or is empty; ``minor`` is the chance of a minor key;
    ``sevenths`` says whether chords carry a seventh.
    """

    name: str
    tempo: tuple[int, int]
    swing: float
    groove: str
    bass_style: str
    chord_style: str
    bass: tuple[int, ...]
    chords: tuple[int, ...]
    leads: tuple[int, ...]
    lead_chance: float
    minor: float
    sevenths: bool
    synonyms: tuple[str, ...]


GENRES: tuple[Genre, ...] = (
    Genre("jazz", (100, 180), 0.33, "swing", "walking", "comp", (32,), (0, 26), (66, 56, 11, 71), 0.85, 0.4, True,
          ("jazz", "swing jazz", "jazz quartet", "jazz combo", "jazzy swing")),
    Genre("rock", (100, 150), 0.0, "backbeat", "eighths", "power", (34,), (29,), (30, 29), 0.5, 0.5, False,
          ("rock", "rock band", "rock and roll", "guitar rock", "classic rock")),
    Genre("metal", (150, 200), 0.0, "blast", "gallop", "chug", (34,), (30,), (30,), 0.4, 1.0, False,
          ("metal", "heavy metal", "thrash metal", "death metal")),
    Genre("techno", (124, 140), 0.0, "four", "offbeat", "stab", (38, 39), (81, 90), (81, 80), 0.5, 0.9, False,
          ("techno", "detroit techno", "club techno", "electronic dance music", "rave techno")),
    Genre("house", (116, 128), 0.0, "house", "syncopated", "stab", (38,), (0, 16), (81, 11), 0.3, 0.6, True,
          ("house", "house music", "deep house", "piano house")),
    Genre("funk", (92, 116), 0.0, "funk", "slap", "scratch", (36, 37), (27, 7), (61, 66), 0.6, 0.6, True,
          ("funk", "funky groove", "funk band", "funk bassline with slap")),
    Genre("reggae", (68, 92), 0.0, "onedrop", "dub", "skank", (33,), (27, 16), (66, 57, 22), 0.4, 0.5, False,
          ("reggae", "roots reggae", "dub reggae", "jamaican reggae")),
    Genre("hip hop", (78, 98), 0.12, "boombap", "sparse", "pad", (38, 33), (4, 11), (73, 11), 0.3, 0.9, True,
          ("hip hop", "hip hop beat", "lo-fi hip hop", "boom bap", "rap beat")),
    Genre("bossa nova", (116, 144), 0.0, "bossa", "bossa", "bossa", (32,), (24,), (73, 66, 56), 0.7, 0.4, True,
          ("bossa nova", "brazilian bossa nova", "latin jazz guitar", "samba")),
    Genre("classical", (70, 130), 0.0, "", "long", "arpeggio", (43,), (48, 0, 6), (40, 68, 73), 0.8, 0.4, False,
          ("classical", "classical music", "orchestral music", "chamber music", "symphony orchestra")),
    Genre("ambient", (60, 80), 0.0, "", "long", "sustain", (38, 89), (89, 95, 91), (98, 88, 14), 0.4, 0.5, True,
          ("ambient", "ambient music", "atmospheric soundscape", "drone", "ambient soundscape")),
    Genre("blues", (76, 116), 0.33, "shuffle", "boogie", "comp", (33,), (0, 27), (29, 22), 0.9, 0.3, True,
          ("blues", "blues band", "blues guitar", "chicago blues", "blues shuffle")),
    Genre("country", (96, 132), 0.0, "train", "twobeat", "strum", (32,), (25,), (105, 40, 22), 0.8, 0.1, False,
          ("country", "country music", "bluegrass", "country and western")),
    Genre("disco", (112, 126), 0.0, "house", "octaves", "scratch", (33, 38), (27, 48), (48, 61), 0.7, 0.7, True,
          ("disco", "70s disco", "disco strings", "disco dance")),
)
GENRE = {genre.name: genre for genre in GENRES}
