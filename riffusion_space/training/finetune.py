"""Fine-tune any Stable Diffusion checkpoint on a folder of music: ``python -m riffusion_space train FOLDER -o OUT``.

Every random choice of a step (its clips, captions left out, noise, timesteps) is a function of the seed and the step's
number. So a run that was killed and resumed from its last saved state ends, on a CPU to the bit, with the weights of
one that was not.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import json
import math
import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from torch.nn import functional as F

from riffusion_space.checkpoints import Checkpoint, load
from riffusion_space.config import Config
from riffusion_space.pipeline import RiffusionPipeline
from riffusion_space.prompts import escape
from riffusion_space.training.card import write_card
from riffusion_space.training.clips import CLIP_SECONDS, ClipSet, load_clips
from riffusion_space.training.dataset import find_music
from riffusion_space.training.options import Options
from riffusion_space.training.publish import prepare, publish
from riffusion_space.training.state import set_rate
from riffusion_space.training.trainee import Trainee

MIN_SNR = 5.0  # Hang et al., "Efficient Diffusion Training via Min-SNR Weighting Strategy", 2023
MOST_HELD_OUT = 16  # clips: judging more would cost more than it tells
HELD_OUT_TIMESTEPS = 4  # for each clip, evenly spread
LOG_FIELDS = ("step", "seconds", "loss", "rate", "held_out")
_LOG_ROW = re.compile(r"(\d+)(,[^,\n]*){4}\n")
_WAIT = timedelta(hours=24)  # of the other processes for the one that fetches and encodes the music

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Outcome:
    """What a run came to. The losses are those of the held-out clips, None where there are none.

    ``best_step`` is the step whose weights were written, and ``best_loss`` theirs: that of the lowest held-out loss, or
    the last where none was held out or none was lower than the bare checkpoint's.
    """

    folder: Path
    steps: int
    seconds: float
    bare_loss: float | None
    best_loss: float | None
    best_step: int
    stopped_early: bool


def finetune(music: Path, out: Path, options: Options | None = None, progress: Progress = lambda fraction, text: None,
             tell: Callable[[str], None] = lambda line: None) -> Outcome:
    """Fine-tune on a folder of audio with captions, going on where an earlier run into ``out`` stopped.

    Args:
        music: folder of audio files, with captions as :mod:`riffusion_space.training.clips` finds them, or the name of
            a Hub dataset, owner/name.
        out: gets the LoRA or the checkpoint, a model card, ``samples/``, and in ``training/`` the state, the latents,
            ``log.csv`` and, where tensorboard is installed, its logs.
        progress: called with a fraction and a text.
        tell: called with lines for people, the report on the folder among them.

    Raises:
        ValueError: bad options, too little to train on, a checkpoint that cannot be loaded, an ``out`` that holds a
            run with other settings, or a Hub that does not take the result; one sentence.
        OSError: such as for a full disk. The state saved last stays whole.
        KeyboardInterrupt: Ctrl-C or SIGTERM, once the step is done and the state saved; says how to go on.
    """
    options = options or Options()
    accelerator = _accelerator(options)
    if not accelerator.is_main_process:  # one of them speaks for all
        progress, tell = (lambda fraction, text: None), (lambda line: None)
    with accelerator.main_process_first():  # the others find what it has fetched
        folder = find_music(music, out, progress, tell)
    out.mkdir(parents=True, exist_ok=True)
    if options.push and accelerator.is_main_process:
        prepare(options.push)
    progress(0.0, "Loading the checkpoint")
    checkpoint = load(options.checkpoint, accelerator.device, torch.float32, few_steps=False)
    if (kind := checkpoint.scheduler.config.prediction_type) not in ("epsilon", "v_prediction"):
        raise ValueError(f"expected a checkpoint that predicts epsilon or v_prediction, got {kind!r}")
    cache = options.cache or out / "training" / "latents"
    with accelerator.main_process_first():  # the others find the latents in the cache
        clips = load_clips(folder, checkpoint, cache, options.stereo, options.caption,
                           lambda fraction, text: progress(0.0, text), options.beat_aligned, [out])
    for line in clips.report.lines():
        tell(line)
    # What stays frozen needs no more than half precision where that is computed with; what moves does.
    half = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(accelerator.mixed_precision)
    if half and not options.full and accelerator.device.type == "cuda":
        for model in (checkpoint.unet, checkpoint.vae, checkpoint.text_encoder):
            model.to(half)
        checkpoint = replace(checkpoint, dtype=half)
    called = folder.resolve().name if folder == music else music.as_posix()
    outcome = _Run(called, clips, checkpoint, out, options, accelerator, progress, tell).train()
    if options.push and accelerator.is_main_process:
        tell(f"Pushed to {publish(out, options.push, options.full)}.")
    return outcome


def _accelerator(options: Options) -> Accelerator:
    accelerator = Accelerator(mixed_precision=_precision(options), cpu=options.device == "cpu",
                              kwargs_handlers=[InitProcessGroupKwargs(timeout=_WAIT)])
    kind, _, number = (options.device or "").partition(":")
    if kind and kind != accelerator.device.type:
        raise ValueError(f"expected a device that this machine has, such as {accelerator.device.type}, "
                         f"got {options.device!r}")
    if number and number != str(accelerator.device.index or 0):
        hint = f": CUDA_VISIBLE_DEVICES={number} chooses a GPU" if kind == "cuda" else ""
        raise ValueError(f"expected {kind} without a number, got {options.device!r}{hint}")
    return accelerator


def _precision(options: Options) -> str:
    """Accelerate's name for what is computed with."""
    if options.precision != "auto":
        return options.precision
    if not torch.cuda.is_available() or options.device == "cpu":
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Whether SIGINT or SIGTERM has come, once it has; a second one acts as ever.

    Python has handlers in the main thread alone: in another one, none comes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came = []

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: Any) -> None:
        came.append(number)
        restore()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)
              if signal.getsignal(number) not in (signal.SIG_IGN, None)}  # such as under nohup
    try:
        yield lambda: bool(came)
    finally:
        restore()


class _Run:
    """One call of ``finetune``: what its parts share."""

    def __init__(self, music: str, clips: ClipSet, checkpoint: Checkpoint, out: Path, options: Options,
                 accelerator: Accelerator, progress: Progress, tell: Callable[[str], None]) -> None:
        self.music, self.clips, self.checkpoint, self.out, self.options = music, clips, checkpoint, out, options
        self.accelerator, self.progress, self.tell = accelerator, progress, tell
        self.folder = out / "training"
        self.training, self.held_out = split(clips.files, clips.moments, options.held_out, options.seed)
        self.tokens = caption_tokens(checkpoint, ["", *clips.captions])  # row 0: no caption
        self.alphas = checkpoint.scheduler.alphas_cumprod.to(accelerator.device)
        self.rate = options.peak_rate(sum(parameter.numel() for parameter in checkpoint.unet.parameters()))
        torch.manual_seed(options.seed)  # the LoRA's first values
        self.trainee = Trainee(checkpoint, None if options.full else options.rank, options.target,
                               options.text_encoder, options.gradient_checkpointing)
        parameters = list(self.trainee.trained().values())
        optimizer = torch.optim.AdamW(parameters, self.rate, betas=(0.9, 0.99), weight_decay=0.01)
        self.model, self.optimizer = accelerator.prepare(self.trainee, optimizer)
        self.step, self.seconds = 0, 0.0
        self.bare: float | None = None
        self.best: tuple[float, int] = (math.inf, 0)
        self.latest: float | None = None  # held-out loss
        self.disappointments = 0
        self._order: tuple[int, list[int]] | None = None
        self._resume()
        steps = accelerator.gather(torch.tensor([self.step], device=accelerator.device))
        if (steps != self.step).any():
            raise ValueError(f"expected every process to go on after the same step, got {steps.min()} and "
                             f"{steps.max()}: all machines have to share the output folder")
        self.board = self._open_board()

    def train(self) -> Outcome:
        """Take the steps that are left."""
        options, started = self.options, time.monotonic() - self.seconds
        if self.accelerator.is_main_process:
            (self.out / "samples").mkdir(exist_ok=True)
        with _signals() as asked_to_stop:
            if self.step == 0:
                self._check(loss=None)
                self._sample()
            elif self._is_sample_due() and not all(path.is_file() for path in self._sample_paths()):
                self._sample()  # it was killed between the state and the sample
            while self.step < options.steps and not self._is_done():
                set_rate(self.optimizer, self.rate, self.step, self.step / options.steps,
                         min(100, 1 + options.steps // 10))
                loss = self._step()
                self.step += 1
                self.seconds = time.monotonic() - started
                stop = self._any_process(asked_to_stop())
                check = self.step % options.check_every == 0 or self.step == options.steps
                if check:
                    self._check(loss)
                else:
                    self._log(loss, None)
                if check or stop or self.step % options.save_every == 0:
                    self._save()
                if stop and self.step < options.steps:
                    self._leave()
                    raise KeyboardInterrupt(f"stopped after step {self.step} of {options.steps}, which is saved: "
                                            "the same command goes on from there")
                if self._is_sample_due():
                    self._sample()
                self.progress(self.step / options.steps, self._describe(loss))
        early = self.step < options.steps
        if early:
            self.tell(f"Stopped at step {self.step}: the held-out loss has not fallen since step {self.best[1]}.")
        loss, written = self.best if self.held_out else (None, self.step)
        if self.held_out and written == 0:
            loss, written = self.latest, self.step
            self._write(loss)
            self.tell("The held-out loss never fell below the bare checkpoint's: written are the last weights, of "
                      f"step {written} ({loss:.4f}, bare {self.bare:.4f}), which may be worse than none.")
        outcome = Outcome(self.out, self.step, self.seconds, self.bare, loss, written, early)
        self._leave()
        return outcome

    def _any_process(self, asked: bool) -> bool:
        """Whether one of the processes was asked to stop: either all of them do or none."""
        return bool(self.accelerator.reduce(torch.tensor(int(asked), device=self.accelerator.device), "sum"))

    def _leave(self) -> None:
        if self.board:
            self.board.close()
        self.accelerator.wait_for_everyone()  # or one could leave while another still writes
        self.accelerator.end_training()

    # Steps ----------------------------------------------------------------------------------------------------------

    def _step(self) -> float:
        """One optimizer step over ``accumulate`` batches in every process; the loss of this process."""
        options, accelerator = self.options, self.accelerator
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for part in range(options.accumulate):
            last = part == options.accumulate - 1
            with contextlib.nullcontext() if last else accelerator.no_sync(self.model):
                loss = self._loss(self.model, *self._batch(part)).mean() / options.accumulate
                accelerator.backward(loss)
            total += loss.item()
        if not math.isfinite(total):
            raise ValueError(f"expected a finite loss, got {total} at step {self.step + 1}: lower the rate")
        accelerator.clip_grad_norm_(self.trainee.trained().values(), 1.0)
        self.optimizer.step()
        return total

    def _batch(self, part: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Latents, tokens, timesteps and noise of a part of a step, the same whenever it is asked for."""
        options, processes = self.options, self.accelerator.num_processes
        number = (self.step * options.accumulate + part) * processes + self.accelerator.process_index
        rng = random.Random(f"{options.seed} batch {number}")
        chosen = []
        for position in range(number * options.batch, (number + 1) * options.batch):
            epoch, index = divmod(position, len(self.training))
            chosen.append(self._shuffled(epoch)[index])
        rows = [0 if rng.random() < options.dropped else 1 + clip for clip in chosen]
        generator = torch.Generator().manual_seed(rng.getrandbits(48))
        # One timestep from each of ``batch`` equal parts of the schedule: the loss varies less from step to step.
        spread = (torch.arange(options.batch) + torch.rand(options.batch, generator=generator)) / options.batch
        timesteps = (spread * len(self.alphas)).long().clamp(max=len(self.alphas) - 1)
        latents = self.clips.latents[chosen].float()
        return latents, self.tokens[rows], timesteps, torch.randn(latents.shape, generator=generator)

    def _shuffled(self, epoch: int) -> list[int]:
        """The training clips in an epoch's order: every one once before any comes again."""
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, random.Random(f"{self.options.seed} epoch {epoch}").sample(
                self.training, len(self.training))
        return self._order[1]

    def _loss(self, model: torch.nn.Module, latents: torch.Tensor, tokens: torch.Tensor, timesteps: torch.Tensor,
              noise: torch.Tensor) -> torch.Tensor:
        """The weighted squared error of each clip's prediction, (batch,)."""
        device = self.accelerator.device
        latents, tokens, timesteps, noise = (x.to(device) for x in (latents, tokens, timesteps, noise))
        alpha = self.alphas[timesteps][:, None, None, None]
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        snr = (alpha / (1 - alpha)).flatten()
        if self.checkpoint.scheduler.config.prediction_type == "epsilon":
            wanted, weight = noise, snr.clamp(max=MIN_SNR) / snr
        else:
            wanted, weight = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents, snr.clamp(max=MIN_SNR) / (snr + 1)
        predicted = model(noisy, timesteps, tokens).float()
        return F.mse_loss(predicted, wanted, reduction="none").mean((1, 2, 3)) * weight

    @torch.no_grad()
    def _held_out_loss(self) -> float:
        """Mean loss of the held-out clips over fixed noise and timesteps, so that two of them can be compared."""
        pairs = [(clip, k) for clip in self.held_out for k in range(HELD_OUT_TIMESTEPS)]
        mine = pairs[self.accelerator.process_index :: self.accelerator.num_processes]
        total = torch.zeros((), device=self.accelerator.device)
        for start in range(0, len(mine), self.options.batch):
            part = mine[start : start + self.options.batch]
            latents = self.clips.latents[[clip for clip, _ in part]].float()
            timesteps = torch.tensor([int((k + 0.5) / HELD_OUT_TIMESTEPS * len(self.alphas)) for _, k in part])
            noise = torch.stack([torch.randn(latents.shape[1:], generator=torch.Generator().manual_seed(
                HELD_OUT_TIMESTEPS * clip + k)) for clip, k in part])
            tokens = self.tokens[[1 + clip for clip, _ in part]]
            total += self._loss(self.trainee, latents, tokens, timesteps, noise).sum()
        return float(self.accelerator.reduce(total, "sum")) / len(pairs)

    # What is kept ---------------------------------------------------------------------------------------------------

    def _check(self, loss: float | None) -> None:
        """Measure the held-out loss, and write the weights if they are the best so far."""
        held_out = self.latest = self._held_out_loss() if self.held_out else None
        if loss is None:
            self.bare = held_out
            if held_out is not None:
                self.best = (held_out, 0)
                self.tell(f"Held-out loss of the bare checkpoint: {held_out:.4f}.")
            return
        self._log(loss, held_out)
        if held_out is None or held_out < self.best[0]:
            self.best = (math.inf if held_out is None else held_out, self.step)
            self.disappointments = 0
            self._write(held_out)
        else:
            self.disappointments += 1

    def _write(self, held_out: float | None) -> None:
        """Write the weights of this step, whose held-out loss is given, and their card."""
        if self.accelerator.is_main_process:
            self.trainee.write(self.checkpoint, self.out)
            write_card(self.out, self.music, self.clips, self.checkpoint, self.options, self.accelerator.num_processes,
                       self.step, self.bare, held_out)

    def _is_done(self) -> bool:
        return 0 < self.options.patience <= self.disappointments

    def _describe(self, loss: float) -> str:
        held_out = f", held out {self.best[0]:.4f} at best (bare {self.bare:.4f})" if self.held_out else ""
        left = self.seconds / self.step * (self.options.steps - self.step)
        return f"Step {self.step} of {self.options.steps}, loss {loss:.4f}{held_out}, {left / 60:.0f} min left"

    def _identity(self) -> dict[str, Any]:
        """What must not change between the parts of one run."""
        return {**self.options.identity(), "checkpoint": self.checkpoint.revision, "clips": self.clips.fingerprint,
                "processes": self.accelerator.num_processes}

    def _save(self) -> None:
        """Write the state in one piece: a run that is killed while writing leaves the previous state."""
        if not self.accelerator.is_main_process:
            return
        scaler = self.accelerator.scaler
        state = {"trained": {name: value.detach() for name, value in self.trainee.trained().items()},
                 "optimizer": self.optimizer.state_dict(), "scaler": scaler.state_dict() if scaler else {},
                 "step": self.step, "seconds": self.seconds, "bare": self.bare, "best": self.best,
                 "latest": self.latest, "disappointments": self.disappointments,
                 "identity": json.dumps(self._identity())}
        partial = self.folder / "state.partial"
        try:
            with partial.open("wb") as file:  # a full disk is an OSError then, which torch's own file would hide
                torch.save(state, file)
            os.replace(partial, self.folder / "state.pt")
        finally:
            partial.unlink(missing_ok=True)

    def _resume(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "state.pt"
        if not path.is_file():
            (self.folder / "log.csv").unlink(missing_ok=True)  # of a run that was killed before its first state
            return
        saved = torch.load(path, map_location="cpu", weights_only=True)
        identity, now = json.loads(saved["identity"]), self._identity()
        for name, value in now.items():
            if identity.get(name) != value:
                raise ValueError(f"expected the run in {self.out.name!r} to go on with {name} {identity.get(name)!r}, "
                                 f"got {value!r}: choose another output folder")
        self.trainee.restore(saved["trained"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if saved["scaler"] and self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(saved["scaler"])
        self.step, self.seconds, self.bare = saved["step"], saved["seconds"], saved["bare"]
        self.best, self.latest, self.disappointments = tuple(saved["best"]), saved["latest"], saved["disappointments"]
        if self.accelerator.is_main_process:
            self._forget_rows_beyond()
        self.tell(f"Going on after step {self.step}.")

    def _forget_rows_beyond(self) -> None:
        """Drop the log's rows of steps after the state, which are taken again, and what a full disk left of a row."""
        log = self.folder / "log.csv"
        lines = log.read_text().splitlines(keepends=True) if log.is_file() else []
        kept = [line for line in lines[:1] if line.endswith("\n")]
        kept += [line for line in lines[1:] if (row := _LOG_ROW.fullmatch(line)) and int(row[1]) <= self.step]
        if len(kept) == len(lines):
            return
        partial = self.folder / "log.partial"
        try:
            partial.write_text("".join(kept))
            os.replace(partial, log)
        finally:
            partial.unlink(missing_ok=True)

    # What is shown --------------------------------------------------------------------------------------------------

    def _log(self, loss: float, held_out: float | None) -> None:
        if not self.accelerator.is_main_process:
            return
        rate = self.optimizer.param_groups[0]["lr"]
        log = self.folder / "log.csv"
        fresh = not log.is_file() or log.stat().st_size == 0
        with log.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if fresh:
                writer.writerow(LOG_FIELDS)
            writer.writerow([self.step, f"{self.seconds:.1f}", f"{loss:.5g}", f"{rate:.4g}",
                             "" if held_out is None else f"{held_out:.6g}"])
        if self.board:
            self.board.add_scalar("loss", loss, self.step)
            self.board.add_scalar("rate", rate, self.step)
            if held_out is not None:
                self.board.add_scalar("held_out", held_out, self.step)

    def _is_sample_due(self) -> bool:
        every = self.options.sample_every
        return every > 0 and (self.step % every == 0 or self.step == self.options.steps)

    def _sample_paths(self) -> tuple[Path, Path]:
        wav = self.out / "samples" / f"step_{self.step:06}.wav"
        return wav, wav.with_suffix(".png")

    def _sample(self) -> None:
        """Play the same prompt from the same seed as always, to ``samples/step_000123.wav`` and ``.png``."""
        if not self.options.sample_every or not self.accelerator.is_main_process:
            return
        prompt = self.options.sample_prompt or escape(self.clips.captions[(self.held_out or self.training)[0]])
        pipe = RiffusionPipeline(self.checkpoint, Config())
        try:
            clip = pipe.text2audio(prompt, seed=self.options.seed, duration_s=CLIP_SECONDS)
        except ValueError as error:  # such as weights that overflow: the training need not end of it
            self.tell(f"There is no sample of step {self.step}: {error}")
            return
        for path in self._sample_paths():
            clip.save(path)
        if self.board:
            self.board.add_audio("sample", clip.audio.samples, self.step, clip.audio.sample_rate)
            self.board.add_image("spectrogram", np.asarray(clip.image), self.step, dataformats="HWC")

    def _open_board(self) -> Any:
        """TensorBoard's writer, or None where tensorboard is not installed or another process writes."""
        if not self.accelerator.is_main_process or importlib.util.find_spec("tensorboard") is None:
            return None
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(self.folder / "logs", purge_step=self.step + 1)


def split(files: list[str], moments: list[int], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices of the clips to train on and of those to judge with, given each clip's file and its moment there.

    Whole files are held out, no more than it takes for 16 clips: the next bars of a song that is trained on would not
    tell what was learned. Of a single file, its last moments are. Of what is held out, 16 clips are judged, evenly
    spread. A share of 0 holds out nothing.

    Raises:
        ValueError: nothing would be left to train on.
    """
    if share == 0:
        return list(range(len(files))), []
    one_file = len(set(files)) == 1
    groups: dict[str | int, list[int]] = {}
    for clip, group in enumerate(moments if one_file else files):
        groups.setdefault(group, []).append(clip)
    if len(groups) == 1:
        raise ValueError(f"expected more than the {len(files)} clips of one moment to hold some of them out: "
                         "--held-out 0 trains on all")
    order = sorted(groups, reverse=one_file)
    if not one_file:
        random.Random(f"{seed} held out").shuffle(order)
    held_out: list[int] = []
    for group in order[: max(1, round(share * len(order)))]:
        if len(held_out) < MOST_HELD_OUT:
            held_out += groups[group]
    apart = set(held_out)
    judged = min(MOST_HELD_OUT, len(held_out))
    held_out = [sorted(held_out)[number * len(held_out) // judged] for number in range(judged)]
    return [clip for clip in range(len(files)) if clip not in apart], held_out


def caption_tokens(checkpoint: Checkpoint, captions: list[str]) -> torch.Tensor:
    """Tokens (captions, 77) as the pipeline makes them from a prompt without weights; what is longer is cut off."""
    tokenizer = checkpoint.tokenizer
    room = checkpoint.text_encoder.config.max_position_embeddings - 2
    start, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    rows = []
    for caption in captions:
        ids = tokenizer(caption, add_special_tokens=False, truncation=False, verbose=False).input_ids[:room]
        rows.append([start, *ids, end, *[end if pad is None else pad] * (room - len(ids))])
    return torch.tensor(rows)
