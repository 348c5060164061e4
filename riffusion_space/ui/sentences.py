"""What the server says while it works, progress and errors, in the language of whoever asked.

It is written in English everywhere. Here, at the edge, a sentence is looked up: a ``{}`` stands for what differs, and
of that, too, what the page has a word for is translated. What is not here stays English.
"""

from __future__ import annotations

import re
from functools import partial

import gradio as gr

from riffusion_space.ui.texts import LANGUAGES, fitted

GERMAN = {
    # Progress
    "Step {} of {}": "Schritt {} von {}", "{} s left": "noch {} s",
    "Waiting for another request": "Eine andere Anfrage ist zuerst dran",
    "In the queue: {}/{}": "In der Warteschlange: {}/{}",
    "Analysing the input": "Das Original wird analysiert", "Analysing the sound": "Der Klang wird analysiert",
    "Analysing the result": "Das Ergebnis wird analysiert", "Reading the input": "Das Original wird gelesen",
    "Reading the sections": "Die Teile werden gelesen",
    "Reading the seed image": "Die Schleife wird gelesen", "Finding a beat": "Ein Takt wird gesucht",
    "Painting": "Das Bild wird gemalt", "Finding the sound of the picture": "Aus dem Bild wird Klang",
    "Saving": "Wird gespeichert", "Done": "Fertig",
    # What was made
    "Seed {}": "Startwert {}", "Seed {} to {}": "Startwert {} bis {}", "{} step": "{} Schritt",
    "{} steps": "{} Schritte", "guidance {}": "Texttreue {}",
    # The checkpoint
    "Starting": "Es geht los", "Downloading {}: {} of {} MB": "{} wird geholt: {} von {} MB",
    "The embedded checkpoint plays because it was asked for by name.":
        "Es spielt das mitgelieferte Modell, weil es so gewünscht war.",
    "The embedded checkpoint plays because {} needs a CUDA GPU.":
        "Es spielt das mitgelieferte Modell, weil {} eine CUDA-GPU braucht.",
    "{} plays because a GPU is there to run it.": "Es spielt {}, weil eine GPU da ist.",
    "{} from the Hub plays because it was asked for.": "Es spielt {} vom Hub, weil es so gewünscht war.",
    "Generate tries again.": "Erzeugen versucht es noch einmal.",
    # What settings name
    "This still needs {}.": "Dazu fehlt noch {}.",
    # What went wrong
    "Cancelled.": "Abgebrochen.",
    "The queue is full: try again in a moment.":
        "Die Warteschlange ist voll: bitte gleich noch einmal versuchen.",
    "Expected {} from {} to {}, got {}.": "{}: erwartet wird {} bis {}, nicht {}.",
    "Expected {} to be a whole number from {} to {}, got {}.":
        "{}: erwartet wird eine ganze Zahl von {} bis {}, nicht {}.",
    "Expected {} of at most {} characters, got {}.": "{}: höchstens {} Zeichen, nicht {}.",
    "Expected {} without control characters.": "{}: bitte ohne Steuerzeichen.",
    "Expected {} from {} to {}, got nothing.": "{}: erwartet wird {} bis {}.",
    "Expected weights from {} to {} in {}, got {}.": "Gewichte von {} bis {} in {}, nicht {}.",
    "Expected a sound to restyle: upload or record one.": "Es fehlt ein Klang: hochladen oder aufnehmen.",
    "Expected a sound to analyse: upload or record one.": "Es fehlt ein Klang: hochladen oder aufnehmen.",
    "Expected a sound to change: upload or record one.": "Es fehlt ein Klang: hochladen oder aufnehmen.",
    "Expected a sound to go on from: upload or record one.": "Es fehlt ein Klang: hochladen oder aufnehmen.",
    "Expected two sounds: upload or record one to begin with, and one to end with.":
        "Es fehlen zwei Klänge, einer für den Anfang und einer für das Ende: hochladen oder aufnehmen.",
    "Expected a piece to make a section of anew: generate it first.":
        "Es fehlt das Stück, von dem ein Teil neu werden soll: erst erzeugen.",
    "Expected a spectrogram image: choose one.": "Es fehlt ein Spektrogramm: eines auswählen.",
    "Expected a seed: 0 will do.": "Es fehlt ein Startwert: 0 genügt.",
    "Expected something drawn: the canvas is white, which is silence.":
        "Es ist noch nichts gezeichnet: die Fläche ist weiß, also Stille.",
    "Expected an audio file such as WAV, MP3, FLAC, OGG, M4A or WebM, but {} is none or is damaged.":
        "{} ist keine Audiodatei, oder ist beschädigt.",
    "Expected an audio file, but there is no file {}.": "Eine Datei {} gibt es nicht.",
    "Expected an audio file, but {} is empty.": "{} ist leer.",
    "Expected a file with sound, got one with no audio stream.": "In dieser Datei ist kein Ton.",
    "Expected audio, but {} holds 0 s.": "In {} ist kein Ton.",
    "Expected at most {} s of audio, got more.": "Höchstens {} s Klang; diese Datei ist länger.",
    "Expected at most {} s in all, got {} s of sound and {} s more.":
        "Höchstens {} s im Ganzen; es wären {} s und noch {} s.",
    "Expected a picture, but {} is none or is damaged.": "{} ist kein Bild, oder ist beschädigt.",
    "Expected a picture of at most {} pixels, but {} has more.": "Höchstens {} Bildpunkte; {} hat mehr.",
    "Expected an image of at most {} s, got one {} pixels wide.":
        "Höchstens {} s; dieses Bild ist {} Bildpunkte breit.",
    "Expected a seed image {} pixels high and at least 2 wide, got {}.":
        "Eine Schleife als Bild ist {} Bildpunkte hoch und mindestens 2 breit, nicht {}.",
    "Expected To (prompt_b) or Seed at the end (seed_b) to say where to go, got neither.":
        "Es fehlt, wohin es gehen soll: eine Beschreibung oder ein Startwert am Ende.",
    "Expected bpm beside bars, to say how long a bar is, got bars alone.":
        "Zu den Takten fehlt das Tempo, das sagt, wie lang einer ist.",
    "Expected bars that last from {} to {} s, got {} at {} bpm, which is {} s.":
        "Die Takte sollen {} bis {} s dauern; {} bei {} Schlägen pro Minute sind {} s.",
    "Expected sections that last from {} to {} s, got {} bars at {} bpm, which is {} s.":
        "Die Teile sollen {} bis {} s dauern; {} Takte bei {} Schlägen pro Minute sind {} s.",
    "Expected a region inside the sound of {} s, got {} to {} s.":
        "Die Auswahl soll innerhalb der {} s liegen, nicht von {} bis {} s.",
    "Expected a region of at least {} s, got {} to {} s.":
        "Die Auswahl soll mindestens {} s lang sein, nicht von {} bis {} s.",
    "Expected a region that starts at 0 s or later, got {} to {} s.":
        "Die Auswahl soll bei 0 s oder später beginnen, nicht von {} bis {} s.",
    "Expected a band at least {} Hz wide within {} to {} Hz, got {} to {} Hz.":
        "Das Band soll mindestens {} Hz breit sein und zwischen {} und {} Hz liegen, nicht {} bis {} Hz.",
    "Expected a file made here, but {} holds no settings.": "{} enthält keine Einstellungen: ist es hier entstanden?",
    "Expected at most {} listeners at a time, and as many are here: try again in a while.":
        "Höchstens {} hören zugleich zu, und so viele sind es schon: später noch einmal.",
}
SENTENCES = {"de": GERMAN}

_AS_IT_IS = re.compile(r"-?\d[\d.,e+-]*|'.*'|\".*\"|[\w.-]+/[\w.@-]+", re.DOTALL)  # the last is a name on the Hub


def language_of(request: gr.Request | None) -> str:
    """Two letters: the language that a browser asks for first, if the server speaks it, else English."""
    asked = request.headers.get("accept-language", "") if request is not None else ""
    first = asked.strip()[:2].lower()
    return first if first in SENTENCES else "en"


def said(text: str, language: str) -> str:
    """A text of the server in another language, as far as there are words for it.

    >>> said("Step 3 of 20 · 4 s left", "de"), said("Step 3 of 20", "en")
    ('Schritt 3 von 20 · noch 4 s', 'Step 3 of 20')
    """
    if language not in SENTENCES:
        return text
    parts = text.split(" · ")
    return " · ".join(fitted(part, SENTENCES[language], partial(_word, language)) or part for part in parts)


def _word(language: str, text: str) -> str | None:
    """A number, a quotation, a model's name, or what the page calls an input: "steps", or "Duration (duration_s)". None
    for the rest, which would stay English amid another language.
    """
    if _AS_IT_IS.fullmatch(text):
        return text
    name, bracket, argument = text.partition(" (")
    words = LANGUAGES[language]
    known = words.get(name) or words.get(name[:1].upper() + name[1:].replace("_", " "))
    return None if known is None else known + bracket + argument
