"""The sound that a tab starts from: uploaded or recorded, with its spectrogram, on which regions can be marked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.processing_utils import save_pil_to_cache
from gradio.utils import get_upload_folder

from riffusion_space.audio import SUFFIXES, read_audio
from riffusion_space.config import ASSETS
from riffusion_space.ui import picture
from riffusion_space.ui.components import OTHER_AUDIO, PRIVATE, WAVEFORM
from riffusion_space.ui.player import player, playing
from riffusion_space.ui.worker import Worker, sentence

_REGIONS = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}

EXAMPLES_DIR = ASSETS / "examples"


@dataclass(frozen=True)
class Original:
    """A place for a sound, and once there is one the player that shows it."""

    audio: gr.Audio
    player: gr.HTML

    @classmethod
    def build(cls, elem_id: str = "original", bands: bool = False, label: str = "Original") -> Original:
        """``bands``: dragging over the spectrogram can mark a band as well as a time."""
        audio = gr.Audio(label=label, type="filepath", sources=["upload", "microphone"], buttons=[],
                         waveform_options=WAVEFORM, elem_id=elem_id, elem_classes="original")
        other = gr.UploadButton("Another kind of file: WebM, MP4, CAF", file_types=OTHER_AUDIO, size="sm")
        other.upload(lambda file: file, other, audio, **PRIVATE)
        # Beside the player, Gradio's own is there only to trim what it holds (style.css).
        unfold = f"() => {{ document.getElementById('{elem_id}').classList.toggle('open'); }}"
        gr.Button("Trim it", size="sm", elem_classes="trim").click(None, None, None, js=unfold, **PRIVATE)
        return cls(audio, player(label, "Spectrogram of the original", bands, save=False, visible=False))

    def show(self, worker: Worker) -> gr.events.Dependency:
        """Show the spectrogram of whatever is there."""
        def shown(audio: str | None) -> dict[str, Any]:
            """The spectrogram of what was uploaded, or a sentence on why it has none."""
            from riffusion_space.codec import encode  # which imports torch

            if audio is None:
                return gr.update(value=None, visible=False)
            try:
                wave = read_audio(audio, worker.config.max_seconds)
            except ValueError as error:
                raise gr.Error(sentence(error), print_exception=False) from error
            drawn = save_pil_to_cache(picture.draw(encode(wave.to_mono())), get_upload_folder(),
                                      f"{Path(audio).stem}-spectrogram", "png")
            return gr.update(value=playing(audio, drawn, wave.duration_s), visible=True)

        event = self.audio.change(shown, self.audio, self.player, api_visibility="private", show_progress="minimal")
        # The sound that was there before is no longer what the tab starts from.
        event.failure(None, None, self.player, **PRIVATE,
                      js="() => ({__type__: 'update', value: null, visible: false})")
        return event


@dataclass(frozen=True)
class RegionPicker:
    """A region by numbers or by dragging over the original's player, and others that were marked before and ``kept``.

    ``regions`` is what the task takes: all of them.
    """

    start: gr.Slider
    end: gr.Slider
    low: gr.Number
    high: gr.Number
    regions: gr.JSON
    kept: gr.JSON
    keep: gr.Button
    forget: gr.Button

    @classmethod
    def build(cls, highest: int) -> RegionPicker:
        start = gr.Slider(0, 10, 1, step=0.01, label="From", info="seconds")
        end = gr.Slider(0, 10, 2, step=0.01, label="To", info="seconds")
        with gr.Row():
            low = gr.Number(0, label="Lowest frequency", info="Hz, for a band alone", minimum=0,
                            maximum=highest, min_width=120)
            high = gr.Number(highest, label="Highest frequency", info="Hz; the rest is kept", minimum=0,
                             maximum=highest, min_width=120)
        with gr.Row(elem_classes="actions in-group"):
            keep = gr.Button("Mark another one as well", size="sm", min_width=0, scale=0)
            forget = gr.Button("Only this one", size="sm", min_width=0, scale=0, visible=False)
        kept = gr.JSON([], visible="hidden", label="Regions")
        regions = gr.JSON(visible="hidden", label="Regions")
        # For clients; of itself a gr.JSON says that it takes anything, in words that are no JSON schema.
        regions.api_info = lambda: _REGIONS
        regions.example_inputs = lambda: [[1.5, 3.0], [4, 5, 200, 2000]]
        return cls(start, end, low, high, regions, kept, keep, forget)

    @property
    def numbers(self) -> list[gr.components.Component]:
        return [self.start, self.end, self.low, self.high]

    @property
    def _region(self) -> str:
        """JavaScript of the numbers as one region."""
        return f"(low > 0 || high < {self.high.maximum} ? [start, end, low, high] : [start, end])"

    @property
    def _all(self) -> str:
        """JavaScript of the regions that are kept and the one that is marked."""
        return f"[...new Map([...kept ?? [], {self._region}].map((each) => [String(each), each])).values()]"

    def to_regions(self) -> str:
        """JavaScript from what is kept and the numbers to ``regions``, in the list of outputs that it is alone in."""
        return f"(kept, start, end, low, high) => [{self._all}]"

    def mark(self, original: gr.HTML, shown: gr.events.Dependency) -> None:
        """Let the numbers and what is marked on the player follow each other, within the sound's seconds.

        All of it happens in the browser, as fast as the hand moves.
        """
        numbers = self.numbers
        is_region = "Number.isFinite(start + end + low + high) && start < end && low < high"
        # Numbers that make no region leave what is marked as it is.
        mark = {"fn": None, "inputs": [original, self.kept, *numbers], "outputs": original, **PRIVATE,
                "js": f"(value, kept, start, end, low, high) => value && {is_region}"
                      f" ? {{...value, kept, region: {self._region}}} : value || null"}
        gr.on([number.change for number in numbers], **mark)
        self.keep.click(None, [self.kept, *numbers], self.kept, **PRIVATE,
                        js=f"(kept, start, end, low, high) => [{is_region} ? {self._all} : kept]")
        self.forget.click(None, None, self.kept, js="() => [[]]", **PRIVATE)
        self.kept.change(None, self.kept, self.forget, **PRIVATE,
                         js="(kept) => ({__type__: 'update', visible: (kept ?? []).length > 0})").then(**mark)
        original.select(None, original, numbers, **PRIVATE, js=f"""(value) => {{
            const [start, end, low = 0, high = {self.high.maximum}] = value.region;
            return [start, end, low, high];
        }}""")
        # Regions are of one sound. Those that came with settings wait for theirs, and may yet lie outside of it.
        shown.success(None, [original, self.kept, *numbers], [self.kept, *numbers], **PRIVATE, js=f"""
        (value, kept, start, end, low, high) => {{
            const longest = Math.floor((value?.seconds ?? 10) * 100) / 100;
            if (value && !window.riffusion.regionsAreFor(value.sound.orig_name)) {{
                [kept, start, end, low, high] = [[], 0, 0, 0, {self.high.maximum}];
            }}
            if (!(0 <= start && start < end && end <= longest)) {{
                [start, end] = [0.4, 0.6].map((part) => Number((part * longest).toFixed(2)));
            }}
            return [(kept ?? []).filter(([, last]) => last <= longest),
                    ...[start, end].map((value) => ({{__type__: 'update', maximum: longest, value}})), low, high];
        }}""").then(**mark)


def example_files() -> list[str]:
    """Whatever sounds are in the folder of examples."""
    return [str(path) for path in sorted(EXAMPLES_DIR.glob("*")) if path.suffix in SUFFIXES]
