"""The command line: the pipeline's tasks without the page.

Results go to files, progress and sentences to stderr. Exit codes: 0 done, 1 could not be done, 2 bad input,
130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from riffusion_space.config import Config
from riffusion_space.schedulers import SCHEDULERS

EXAMPLES = """examples:
  python -m riffusion_space text2audio "church bells" --seed 7 -o bells.wav
  python -m riffusion_space audio2audio song.mp3 "flute melody" --strength 0.5 -o flute.wav
  python -m riffusion_space interpolate "church bells" "jazz piano" --clips 6 -o journey.flac
  python -m riffusion_space image2audio spectrogram.png -o sound.wav
  python -m riffusion_space audio2image song.mp3 -o spectrogram.png
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
    model.add_argument("--steps", type=int, help="denoising steps; by default what suits the checkpoint")
    model.add_argument("--guidance", type=float, help="how closely to follow the prompt; likewise")
    model.add_argument("--scheduler", help=f"one of {', '.join(SCHEDULERS)}; likewise")
    model.add_argument("--checkpoint", metavar="NAME",
                       help="auto, embedded, a Hub id with an optional @revision, or a folder (RIFFUSION_CHECKPOINT)")
    model.add_argument("--device", help="cpu, cuda, mps (RIFFUSION_DEVICE)")
    seeded = argparse.ArgumentParser(add_help=False)
    seeded.add_argument("--seed-image", metavar="NAME", help="a built-in loop, an image or an audio file to start from")
    seeded.add_argument("--strength", type=float, default=0.75, help="how far to go from the seed image, 0 to 1 (0.75)")

    task = tasks.add_parser("text2audio", parents=[model, seeded], help="make sound from words")
    task.add_argument("prompt", help="what to play, such as 'church bells'")
    task.add_argument("--duration-s", type=float, default=5.11, metavar="SECONDS", help="1 to the limit (5.11)")

    task = tasks.add_parser("audio2audio", parents=[model], help="restyle a sound by words")
    task.add_argument("audio", metavar="IN", help="an audio file of nearly any format")
    task.add_argument("prompt", help="what it should become")
    task.add_argument("--strength", type=float, default=0.55, help="0 keeps the input, 1 ignores it (0.55)")

    task = tasks.add_parser("interpolate", parents=[model, seeded], help="travel from one prompt or seed to another")
    task.add_argument("prompt_a", metavar="A", help="where to begin")
    task.add_argument("prompt_b", metavar="B", nargs="?", default="", help="where to end; not needed with --seed-b")
    task.add_argument("--clips", type=int, default=6, help="how many clips of 5.12 s (6)")
    task.add_argument("--seed-b", type=int, help="walk from --seed to this one")
    task.add_argument("--guidance-b", type=float, help="guidance at the end")
    task.add_argument("--strength-b", type=float, help="strength at the end")

    task = tasks.add_parser("image2audio", parents=[out], help="decode a spectrogram image")
    task.add_argument("image", type=Path, metavar="IN", help="a spectrogram image of 512 rows")
    task.add_argument("--seed", type=int, default=0, help="of the phase (0)")

    task = tasks.add_parser("audio2image", parents=[out], help="analyse a sound into a spectrogram image")
    task.add_argument("audio", metavar="IN", help="an audio file of nearly any format")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one task; returns the exit code."""
    arguments = vars(build_parser().parse_args(argv))
    task, output = arguments.pop("task"), arguments.pop("output")
    progress = _ProgressLine()
    try:
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
    except KeyboardInterrupt:
        progress.end()
        print("interrupted", file=sys.stderr)
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


def _run(task: str, output: Path, arguments: dict, progress: _ProgressLine) -> str:
    # These imports take seconds; --help and a mistyped option should not.
    if task == "audio2image":
        from riffusion_space.audio import read_audio
        from riffusion_space.codec import encode

        image = encode(read_audio(arguments["audio"]))
        image.save(output, exif=image.getexif())
        return str(output)
    if task == "image2audio":
        from riffusion_space.audio import write_audio
        from riffusion_space.codec import decode, read_image

        wave = decode(read_image(arguments["image"]), seed=arguments["seed"],
                      progress=lambda fraction: progress(fraction, "Finding the sound of the picture"))
        return str(write_audio(wave, output))
    from riffusion_space.arguments import check_arguments

    config = Config.from_environment()
    check_arguments(config, **arguments)  # before a checkpoint of gigabytes is loaded
    from riffusion_space.pipeline import RiffusionPipeline

    name = arguments.pop("checkpoint") or config.checkpoint
    progress(0.0, "Loading the checkpoint")
    pipe = RiffusionPipeline.from_pretrained(name, arguments.pop("device"), progress=progress, config=config)
    progress.end()
    print(pipe.checkpoint.reason, file=sys.stderr)
    clip = getattr(pipe, task)(**arguments, progress=progress)
    return f"{clip.save(output)} ({clip.audio.duration_s:.2f} s, seed {clip.settings['seed']})"
