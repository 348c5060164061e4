"""What the page says in other languages than English, in which it is written: each text with its translation.

``translate`` puts them into a finished page, ``scripted`` into components with a script of their own; About has a text
in each language beside it. What the server says while it works is in ``sentences``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import gradio as gr

GERMAN = {
    # Tabs and settings
    "Words become a spectrogram, the spectrogram becomes sound.":
        "Aus Worten wird ein Spektrogramm, aus dem Spektrogramm Klang.",
    "Text to audio": "Text zu Klang", "Audio to audio": "Klang zu Klang", "Interpolate": "Übergang",
    "Inpaint": "Ausbessern", "Extend": "Verlängern", "Codec": "Umwandeln", "Draw": "Zeichnen", "About": "Über",
    "Settings": "Einstellungen", "Steps": "Schritte", "Guidance": "Texttreue", "Scheduler": "Verfahren",
    "recommended": "empfohlen", "Advanced": "Weiteres", "Left blank: {}": "Ohne Angabe: {}",
    "Checkpoint": "Modell", "Revision": "Fassung", "Device": "Gerät",
    # Another model
    "Another checkpoint, LoRAs": "Anderes Modell, LoRAs",
    "What is loaded here plays for everyone who uses this page.":
        "Was hier geladen wird, spielt für alle, die diese Seite benutzen.",
    "a name, a Hub id, or a folder of this machine": "ein Name, eine Hub-Kennung oder ein Ordner dieses Rechners",
    "a Hub id, or a file or folder of this machine": "eine Hub-Kennung, oder Datei oder Ordner dieses Rechners",
    "the best there is": "das beste vorhandene", "cuda:1 is the second GPU": "cuda:1 ist die zweite GPU",
    "Load": "Laden", "Add a LoRA": "Eine LoRA dazu", "Add": "Dazu", "Upload a LoRA": "LoRA hochladen",
    "Weight": "Gewicht", "0 is silent": "0 ist stumm", "Take it off": "Wegnehmen",
    # What a task takes
    "an instrument, a genre, a mood, a tempo": "ein Instrument, ein Stil, eine Stimmung, ein Tempo",
    "Prompt": "Beschreibung", "Negative prompt": "Nicht gewünscht", "what to stay away from": "was fehlen soll",
    "instrument, genre, mood, tempo, or nothing":
        "Instrument, Stil, Tempo (englisch), oder nichts",
    "what it should become; empty for a variation": "was daraus werden soll (englisch); leer für eine Variante",
    "what belongs there": "was dort hingehört (englisch)",
    "what goes on": "was weitergeht (englisch)",
    "the prompt at the start": "die Beschreibung am Anfang (englisch)",
    "the prompt at the end, or empty to keep it and change the seed":
        "die am Ende; leer, um nur den Startwert zu wechseln",
    "Seed": "Startwert", "Seed at the start": "Startwert am Anfang", "Seed at the end": "Startwert am Ende",
    "random": "zufällig", "same": "gleich", "Random": "Zufällig", "Same": "Gleich", "Last used": "Zuletzt",
    "Strength": "Stärke", "Strength at the end": "Stärke am Ende", "Guidance at the end": "Texttreue am Ende",
    "How far to go from the original: 0.4 is light, 0.55 heavy": "Wie weit weg vom Original: 0,4 wenig, 0,55 stark",
    "How far to go from the seed image: 0 keeps it, 1 ignores it":
        "Wie weit weg von der Schleife: 0 behält sie, 1 übergeht sie",
    "How far to go from what is there: 0 keeps it, 1 ignores it":
        "Wie weit weg von dem, was da ist: 0 behält es, 1 übergeht es",
    "Duration": "Dauer", "Clips": "Abschnitte", "5 s each": "je 5 s", "From": "Von", "To": "Bis",
    "seconds": "Sekunden", "Lowest frequency": "Tiefste Frequenz", "Highest frequency": "Höchste Frequenz",
    "Hz, for a band alone": "Hz, nur für ein Band", "Hz; the rest is kept": "Hz; der Rest bleibt",
    "Mark another one as well": "Noch eine Stelle auswählen", "Only this one": "Nur diese",
    "Seconds more": "Sekunden mehr", "Where": "Wo", "after the end": "nach dem Ende",
    "before the beginning": "vor dem Anfang",
    "Seed image: a loop that gives tempo and key": "Schleife, die Tempo und Tonart gibt", "Built in": "Mitgeliefert",
    "none": "keine", "Loop": "Schleife", "Spectrogram of the loop": "Spektrogramm der Schleife",
    "Or of your own: a sound, or a spectrogram 512 pixels high":
        "Oder eine eigene: ein Klang, oder ein Spektrogramm, 512 Pixel hoch",
    "Original": "Original", "Another kind of file: WebM, MP4, CAF": "Andere Dateien: WebM, MP4, CAF",
    "Trim it": "Zuschneiden",
    "Spectrogram of the original": "Spektrogramm des Originals",
    "Tempo, key, loop": "Tempo, Tonart, Schleife", "Bars": "Takte", "of four beats": "zu vier Schlägen",
    "Key": "Tonart", "major or minor": "Dur oder Moll", "any": "beliebig", "bpm": "Schläge pro Minute",
    "Loop: the end runs into the beginning": "Schleife: das Ende geht in den Anfang über", "Steadiness": "Stetigkeit",
    "How much a long piece repeats itself, so that its beat holds":
        "Wie sehr sich ein langes Stück wiederholt, damit der Takt hält",
    # Sections, and one sound into another
    "Sections": "Teile", "Morph": "Verwandeln", "Begin with": "Beginne mit",
    "a ready-made piece": "einem fertigen Stück",
    "Sections, as long as their bars": "Teile, so lang wie ihre Takte", "Section": "Teil", "Energy": "Energie",
    "Move the section to the left": "Teil nach links", "Move the section to the right": "Teil nach rechts",
    "Add a section": "Teil hinzufügen", "Remove": "Entfernen", "Make this section anew": "Diesen Teil neu machen",
    "Transition into it": "Übergang dorthin", "What it plays": "Was er spielt",
    "Seed of its own": "Eigener Startwert", "as the piece": "wie das Stück", "anything": "irgendetwas",
    "very low": "sehr wenig", "low": "wenig", "medium": "mittel", "high": "viel", "very high": "sehr viel",
    "cut": "Schnitt", "crossfade": "Überblendung", "interpolate": "allmählich", "bars": "Takte", "bar": "Takt",
    "A piece made earlier, to make a section of anew": "Ein früheres Stück, um einen Teil neu zu machen",
    "Piece": "Stück", "Begins as": "Beginnt als", "Ends as": "Endet als",
    "what lies between; empty leaves it open": "was dazwischen liegt (englisch); leer bleibt es offen",
    "How far the middle may go from both: 0 blends them, 1 ignores them":
        "Wie weit die Mitte sich entfernen darf: 0 mischt beide, 1 übergeht sie",
    # What is made of it
    "Generate": "Erzeugen", "Cancel": "Abbrechen", "Result": "Ergebnis", "Try": "Zum Ausprobieren",
    "Spectrogram of the result": "Spektrogramm des Ergebnisses",
    "Settings that make it again": "Damit entsteht es wieder",
    "4 variations": "4 Varianten", "Copy link": "Link kopieren", "Copied": "Kopiert",
    "Copy this link:": "Diesen Link kopieren:",
    "Surprise me": "Überrasch mich", "Words it knows": "Wörter, die es kennt",
    "Send to…": "Weiter zu…", "Go on with this result in": "Mit diesem Ergebnis weiter in",
    # Without the model
    "### Image to audio": "### Bild zu Klang", "### Audio to image": "### Klang zu Bild",
    "Spectrogram image, 512 pixels high": "Spektrogramm als Bild, 512 Pixel hoch",
    "of the phase, which a picture does not hold": "der Phase, die das Bild nicht enthält",
    "Make sound": "Zu Klang", "Make image": "Zum Bild",
    "Spectrogram of the sound": "Spektrogramm des Klangs",
    "Image with its parameters in EXIF": "Bild mit seinen Parametern in EXIF",
    "Spectrogram image with axes": "Spektrogramm mit Achsen",
    # Drawing
    "Drawing": "Zeichnung", "Hear it": "Anhören", "Spectrogram of the drawing": "Spektrogramm der Zeichnung",
    "Canvas for a spectrogram of 5 seconds. Arrow keys move the pen, space puts it down and lifts it.":
        "Fläche für ein Spektrogramm von 5 Sekunden. Pfeiltasten bewegen den Stift, die Leertaste setzt ihn auf "
        "und ab.",
    "Dark is loud, white is silence; high is high, and time runs to the right. Line draws one tone, Note one with "
    "overtones.\n\n**Begin with a loop**, and change it:":
        "Dunkel ist laut, weiß ist Stille; oben ist hoch, die Zeit läuft nach rechts. Linie zeichnet einen Ton, Note "
        "einen mit Obertönen.\n\n**Beginne mit einer Schleife** und ändere sie:",
    "Or with your own: a sound, or a picture": "Oder mit etwas Eigenem: Klang oder Bild",
    "A spectrogram 512 pixels high is taken as it is, its first 512 columns; any other picture is made grey and "
    "stretched. Of a sound, the first 5 seconds are taken.":
        "Von einem Spektrogramm, 512 Pixel hoch, werden die ersten 512 Spalten genommen; jedes andere Bild wird grau "
        "und gestreckt. Von einem Klang werden die ersten 5 Sekunden genommen.",
    "Tool": "Werkzeug", "Line": "Linie", "A line: one tone": "Eine Linie: ein Ton", "Note": "Note",
    "A line and its overtones, as an instrument has them": "Eine Linie mit Obertönen, wie ein Instrument sie hat",
    "Eraser": "Radierer", "Back to white, which is silence": "Zurück zu Weiß, also Stille", "Loudness": "Lautstärke",
    "Loud": "Laut", "Medium": "Mittel", "Soft": "Leise", "Width": "Breite", "Width of the pen": "Breite des Stifts",
    "Undo": "Rückgängig", "Undo (Ctrl+Z)": "Rückgängig (Strg+Z)", "Redo": "Wiederholen",
    "Redo (Ctrl+Y)": "Wiederholen (Strg+Y)", "Blank canvas": "Leere Fläche", "Draw here": "Hier zeichnen",
    # The player
    "What you make is seen and heard here": "Hier ist zu sehen und zu hören, was du machst",
    "Black on white": "Schwarz auf weiß", "Full screen": "Ganzer Bildschirm",
    "Share": "Teilen", "This sound cannot be shared.": "Dieser Klang lässt sich nicht teilen.",
    "Download the picture": "Bild herunterladen", "Download the sound": "Klang herunterladen", "Play": "Abspielen",
    "Pause": "Anhalten", "Play (space)": "Abspielen (Leertaste)", "Pause (space)": "Anhalten (Leertaste)",
    "Clear the region": "Auswahl aufheben", "Clear the region (Esc)": "Auswahl aufheben (Esc)",
    "Loop (L): the marked region, or all": "Wiederholen (L): die Auswahl, oder alles",
    "What dragging marks": "Was Ziehen auswählt", "Time": "Zeit", "Time + band": "Zeit + Band",
    "Drag over the spectrogram": "Über das Spektrogramm ziehen",
    "Drag over the spectrogram, or with Shift": "Über das Spektrogramm ziehen, oder mit Umschalt",
    "{} of {} seconds": "{} von {} Sekunden",
    "This browser cannot play this kind of file.": "Dieser Browser kann solche Dateien nicht abspielen.",
    # Live
    "Live": "Live", "Play now": "Jetzt spielen", "Add to the queue": "Einreihen",
    "How wild": "Wie wild", "0 keeps to one idea, 1 has a new one every time":
        "0 bleibt bei einem Einfall, 1 hat jedes Mal einen neuen",
    "Transition": "Übergangszeit", "In how many steps of 2.6 s a new prompt is reached":
        "In wie vielen Schritten zu 2,6 s eine neue Beschreibung erreicht ist",
    "of the next start": "des nächsten Anfangs", "Press Play: music without an end": "Abspielen: Musik ohne Ende",
    "Play without an end": "Ohne Ende spielen", "Stop": "Beenden", "Volume": "Lautstärke",
    "Save what was heard": "Gehörtes speichern", "What comes next": "Was als Nächstes kommt", "each for": "je",
    "Nothing yet: what plays goes on. Prompts can be added while it plays.":
        "Noch nichts: Es geht weiter wie jetzt. Beschreibungen kommen hinzu, während es spielt.",
    "Spectrogram that runs with the sound": "Spektrogramm, das mit dem Klang läuft", "now": "jetzt",
    "{} s ahead": "{} s voraus", "{} steps": "{} Schritte",
    "The first sound is being made…": "Der erste Klang entsteht …",
    "Falling behind: the last bars once more": "Zu langsam: die letzten Takte noch einmal",
    "Another request is being worked on: the last bars once more":
        "Eine andere Anfrage ist in Arbeit: die letzten Takte noch einmal",
    "{} recorded. Save it, or go on: Play adds to it.":
        "{} aufgenommen. Speichern, oder weiterspielen: es kommt dazu.",
    "Forget the recording": "Aufnahme verwerfen",
    "Fewer steps, to be there in time": "Weniger Schritte, um rechtzeitig da zu sein",
    "First write a prompt, or choose one.": "Schreibe zuerst eine Beschreibung, oder wähle eine.",
    "No answer from the server; trying again.": "Keine Antwort vom Server; neuer Versuch.",
    "A prompt to come": "Eine kommende Beschreibung", "Play it now": "Jetzt spielen", "Sooner": "Früher",
    # The shelf
    "Your results": "Deine Ergebnisse", "Open a file made here": "Eine hier erzeugte Datei öffnen", "More…": "Mehr…",
    "Use these settings": "Diese Einstellungen benutzen", "Send to {}": "Weiter zu: {}", "seed {}": "Startwert {}",
    "Play {}": "{} abspielen", "Pause {}": "{} anhalten", "Keep {} for good": "{} dauerhaft behalten",
    "Compare {} with another": "{} mit einem anderen vergleichen", "Download {}": "{} herunterladen",
    "Delete {}": "{} löschen", "Deleted “{}”.": "„{}“ gelöscht.", "Go on with {}": "Weiter mit {}",
    "Sending…": "Wird gesendet…", "No answer from the server; try again.": "Keine Antwort vom Server; noch einmal.",
    "No answer from the server: this result is not kept here.":
        "Keine Antwort vom Server: dieses Ergebnis bleibt hier nicht.",
    "With the keyboard, Enter does it": "Mit der Tastatur: Eingabetaste",
    "Choose another one to compare with.": "Wähle ein zweites zum Vergleichen.",
    "This browser keeps nothing: results stay until the page is closed.":
        "Dieser Browser behält nichts: Ergebnisse bleiben, bis die Seite geschlossen wird.",
    "Comparison": "Vergleich",
    "Play A and B": "A und B abspielen", "Pause A and B": "A und B anhalten", "Stop comparing": "Vergleich beenden",
    # A connection that broke
    "Close": "Schließen",
    "The page was loaded anew, as the connection broke. What you asked for goes on.":
        "Die Verbindung war unterbrochen, und die Seite wurde neu geladen. Was du bestellt hast, geht weiter.",
    "The page was loaded anew, as the connection broke. What you had entered is still there.":
        "Die Verbindung war unterbrochen, und die Seite wurde neu geladen. Was du eingegeben hattest, ist noch da.",
    # Words
    "A click adds a word. Brackets weigh one:": "Ein Klick fügt ein Wort hinzu. Klammern gewichten:",
    "more, with 0.7 less.": "mehr, mit 0.7 weniger.", "Instruments": "Instrumente", "Genres": "Stile",
    "Moods": "Stimmungen", "Tempo": "Tempo", "Sounds": "Geräusche",
}

LANGUAGES = {"de": GERMAN}

# With numbers that the configuration says.
NUMBERED = {"de": {"{} to {} s": "{} bis {} s", "up to {} s in all": "bis zu {} s im Ganzen"}}

I18N = gr.I18n(en={text: text for text in GERMAN}, **{language: dict(texts) for language, texts in LANGUAGES.items()})

_LONGEST = 400
_SPEAKING = ("label", "info", "placeholder")


def translate(app: gr.Blocks) -> None:
    """Have a finished page speak the visitor's language, where it can."""
    for block in app.blocks.values():
        spoken = ("value",) if isinstance(block, (gr.Button, gr.Markdown)) else _SPEAKING
        for name in spoken:
            setattr(block, name, _translated(getattr(block, name, None)))
        if isinstance(block, (gr.Dropdown, gr.Radio)):
            block.choices = [(_translated(label), value) for label, value in block.choices]


def _translated(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    for language, templates in NUMBERED.items():
        if (words := fitted(text, templates)) is not None:
            I18N.translations["en"][text], I18N.translations[language][text] = text, words
            return I18N(text)
    return I18N(text) if text in GERMAN else text


def fitted(text: str, templates: Mapping[str, str], word: Callable[[str], str | None] = str) -> str | None:
    """The translation of a text that a template fits, whose ``{}`` stand for anything; None where none does.

    ``word`` translates what stands there, or says None where that fits none. Of several templates the longest counts,
    which says most. A text that is longer than any sentence of the server's own has none: looking would take long.

    >>> fitted("1 to 30 s", {"{} to {} s": "{} bis {} s"})
    '1 bis 30 s'
    """
    if len(text) > _LONGEST:
        return None
    for template in sorted(templates, key=len, reverse=True):
        if found := _pattern(template).fullmatch(text):
            places = [word(place) for place in found.groups()]
            if None not in places:
                return templates[template].format(*places)
    return None


@cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile("(.+?)".join(map(re.escape, template.split("{}"))), re.DOTALL)


def in_english(value: Any) -> Any:
    """What a page that was translated says in English, for programs; ``value`` may hold it at any depth."""
    if isinstance(value, gr.i18n.I18nData):
        return value.key
    if isinstance(value, dict):
        return {key: in_english(item) for key, item in value.items()}
    return [in_english(item) for item in value] if isinstance(value, (list, tuple)) else value
