"""The vocabulary of the training corpus: instruments, genres, ambiences, how they sound, what people call them.

Program numbers are those of General MIDI Level 1 (counted from 0).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Instrument:
    """One General MIDI sound and how a player would use it.

    ``low`` and ``high`` bound the MIDI keys of its melodies. ``chordal`` instruments also play chords;
    ``sustained`` ones hold a note for as long as it is written (wind, bow, voice, organ). ``drums`` plays on the drum
    channel: only the keys of ``kit``, or whole grooves where that is empty.
    """

    name: str
    program: int
    low: int
    high: int
    chordal: bool
    sustained: bool
    synonyms: tuple[str, ...]
    drums: bool = False
    kit: tuple[int, ...] = ()


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
    Instrument("clavinet", 7, 40, 72, True, False, ("clavinet", "funky clavinet", "clavi")),
    Instrument("celesta", 8, 60, 96, True, False, ("celesta", "celeste")),
    Instrument("glockenspiel", 9, 72, 103, False, False, ("glockenspiel", "orchestra bells", "bell lyre")),
    Instrument("dulcimer", 15, 52, 84, True, False, ("dulcimer", "hammered dulcimer", "santur", "zither")),
    Instrument("harmonium", 20, 48, 79, True, True, ("harmonium", "reed organ", "pump organ")),
    Instrument("bandoneon", 23, 53, 82, True, True, ("bandoneon", "tango accordion", "concertina")),
    Instrument("classical guitar", 24, 43, 76, True, False,
               ("classical guitar", "nylon string guitar", "spanish guitar", "flamenco guitar")),
    Instrument("jazz guitar", 26, 43, 76, True, False, ("jazz guitar", "clean electric guitar", "hollow body guitar")),
    Instrument("double bass", 32, 28, 50, False, False, ("double bass", "upright bass", "contrabass", "acoustic bass")),
    Instrument("viola", 41, 48, 79, False, True, ("viola", "solo viola")),
    Instrument("tremolo strings", 44, 43, 79, True, True, ("tremolo strings", "shivering strings", "string tremolo")),
    Instrument("synth strings", 50, 43, 81, True, True, ("synth strings", "string machine", "string synthesizer")),
    Instrument("tuba", 58, 28, 53, False, True, ("tuba", "solo tuba", "sousaphone")),
    Instrument("muted trumpet", 59, 55, 82, False, True,
               ("muted trumpet", "trumpet with a mute", "harmon mute trumpet")),
    Instrument("french horn", 60, 41, 74, False, True, ("french horn", "horn", "solo french horn")),
    Instrument("oboe", 68, 58, 89, False, True, ("oboe", "solo oboe", "cor anglais")),
    Instrument("bassoon", 70, 34, 65, False, True, ("bassoon", "solo bassoon", "contrabassoon")),
    Instrument("piccolo", 72, 74, 100, False, True, ("piccolo", "piccolo flute")),
    Instrument("recorder", 74, 65, 93, False, True, ("recorder", "blockflute", "alto recorder")),
    Instrument("shakuhachi", 77, 55, 84, False, True, ("shakuhachi", "japanese bamboo flute", "bamboo flute")),
    Instrument("whistle", 78, 67, 96, False, True, ("whistle", "whistling", "tin whistle", "penny whistle")),
    Instrument("ocarina", 79, 60, 86, False, True, ("ocarina", "clay ocarina")),
    Instrument("chiptune", 80, 52, 88, False, True,
               ("chiptune", "8-bit", "8-bit video game", "video game", "square wave synth")),
    Instrument("synth arpeggio", 90, 45, 84, True, False,
               ("synth arpeggio", "polysynth", "sequencer", "synth sequence")),
    Instrument("bell pad", 88, 48, 84, True, True, ("bell pad", "new age synth", "fantasia pad", "shimmering pad")),
    Instrument("shamisen", 106, 50, 79, False, False, ("shamisen", "japanese lute")),
    Instrument("taiko", 116, 36, 55, False, False, ("taiko", "taiko drums", "japanese drums", "war drums")),
    Instrument("congas", 0, 0, 0, False, False, ("congas", "conga drums", "conga"), drums=True, kit=(62, 63, 64)),
    Instrument("bongos", 0, 0, 0, False, False, ("bongos", "bongo drums", "bongo"), drums=True, kit=(60, 61)),
    Instrument("shaker", 0, 0, 0, False, False, ("shaker", "maracas", "egg shaker"), drums=True, kit=(70, 82)),
    Instrument("tambourine", 0, 0, 0, False, False, ("tambourine", "jingle ring"), drums=True, kit=(54,)),
    Instrument("cowbell", 0, 0, 0, False, False, ("cowbell", "more cowbell"), drums=True, kit=(56,)),
    Instrument("hand claps", 0, 0, 0, False, False,
               ("hand claps", "clapping hands", "handclaps"), drums=True, kit=(39,)),
    Instrument("snare drum", 0, 0, 0, False, False,
               ("snare drum", "snare", "marching snare"), drums=True, kit=(38, 40)),
    Instrument("hi-hats", 0, 0, 0, False, False,
               ("hi-hats", "hi-hat", "hihat", "hi hats"), drums=True, kit=(42, 44, 46)),
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
          ("bossa nova", "brazilian bossa nova", "latin jazz guitar")),
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
    Genre("trance", (132, 142), 0.0, "trance", "offbeat", "arpeggio", (38,), (90, 81), (81, 50), 0.6, 0.9, False,
          ("trance", "trance music", "uplifting trance", "psytrance")),
    Genre("drum and bass", (168, 178), 0.0, "breakbeat", "long", "sustain", (38, 39), (89, 50), (11, 81), 0.4,
          0.9, True,
          ("drum and bass", "drum & bass", "dnb", "jungle", "breakbeat")),
    Genre("synthwave", (84, 112), 0.0, "synthwave", "eighths", "sustain", (38, 39), (50, 90), (81, 80), 0.6, 0.8, False,
          ("synthwave", "80s synth pop", "retrowave", "outrun", "80s electronic")),
    Genre("trap", (128, 150), 0.0, "trap", "sparse", "pad", (38,), (14, 88, 11), (79, 75), 0.4, 1.0, False,
          ("trap", "trap beat", "808 trap", "drill")),
    Genre("punk", (168, 200), 0.0, "punk", "eighths", "power", (34,), (30, 29), (30,), 0.2, 0.2, False,
          ("punk", "punk rock", "pop punk", "garage punk")),
    Genre("ska", (124, 160), 0.0, "ska", "walking", "offbeats", (33,), (27, 16), (61, 57, 56), 0.8, 0.2, False,
          ("ska", "two tone ska", "rocksteady", "ska band")),
    Genre("salsa", (88, 108), 0.0, "salsa", "tumbao", "montuno", (32,), (0,), (61, 56), 0.7, 0.5, True,
          ("salsa", "latin salsa", "mambo", "cuban son", "latin dance")),
    Genre("samba", (96, 120), 0.0, "samba", "twobeat", "bossa", (32,), (24,), (73, 57), 0.5, 0.3, True,
          ("samba", "brazilian samba", "carnival", "batucada")),
    Genre("tango", (108, 132), 0.0, "", "twobeat", "pulse", (32,), (0, 23), (23, 40), 0.95, 0.95, False,
          ("tango", "argentine tango", "tango argentino")),
    Genre("celtic", (104, 132), 0.0, "bodhran", "twobeat", "strum", (32,), (25, 46), (78, 110, 40, 109), 1.0, 0.4,
          False,
          ("celtic", "irish folk", "celtic folk", "irish jig", "scottish reel")),
    Genre("epic", (84, 120), 0.0, "taiko", "eighths", "sustain", (43,), (48, 52), (60, 61), 0.8, 0.95, False,
          ("epic", "epic orchestral", "film score", "cinematic", "movie trailer", "movie soundtrack")),
    Genre("pop", (96, 124), 0.0, "pop", "eighths", "block", (33,), (0, 25), (81, 80, 27), 0.6, 0.2, False,
          ("pop", "pop music", "pop song", "dance pop", "indie pop")),
    Genre("march", (104, 124), 0.0, "march", "twobeat", "offbeats", (58,), (61, 60), (56, 72), 0.9, 0.1, False,
          ("march", "marching band", "military band", "brass band march")),
)
GENRE = {genre.name: genre for genre in GENRES}


@dataclass(frozen=True)
class Ambience:
    """A sound without notes, made by synthesis (ambience.py), alone or behind music."""

    name: str
    synonyms: tuple[str, ...]


AMBIENCES: tuple[Ambience, ...] = (
    Ambience("rain", ("rain", "rain falling", "rainfall", "heavy rain")),
    Ambience("wind", ("wind", "howling wind", "wind blowing")),
    Ambience("ocean waves", ("ocean waves", "waves", "sea waves", "surf on a beach")),
    Ambience("thunder", ("thunder", "thunderstorm", "rolling thunder")),
    Ambience("applause", ("applause", "clapping crowd", "audience applause")),
    Ambience("fire", ("crackling fire", "campfire", "fireplace")),
    Ambience("birdsong", ("birdsong", "birds", "birds chirping", "forest birds")),
    Ambience("crickets", ("crickets", "night crickets", "cicadas")),
    Ambience("vinyl crackle", ("vinyl crackle", "old record crackle", "record noise")),
    Ambience("noise sweep", ("noise sweep", "riser", "whoosh", "white noise sweep")),
    Ambience("siren", ("siren", "police siren", "alarm")),
    Ambience("heartbeat", ("heartbeat", "beating heart")),
)
AMBIENCE = {ambience.name: ambience for ambience in AMBIENCES}
