"""The model card of a fine-tuned checkpoint: what it is, how to hear it, how it came about."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from riffusion_space.checkpoints import Checkpoint
from riffusion_space.lora import LORA_FILE
from riffusion_space.training.clips import CLIP_SECONDS, ClipSet
from riffusion_space.training.options import Options

_CAPTIONS_SHOWN = 10


def write_card(out: Path, music: str, clips: ClipSet, checkpoint: Checkpoint, options: Options, processes: int,
               step: int, bare: float | None, best: float | None) -> None:
    """Write ``out/README.md`` with the front matter that the Hub reads.

    ``music`` is the folder's name, or that of a Hub dataset, owner/name, which is then given credit.
    """
    name = out.resolve().name
    base, _, revision = checkpoint.name.partition("@")
    on_hub = "/" in base
    dataset = music.partition("@")[0] if "/" in music else ""
    called = "riffusion-mini" if base == "embedded" else base
    kind = "fine-tuned UNet" if options.full else f"LoRA of rank {options.rank} ({options.target} layers)"
    text = " and text encoder" if options.text_encoder else ""
    front = ["library_name: diffusers", "pipeline_tag: text-to-audio",
             *([f"base_model: {base}"] if on_hub else []),
             *(["datasets:", f"  - {dataset}"] if dataset else []), "tags:",
             *(f"  - {tag}" for tag in ("riffusion", "stable-diffusion", "music-generation",
                                        *(() if options.full else ("lora",))))]
    common = [caption for caption, _ in Counter(clips.captions).most_common(_CAPTIONS_SHOWN)]
    prompt = re.sub(r'[\\"]', "", common[0])
    use = (f'pipe = RiffusionPipeline.from_pretrained("{name}")\n' if options.full else
           f'pipe = RiffusionPipeline.from_pretrained("{checkpoint.name}")\npipe.load_lora("{name}")\n')
    stock = (f'`StableDiffusionPipeline.from_pretrained("{name}")` loads it as well.' if options.full else
             f'`StableDiffusionPipeline.load_lora_weights` of diffusers loads `{LORA_FILE}` as well; the web UIs read '
             f"`webui/{name}.safetensors`.")
    judged = "No clips were held out." if best is None else (
        f"Loss on held-out clips: {bare:.4f} before, {best:.4f} after."
        + ("" if best < bare else " It never fell below the first: these weights may be worse than none."))
    seconds = len(clips) * CLIP_SECONDS
    (out / "README.md").write_text("\n".join([
        "---", *front, "---", "", f"# {name}", "",
        f"A {kind}{text} for `{called}`{f' at revision {revision}' if revision else ''}, "
        "which paints spectrograms of music.", "", "```python", "from riffusion_space import RiffusionPipeline",
        f'{use}pipe.text2audio("{prompt}", seed=7).save("clip.wav")', "```", "", stock, "", "## How it came about", "",
        f"{step} steps of {options.batch * options.accumulate * processes} clips on {len(clips)} clips of "
        f"{CLIP_SECONDS:.2f} s ({seconds / 60:.1f} minutes) from {clips.report.files} files"
        f"{f' of the dataset [{music}](https://huggingface.co/datasets/{dataset})' if dataset else ''}. {judged}", "",
        "```bash", options.command(music, name, processes), "```", "", "Captions:", "",
        *(f"- {caption}" for caption in common),
        *([f"- and {more} others"] if (more := len(set(clips.captions)) - len(common)) > 0 else []), "",
    ]), encoding="utf-8")
