"""The command line: the pipeline's tasks without the page.

Results go to files, progress and sentences to stderr. Exit codes: 0 done, 1 refused by the system (a full disk), 2 bad
input or a checkpoint that cannot be had, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from riffusion_space.config import Config
from riffusion_space.schedulers import SCHEDULERS
from riffusion_space.tempo import STEADINESS
from riffusion_space.training.options import PRECISIONS, STEREO_MODES, TARGETS, Options

if TYPE_CHECKING:
    from riffusion_space.pipeline import RiffusionPipeline

EXAMPLES = """examples:
  python -m riffusion_space text2audio "church bells" --seed 7 -o bells.wav
  python -m riffusion_space text2audio "techno" --loop --bpm 130 --bars 4 -o loop.wav
  python -m riffusion_space audio2audio song.mp3 "flute melody" --strength 0.5 -o flute.wav
  python -m riffusion_space interpolate "church bells" "jazz piano" --clips 6 -o journey.flac
  python -m riffusion_space inpaint song.mp3 "flute" --region 1.5-3.0 --region 4-5:200-2000 -o patched.wav
  python -m riffusion_space extend song.mp3 "happy piano melody" --seconds 10 -o longer.wav
  python -m riffusion_space arrange piece.yaml -o piece.wav
  python -m riffusion_space morph song.mp3 other.mp3 --duration-s 15 -o morph.wav
  python -m riffusion_space again bells.wav --prompt "flute" -o flute.wav
  python -m riffusion_space image2audio spectrogram.png -o sound.wav
  python -m riffusion_space audio2image song.mp3 -o spectrogram.png
  python -m riffusion_space profile text2audio "church bells" --steps 8
  python -m riffusion_space train my-music -o my-lora
  python -m riffusion_space text2audio "my violin" --lora my-lora:0.8 -o violin.wav
"""

ARRANGING = """A piece of sections on one grid of beats, rendered as one. The file says, for example:

  bpm: 128
  key: A minor
  seed: 7
  sections:
    - {name: intro, bars: 2, prompt: synth pad, energy: low}
    - {name: verse, bars: 4, prompt: house, transition: interpolate}
    - {name: drop, bars: 4, prompt: techno, energy: very high, transition: cut, seed: 8}

Energy: very low, low, medium, high, very high. Transition: cut, crossfade, interpolate. Options go before what the file
says.
"""

TRAINING = """Learn the sound of a folder of music: audio files of nearly any kind, in folders if you like.

Captions come from metadata.csv or metadata.jsonl (file_name, text), else from a .txt beside the audio file, else from
the file's name: "slow_sad-violin 03.wav" is a "slow sad violin". Every file is cut into whole clips of 5.11 s.
The result is a LoRA, a small file that --lora, RIFFUSION_LORA, diffusers and the web UIs load. A run that was
interrupted goes on when the same command is given again. On several GPUs, or on machines that share OUT:
  accelerate launch -m riffusion_space train FOLDER -o OUT
"""

TRAINING_EXAMPLES = """examples:
  python -m riffusion_space train my-music -o my-lora
  python -m riffusion_space train my-music -o my-lora --rank 16 --steps 1000 --rate 5e-4
  python -m riffusion_space train one-instrument -o zither --caption "my zither"
  python -m riffusion_space train my-music -o my-model --full --checkpoint riffusion/riffusion-model-v1
"""


class _ProgressLine:
    """One line on stderr that is written over; on a pipe, a line for every tenth."""

    def __init__(self) -> None:
        self._shown = ""

    def __call__(self, fraction: float, text: str) -> None:
        line = f"{fraction:4.0%} {text}"
        if sys.stderr.isatty():
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        elif (tenth := f"{int(fraction * 10)}") != self._shown:
            self._shown = tenth
            print(line, file=sys.stderr, flush=True)

    def end(self) -> None:
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m riffusion_space", description="Make music with Riffusion.",
                                     epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")

    out = argparse.ArgumentParser(add_help=False)
    out.add_argument("-o", "--output", type=Path, required=True, metavar="FILE",
                     help="where the result goes: .wav, .flac, .mp3, .ogg, or .png for the spectrogram")
    model = argparse.ArgumentParser(add_help=False, parents=[out])
    model.add_argument("--negative-prompt", default="", metavar="TEXT", help="what to stay away from")
    model.add_argument("--seed", type=int, help="0 to 4294967295; drawn when left out")
    model.add_argument("--steps", type=int, help="denoising steps, from 1; by default what suits the checkpoint")
    model.add_argument("--guidance", type=float, help="how closely to follow the prompt, 0 to 30; likewise")
    model.add_argument("--scheduler", help=f"one of {', '.join(SCHEDULERS)}; likewise")
    _add_model(model)
    seeded = argparse.ArgumentParser(add_help=False)
    seeded.add_argument("--seed-image", metavar="NAME", help="a built-in loop, an image or an audio file to start from")
    seeded.add_argument("--strength", type=float, default=0.75, help="how far to go from the seed image, 0 to 1 (0.75)")

    task = tasks.add_parser("text2audio", parents=[model, seeded], help="make sound from words")
    task.add_argument("prompt", help="what to play, such as 'church bells'")
    task.add_argument("--duration-s", type=float, default=5.11, metavar="SECONDS", help="1 to the limit (5.11)")
    task.add_argument("--loop", action="store_true", help="the end runs into the beginning, to the sample")
    task.add_argument("--bpm", type=float, help="tempo, 40 to 240; with --loop the length is of whole bars")
    task.add_argument("--bars", type=int, help="the length in bars of four beats; needs --bpm")
    task.add_argument("--key", help="such as 'A minor'")
    task.add_argument("--steadiness", type=float, default=STEADINESS, metavar="SHARE",
                      help=f"how much a piece of over 5 s repeats itself, for the beat's sake, 0 to 1 ({STEADINESS:g})")

    task = tasks.add_parser("audio2audio", parents=[model], help="restyle a sound by words")
    task.add_argument("audio", metavar="IN", help="an audio file of nearly any format")
    task.add_argument("prompt", help="what it should become")
    task.add_argument("--strength", type=float, default=0.55, help="0 keeps the input, 1 ignores it (0.55)")

    task = tasks.add_parser("interpolate", parents=[model, seeded], help="travel from one prompt or seed to another")
    task.add_argument("prompt_a", metavar="A", help="where to begin")
    task.add_argument("prompt_b", metavar="B", nargs="?", default="", help="where to end; not needed with --seed-b")
    task.add_argument("--clips", type=int, default=6, help="how many clips of 5.12 s, from 2 (6)")
    task.add_argument("--seed-b", type=int, help="walk from --seed to this one; by default it stays")
    task.add_argument("--guidance-b", type=float, help="guidance at the end; by default that of the start")
    task.add_argument("--strength-b", type=float, help="strength at the end; by default that of the start")

    task = tasks.add_parser("inpaint", parents=[model], help="make parts of a sound anew, keep the rest")
    task.add_argument("audio", metavar="IN", help="an audio file of nearly any format")
    task.add_argument("prompt", help="what belongs into the regions")
    task.add_argument("--region", dest="regions", action="append", required=True, metavar="START-END[:LOW-HIGH]",
                      help="seconds, and Hz for a band alone, such as 1.5-3.0 or 1.5-3.0:200-2000; may be repeated")
    task.add_argument("--strength", type=float, default=1.0, help="0 keeps what is there, 1 ignores it (1)")

    task = tasks.add_parser("extend", parents=[model], help="let a sound go on, or begin earlier")
    task.add_argument("audio", metavar="IN", help="an audio file of nearly any format")
    task.add_argument("prompt", help="what goes on")
    task.add_argument("--seconds", type=float, default=5.0, help="how many seconds longer it becomes, from 0.1 (5)")
    task.add_argument("--side", default="right", help="right goes on after the end, left begins earlier (right)")

    task.add_argument("--steadiness", type=float, default=STEADINESS, metavar="SHARE",
                      help=f"how much more than 5 s repeat the sound's own bars, for the beat's sake ({STEADINESS:g})")

    task = tasks.add_parser("arrange", parents=[model], help="a piece of sections, from a YAML file",
                            description=ARRANGING, formatter_class=argparse.RawDescriptionHelpFormatter)
    task.add_argument("sections", type=Path, metavar="PIECE.yaml", help="sections, and what holds for all of them")
    task.add_argument("--bpm", type=float, help="tempo, 40 to 240 (120)")
    task.add_argument("--key", help="such as 'A minor'")
    task.add_argument("--steadiness", type=float, metavar="SHARE",
                      help=f"how much each section repeats a loop, for the beat's sake, 0 to 1 ({STEADINESS:g})")
    task.add_argument("--audio", metavar="IN", help="with --anew: the piece as it is")
    task.add_argument("--anew", type=int, metavar="NUMBER", help="make this section anew, from 1, and keep the others")

    task = tasks.add_parser("morph", parents=[model], help="turn one sound into another")
    task.add_argument("audio_a", metavar="A", help="what it begins as, an audio file of nearly any format")
    task.add_argument("audio_b", metavar="B", help="what it ends as")
    task.add_argument("--prompt", default="", help="what lies between them; left out, the checkpoint decides")
    task.add_argument("--duration-s", type=float, default=10.0, metavar="SECONDS", help="1 to the limit (10)")
    task.add_argument("--strength", type=float, default=0.6,
                      help="how far the middle may go from both: 0 blends them, 1 ignores them there (0.6)")

    task = tasks.add_parser("again", parents=[out], help="make a clip once more from its file, or with changes")
    task.add_argument("made", type=Path, metavar="FILE", help="a file that was made here: its settings are inside")
    for name, kind in (("prompt", str), ("negative_prompt", str), ("duration_s", float), ("strength", float),
                       ("seed", int), ("steps", int), ("guidance", float), ("scheduler", str), ("audio", str),
                       ("audio_a", str), ("audio_b", str), ("seed_image", str)):
        task.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=name.rpartition("_")[2].upper(),
                          help="in place of the one it was made with")
    _add_model(task)

    task = tasks.add_parser("image2audio", parents=[out], help="decode a spectrogram image")
    task.add_argument("image", type=Path, metavar="IN", help="a spectrogram image of 512 rows")
    task.add_argument("--seed", type=int, default=0, help="of the phase (0)")

    task = tasks.add_parser("audio2image", parents=[out], help="analyse a sound into a spectrogram image")
    task.add_argument("audio", metavar="IN", help="an audio file of nearly any format")

    task = tasks.add_parser("profile", help="where the time of a request goes, stage by stage",
                            usage="python -m riffusion_space profile [TASK ...]",
                            description="Profile a request, by default text2audio with a prompt of this project's.")
    task.add_argument("request", nargs=argparse.REMAINDER, metavar="TASK ...",
                      help="a task with its arguments, without -o")

    _add_training(tasks.add_parser("train", help="learn the sound of a folder of music", description=TRAINING,
                                   usage="python -m riffusion_space train FOLDER -o OUT [options]",
                                   epilog=TRAINING_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter))
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", metavar="NAME",
                        help="auto, embedded, a Hub id with an optional @revision, or a folder (RIFFUSION_CHECKPOINT)")
    parser.add_argument("--device", help="cpu, cuda, mps (RIFFUSION_DEVICE)")
    parser.add_argument("--lora", action="append", metavar="PATH[:WEIGHT]",
                        help="a LoRA's file, folder or Hub id, and how much of it (1); again for more (RIFFUSION_LORA)")


def _add_training(task: argparse.ArgumentParser) -> None:
    """The options of ``train``, grouped by what one thinks of; their defaults are those of ``Options``."""

    def add(group: argparse._ArgumentGroup, name: str, text: str, **extra: Any) -> None:
        default = getattr(Options, name)
        if isinstance(default, bool):
            extra["action"] = "store_true"
        else:
            extra["type"] = extra.get("type") or (type(default) if default is not None else str)
            text += "" if default is None else f" ({default})"
        group.add_argument(f"--{name.replace('_', '-')}", default=default, help=text, **extra)

    task.add_argument("folder", type=Path, metavar="FOLDER",
                      help="audio files with captions, or a Hub dataset, owner/name (needs the package datasets)")
    task.add_argument("-o", "--output", type=Path, required=True, metavar="OUT",
                      help="folder of the result; the state of the run and samples go there, too")
    group = task.add_argument_group("what is trained")
    add(group, "checkpoint", "auto, embedded, a Hub id with an optional @revision, or a folder", metavar="NAME")
    add(group, "rank", "rank of the LoRA: more learns more and takes more room", metavar="N")
    add(group, "target", "layers that get LoRA; attention is quicker, all learns new timbres", choices=TARGETS)
    add(group, "text_encoder", "train the text encoder, too: for words that the checkpoint does not know")
    add(group, "full", "train all weights of the UNet and write a whole checkpoint instead of a LoRA")
    group = task.add_argument_group("the music")
    add(group, "caption", "one caption for every clip, for a folder of one sound", metavar="TEXT")
    add(group, "stereo", "mix left and right to one clip, or make each a clip of its own", choices=STEREO_MODES)
    add(group, "beat_aligned", "begin every clip on a beat")
    group.add_argument("--propose-captions", action="store_true",
                       help="write captions for files that have none, from measured tempo, key and timbre, into "
                            "FOLDER/metadata.csv; then stop, so that you can edit them")
    add(group, "held_out", "share of the files to judge with, which are not trained on", metavar="SHARE")
    add(group, "cache", "folder to keep encoded clips in, for several runs; by default in OUT", type=Path,
        metavar="FOLDER")
    group = task.add_argument_group("how it is trained")
    add(group, "steps", "how many steps in all", metavar="N")
    add(group, "batch", "clips at once; more needs more memory", metavar="N")
    add(group, "accumulate", "batches to a step: like a larger batch in the same memory", metavar="N")
    add(group, "rate", "highest learning rate; by default what suits the size of the checkpoint", type=float)
    add(group, "dropped", "share of captions left out, which guidance needs", metavar="SHARE")
    add(group, "patience", "looks at the held-out loss without a better one before it stops; 0 never stops",
        metavar="N")
    add(group, "precision", "of the arithmetic; auto takes half precision on CUDA", choices=PRECISIONS)
    add(group, "gradient_checkpointing", "less memory, more time")
    add(group, "device", "cpu, cuda, mps; by default the best there is", metavar="NAME")
    add(group, "seed", "of all that is random", metavar="N")
    group = task.add_argument_group("what is seen of it")
    add(group, "check_every", "steps between two looks at the held-out loss; the best weights are written",
        metavar="N")
    add(group, "save_every", "steps that are taken again at most after the run was killed", metavar="N")
    add(group, "sample_every", "steps between two samples in OUT/samples; 0 makes none", metavar="N")
    add(group, "sample_prompt", "what they play; by default a caption of the held-out clips", metavar="TEXT")
    add(group, "push", "send the result to the Hub, into a private model if it is new (HF_TOKEN)", metavar="OWNER/NAME")


def main(argv: list[str] | None = None) -> int:
    """Run one task; returns the exit code."""
    arguments = vars(build_parser().parse_args(argv))
    if profiled := arguments["task"] == "profile":
        arguments = _profiled(arguments["request"])
    task, output = arguments.pop("task"), arguments.pop("output")
    progress = _ProgressLine()
    try:
        if profiled:
            print(_profile(task, arguments, progress))
            return 0
        if task == "train":
            written = _train(output, arguments, progress)
        else:
            _check_output(output, task)
            written = _run(task, output, arguments, progress)
    except ValueError as error:
        progress.end()
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        progress.end()
        print(f"error: {error.strerror or error}: {error.filename or output}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interruption:
        progress.end()
        print(": ".join(["interrupted", *map(str, interruption.args)]), file=sys.stderr)
        return 130
    progress.end()
    print(f"wrote {written}", file=sys.stderr)
    return 0


def _check_output(path: Path, task: str) -> None:
    """Refuse a file that could not be written, before the work and not after it."""
    sounds = (".wav", ".flac", ".mp3", ".ogg")
    expected = {"image2audio": sounds, "audio2image": (".png",)}.get(task, (*sounds, ".png"))
    if path.suffix.lower() not in expected:
        raise ValueError(f"expected --output to end in {', '.join(expected)}, got {path.name!r}")
    if not path.parent.is_dir():
        raise ValueError(f"expected --output in a folder that exists, got {str(path.parent)!r}")
    if path.is_dir():
        raise ValueError(f"expected --output to be a file, got the folder {path.name!r}")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _profiled(request: list[str]) -> dict[str, Any]:
    """The arguments of the task that a profile is asked of."""
    parser = build_parser()
    arguments = vars(parser.parse_args([*(request or ["text2audio", "church bells"]), "-o", os.devnull]))
    if arguments["task"] in ("train", "profile", "again", "image2audio", "audio2image"):
        parser.error(f"argument TASK: expected one that a checkpoint plays, such as text2audio, "
                     f"got {arguments['task']!r}")
    return arguments


def _profile(task: str, arguments: dict[str, Any], progress: _ProgressLine) -> str:
    pipe = _pipeline(task, arguments, progress)
    from riffusion_space.profiling import report

    return report(pipe, task, arguments)


def _train(output: Path, arguments: dict[str, Any], progress: _ProgressLine) -> str:
    folder, propose = arguments.pop("folder"), arguments.pop("propose_captions")
    options = Options(**arguments)
    if output.exists() and not output.is_dir():
        raise ValueError(f"expected --output to be a folder, got the file {output.name!r}")

    def tell(line: str) -> None:
        progress.end()
        print(line, file=sys.stderr, flush=True)

    if propose:
        from riffusion_space.training.dataset import find_music
        from riffusion_space.training.proposals import propose_captions

        path, proposals = propose_captions(find_music(folder, output, progress, tell), progress, [output])
        for name, caption in proposals.items():
            tell(f"{name}: {caption}")
        return f"{path}: edit it, and train without --propose-captions" if path else "nothing: no caption is missing"
    from riffusion_space.training.finetune import finetune

    outcome = finetune(folder, output, options, progress, tell)
    judged = "" if outcome.best_loss is None else (
        f" of step {outcome.best_step}: held-out loss {outcome.best_loss:.4f}, bare {outcome.bare_loss:.4f}")
    return f"{output}{judged}"


def _run(task: str, output: Path, arguments: dict, progress: _ProgressLine) -> str:
    # These imports take seconds; --help and a mistyped option should not.
    if task == "audio2image":
        from riffusion_space.audio import read_audio
        from riffusion_space.codec import encode

        image = encode(read_audio(arguments["audio"], max_seconds=Config.from_environment().max_seconds))
        image.save(output, exif=image.getexif())
        return str(output)
    if task == "image2audio":
        from riffusion_space.audio import write_audio
        from riffusion_space.codec import decode
        from riffusion_space.images import read_image

        wave = decode(read_image(arguments["image"]), seed=arguments["seed"],
                      progress=lambda fraction: progress(fraction, "Finding the sound of the picture"))
        return str(write_audio(wave, output))
    from riffusion_space.again import difference, settings_of

    settings = settings_of(arguments["made"]) if task == "again" else None
    if settings:
        task, arguments = settings["task"], _arguments_again(settings, arguments)
    pipe = _pipeline(task, arguments, progress)
    if settings and (reason := difference(pipe.checkpoint, settings)):
        print(f"note: {reason}", file=sys.stderr)
    clip = getattr(pipe, task)(**arguments, progress=progress)
    return f"{clip.save(output)} ({clip.audio.duration_s:.2f} s, seed {clip.settings['seed']})"


def _arguments_again(settings: Mapping[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the task that made a file, with those that are given in their place."""
    from riffusion_space.again import arguments_of
    from riffusion_space.hub import HUB_NAME
    from riffusion_space.pipeline import RiffusionPipeline

    given = {name: value for name, value in arguments.items() if value is not None}
    made = given.pop("made")
    model = {name: given.pop(name) for name in ("checkpoint", "device", "lora") if name in given}
    was = str(settings.get("checkpoint"))
    if was == "embedded" or HUB_NAME.fullmatch(was):
        model.setdefault("checkpoint", was)
    return arguments_of(settings, made, getattr(RiffusionPipeline, settings["task"]), given) | model


def _pipeline(task: str, arguments: dict, progress: _ProgressLine) -> RiffusionPipeline:
    """The pipeline that a task's arguments ask for, once they are known to be in order; what is left of them are the
    arguments of the pipeline's method.
    """
    from riffusion_space.arguments import check_arguments, check_longer
    from riffusion_space.arrangement import DEFAULT_BPM, read_piece
    from riffusion_space.audio import read_audio
    from riffusion_space.lora import find_lora, parse_lora, parse_loras
    from riffusion_space.regions import as_regions, check_inside, parse_region
    from riffusion_space.spectrogram import SpectrogramParams

    if isinstance(arguments.get("sections"), Path):
        piece = {"bpm": DEFAULT_BPM, **read_piece(arguments.pop("sections"))}
        given = {name: value for name, value in arguments.items() if value not in (None, "")}
        arguments.clear()
        arguments.update(piece | given)  # what the command line says goes before what the file says
    if "regions" in arguments:
        arguments["regions"] = [parse_region(region) if isinstance(region, str) else region
                                for region in arguments["regions"]]
    config = Config.from_environment()
    check_arguments(config, **arguments)  # before a checkpoint of gigabytes is loaded
    for name in ("audio", "audio_a", "audio_b"):
        if name in arguments:  # likewise; the pipeline reads it by its name
            seconds = read_audio(arguments[name], max_seconds=config.max_seconds).duration_s
            if task == "inpaint":
                check_inside(as_regions(arguments["regions"], SpectrogramParams()), seconds)
            elif task == "extend":
                check_longer(config, seconds, arguments["seconds"])
    from riffusion_space.pipeline import RiffusionPipeline

    name = arguments.pop("checkpoint", None) or config.checkpoint
    chosen = arguments.pop("lora", None)
    loras = parse_loras(config.lora) if chosen is None else [parse_lora(text) for text in chosen]
    for source, _ in loras:
        find_lora(source)  # a mistyped one, too, is told before the checkpoint is loaded
    progress(0.0, "Loading the checkpoint")
    pipe = RiffusionPipeline.from_pretrained(name, arguments.pop("device", None), progress=progress, config=config)
    progress.end()
    print(pipe.checkpoint.reason, file=sys.stderr)
    for source, weight in loras:
        pipe.load_lora(source, weight)
    return pipe
