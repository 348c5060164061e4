"""Fine-tuning end to end: it learns, it resumes to the bit, and what it writes is read by others."""

from __future__ import annotations

import csv
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_music
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from riffusion_space import checkpoints, cli
from riffusion_space.audio import read_audio, write_audio
from riffusion_space.clip import read_settings
from riffusion_space.config import Config
from riffusion_space.lora import LORA_FILE
from riffusion_space.pipeline import RiffusionPipeline
from riffusion_space.prompts import embed_prompts, escape
from riffusion_space.training import finetune as finetuning
from riffusion_space.training import metallophone, trainee
from riffusion_space.training import options as all_options
from riffusion_space.training.card import write_card
from riffusion_space.training.clips import load_clips
from riffusion_space.training.finetune import caption_tokens, finetune, split
from riffusion_space.training.options import Options


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Three files of one clip each."""
    folder = tmp_path_factory.mktemp("songs")
    for seed, name in enumerate(("sad violin", "happy (live) flute", "drum [take 2]")):
        write_audio(make_music(5.2, seed=seed), folder / f"{name}.wav")
    return folder


@pytest.fixture(scope="module")
def choose(tiny_folder, tmp_path_factory):
    """Options for the tiny checkpoint; the clips are encoded once for all tests."""
    cache = tmp_path_factory.mktemp("latents")

    def chosen(**changes):
        return Options(**{"checkpoint": str(tiny_folder), "device": "cpu", "steps": 4, "batch": 2, "rank": 2,
                          "target": "attention", "check_every": 2, "save_every": 1, "sample_every": 0, "cache": cache,
                          "rate": 1e-2} | changes)

    return chosen


@pytest.fixture(scope="module")
def trained(songs, choose, tmp_path_factory):
    """A LoRA for UNet and text encoder, with samples."""
    out = tmp_path_factory.mktemp("runs") / "my-lora"
    lines = []
    outcome = finetune(songs, out, choose(steps=8, text_encoder=True, target="all", sample_every=8), tell=lines.append)
    return out, outcome, lines


def test_a_run_leaves_all_that_it_promises(trained):
    out, outcome, lines = trained
    assert outcome.steps == 8 and outcome.best_loss < outcome.bare_loss and not outcome.stopped_early
    assert lines[0] == "3 clips of 5.11 s from 3 files." and "bare checkpoint" in lines[1]
    rows = list(csv.DictReader((out / "training/log.csv").open()))
    assert [int(row["step"]) for row in rows] == list(range(1, 9))
    assert [bool(row["held_out"]) for row in rows] == [False, True] * 4
    assert float(rows[-1]["held_out"]) == pytest.approx(outcome.best_loss, rel=1e-4)
    for step in (0, 8):
        wave = read_audio(out / f"samples/step_{step:06}.wav")
        assert wave.duration_s == pytest.approx(5.11, abs=0.01)
        settings = read_settings(out / f"samples/step_{step:06}.png")
        assert settings["prompt"] in {"sad violin", r"happy \(live\) flute", r"drum \[take 2\]"}
    assert not list(out.rglob("*.partial"))
    card = (out / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: diffusers\n") and "  - lora\n" in card and 'load_lora("my-lora")' in card
    assert "--steps 8" in card and "3 clips" in card and "- sad violin" in card and str(out) not in card


def test_tensorboard_gets_loss_sound_and_picture(trained):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = events.EventAccumulator(str(trained[0] / "training/logs"))
    log.Reload()
    tags = log.Tags()
    assert set(tags["scalars"]) == {"loss", "rate", "held_out"} and tags["images"] == ["spectrogram"]
    assert tags["audio"] == ["sample"] and len(log.Scalars("loss")) == 8


def test_diffusers_and_the_pipeline_hear_the_same_lora(trained, tiny_folder):
    out = trained[0]
    stock = StableDiffusionPipeline.from_pretrained(tiny_folder, safety_checker=None)
    stock.load_lora_weights(out)
    web = StableDiffusionPipeline.from_pretrained(tiny_folder, safety_checker=None)
    web.load_lora_weights(out / "webui", weight_name="my-lora.safetensors")
    pipe = RiffusionPipeline.from_pretrained(str(tiny_folder), "cpu", torch.float32, config=Config())
    latents = torch.randn((1, 4, 64, 64), generator=torch.Generator().manual_seed(0))

    def say(model):
        with torch.inference_mode():
            hidden = model.text_encoder(torch.arange(77)[None]).last_hidden_state
            return model.unet(latents, torch.tensor(500), encoder_hidden_states=hidden).sample

    bare = say(pipe.checkpoint)
    assert pipe.load_lora(out) == "my-lora"
    ours = say(pipe.checkpoint)
    assert (ours - bare).abs().max() > 1e-3
    torch.testing.assert_close(say(stock), ours, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(say(web), ours, atol=1e-4, rtol=1e-3)
    pipe.load_lora(out / "webui/my-lora.safetensors", -1.0, "against")
    torch.testing.assert_close(say(pipe.checkpoint), bare, atol=1e-4, rtol=1e-3)


def test_the_card_of_a_dataset_gives_credit_and_a_command_for_the_shell(songs, choose, tmp_path, monkeypatch):
    monkeypatch.setattr(finetuning, "find_music", lambda music, *others: songs)
    finetune(Path("alice/songs@v2"), tmp_path / "my out", choose(steps=1, sample_prompt="it's a $5 flute"))
    card = (tmp_path / "my out/README.md").read_text()
    front = card.split("---")[1]
    assert "datasets:\n  - alice/songs\n" in front
    assert "3 files of the dataset [alice/songs@v2](https://huggingface.co/datasets/alice/songs)." in card
    command = shlex.split(card.partition("```bash\n")[2].partition("\n")[0])
    assert command[:6] == ["python", "-m", "riffusion_space", "train", "alice/songs@v2", "-o"]
    assert command[6] == "my out" and command[command.index("--sample-prompt") + 1] == "it's a $5 flute"


def test_the_card_counts_the_clips_of_all_processes(songs, choose, tmp_path, tiny_pipe):
    options = choose(accumulate=3)
    clips = load_clips(songs, tiny_pipe.checkpoint, options.cache)
    write_card(tmp_path, "songs", clips, tiny_pipe.checkpoint, options, 4, 8, 1.0, 0.5)
    card = (tmp_path / "README.md").read_text()
    assert "8 steps of 24 clips" in card
    assert "accelerate launch --num_processes 4 -m riffusion_space train songs" in card


# The command line, which kills itself after a step that is logged and not saved.
KILLED_AFTER_STEP_7 = """
import os, signal, sys
from riffusion_space import cli
from riffusion_space.training import finetune

step = finetune._Run._step

def killed(run):
    if run.step == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(run)

finetune._Run._step = killed
sys.exit(cli.main())
"""


def test_a_killed_run_ends_with_the_same_bytes(songs, choose, tmp_path, tiny_folder):
    options = choose(steps=16, check_every=4, save_every=3, patience=0)
    finetune(songs, tmp_path / "whole", options)
    killed = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED_AFTER_STEP_7, "train", songs, "-o", killed, "--checkpoint", tiny_folder,
               "--cache", options.cache, "--device", "cpu"]
    for name in ("steps", "batch", "rank", "target", "rate", "check_every", "save_every", "sample_every", "patience"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    done = subprocess.run([str(word) for word in command], stderr=subprocess.PIPE, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (killed / "training/log.csv").read_text().splitlines()[-1].startswith("7,")
    lines = []
    finetune(songs, killed, options, tell=lines.append)
    assert "Going on after step 6." in lines
    assert (killed / LORA_FILE).read_bytes() == (tmp_path / "whole" / LORA_FILE).read_bytes()
    figures = [[row["step"], row["loss"], row["held_out"]] for folder in ("whole", "killed")
               for row in csv.DictReader((tmp_path / folder / "training/log.csv").open())]
    assert figures[:16] == figures[16:]
    state = (killed / "training/state.pt").read_bytes()
    finetune(songs, killed, options)  # there is nothing left to do
    assert (killed / "training/state.pt").read_bytes() == state


def test_a_run_is_not_resumed_with_other_settings_or_clips(trained, songs, choose, tmp_path):
    out = shutil.copytree(trained[0], tmp_path / "run")
    with pytest.raises(ValueError, match="go on with rank 2, got 4: choose another output folder"):
        finetune(songs, out, choose(text_encoder=True, target="all", rank=4))
    with pytest.raises(ValueError, match="go on with clips"):
        finetune(songs, out, choose(text_encoder=True, target="all", caption="music"))
    assert finetune(songs, out, choose(text_encoder=True, target="all", steps=9)).steps == 9


def test_gradient_checkpointing_and_accumulation_learn_the_same(songs, choose, tmp_path):
    for name, changes in (("plain", {}), ("checkpointed", {"gradient_checkpointing": True})):
        finetune(songs, tmp_path / name, choose(steps=2, text_encoder=True, accumulate=2, held_out=0, **changes))
    plain, checkpointed = (load_file(tmp_path / name / LORA_FILE) for name in ("plain", "checkpointed"))
    assert plain.keys() == checkpointed.keys()
    for name, value in plain.items():
        torch.testing.assert_close(checkpointed[name], value, atol=1e-4, rtol=1e-2)
    assert "No clips were held out" in (tmp_path / "plain/README.md").read_text()


@pytest.mark.parametrize("checkpointed", [False, True])
def test_gradient_checkpointing_computes_the_text_encoder_twice(checkpointed, tiny_folder):
    checkpoint = checkpoints.load(str(tiny_folder), "cpu")
    model = trainee.Trainee(checkpoint, 2, "attention", text_encoder=True, gradient_checkpointing=checkpointed)
    calls = []
    attention = next(part for part in checkpoint.text_encoder.modules() if type(part).__name__ == "CLIPAttention")
    attention.register_forward_pre_hook(lambda *arguments: calls.append(1))
    model(torch.zeros(1, 4, 64, 64), torch.tensor([500]), torch.arange(77)[None]).sum().backward()
    assert len(calls) == (2 if checkpointed else 1)
    assert not attention.training  # what drops out while a checkpoint is trained still does not


def test_it_stops_when_held_out_clips_sound_no_better(songs, choose, tmp_path):
    lines = []
    outcome = finetune(songs, tmp_path, choose(steps=50, check_every=1, patience=2, rate=0.5), tell=lines.append)
    assert outcome.stopped_early and outcome.steps == outcome.best_step + 2
    assert lines[-1].startswith(f"Stopped at step {outcome.steps}")


def test_without_a_better_loss_the_last_weights_are_written_and_said_to_be_worse(songs, choose, tmp_path):
    out, lines = tmp_path / "out", []
    options = choose(steps=2, rate=1e3)
    outcome = finetune(songs, out, options, tell=lines.append)
    assert outcome.best_step == 2 and outcome.best_loss > outcome.bare_loss and (out / LORA_FILE).is_file()
    assert lines[-1].startswith("The held-out loss never fell below the bare checkpoint's")
    assert "never fell below" in (out / "README.md").read_text()
    assert finetune(songs, out, options) == outcome  # there is nothing left to do


@pytest.mark.parametrize("torn", ["", "step,sec", "step,seconds,loss,rate,held_out\n1,0.1,0.5,0.001,\n2,0.2,0.4,0.0"])
def test_a_log_that_a_full_disk_has_torn_is_gone_on_with(trained, songs, choose, tmp_path, torn):
    out = shutil.copytree(trained[0], tmp_path / "run")
    log = out / "training/log.csv"
    log.write_text(torn)
    finetune(songs, out, choose(text_encoder=True, target="all", steps=9, held_out=0.1))
    assert [row["step"] for row in csv.DictReader(log.open())] == [*(["1"] if "\n" in torn else []), "9"]


def test_the_log_is_whole_while_it_is_rewritten(trained, songs, choose, tmp_path, monkeypatch):
    out = shutil.copytree(trained[0], tmp_path / "run")
    log = out / "training/log.csv"
    log.write_text(log.read_text() + "9,1.0,0.5,0.001,\n")
    before = log.read_text()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(finetuning.os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        finetune(songs, out, choose(text_encoder=True, target="all"))
    assert log.read_text() == before and not list(out.rglob("*.partial"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_stop_saves_and_says_how_to_go_on(number, songs, choose, tmp_path, monkeypatch):
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    options = choose(save_every=100, check_every=4)
    step = finetuning._Run._step

    def asked(run):
        if run.step == 1:
            signal.raise_signal(number)
        return step(run)

    with monkeypatch.context() as patched:
        patched.setattr(finetuning._Run, "_step", asked)
        with pytest.raises(KeyboardInterrupt, match="stopped after step 2 of 4, which is saved: the same command"):
            finetune(songs, tmp_path / "stopped", options)
    assert handlers == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    lines = []
    finetune(songs, tmp_path / "stopped", options, tell=lines.append)
    assert "Going on after step 2." in lines
    finetune(songs, tmp_path / "whole", options)
    written = [(tmp_path / name / LORA_FILE).read_bytes() for name in ("stopped", "whole")]
    assert written[0] == written[1]


def test_a_sample_that_is_missing_is_made_and_one_that_cannot_be_is_told(trained, songs, choose, tmp_path,
                                                                         monkeypatch):
    out = shutil.copytree(trained[0], tmp_path / "run")
    options = choose(steps=8, text_encoder=True, target="all", sample_every=8)
    picture = out / "samples/step_000008.png"
    picture.unlink()  # as if it had been killed between the two

    def overflow(*arguments, **options):
        raise ValueError("the model's prediction overflowed")

    lines = []
    with monkeypatch.context() as patched:
        patched.setattr(RiffusionPipeline, "text2audio", overflow)
        finetune(songs, out, options, tell=lines.append)
    assert "There is no sample of step 8: the model's prediction overflowed" in lines and not picture.exists()
    finetune(songs, out, options)
    assert picture.read_bytes() == (trained[0] / "samples/step_000008.png").read_bytes()


def test_processes_that_do_not_share_the_output_folder_are_refused(songs, choose, tmp_path, monkeypatch):
    monkeypatch.setattr(finetuning.Accelerator, "gather", lambda self, step: torch.cat([step, step + 40]))
    with pytest.raises(ValueError, match="after the same step, got 0 and 40: all machines have to share"):
        finetune(songs, tmp_path / "out", choose())


def test_a_run_is_not_resumed_by_more_processes(trained, songs, choose, tmp_path, monkeypatch):
    out = shutil.copytree(trained[0], tmp_path / "run")
    monkeypatch.setattr(finetuning.Accelerator, "num_processes", 2)
    with pytest.raises(ValueError, match="go on with processes 1, got 2"):
        finetune(songs, out, choose(text_encoder=True, target="all"))


def test_processes_wait_for_hours_while_one_encodes(monkeypatch):
    asked = {}
    start = finetuning.Accelerator
    monkeypatch.setattr(finetuning, "Accelerator", lambda **given: asked.update(given) or start(**given))
    finetuning._accelerator(Options(device="cpu"))
    assert asked["kwargs_handlers"][0].timeout.total_seconds() >= 4 * 3600


def test_a_run_into_the_music_folder_does_not_learn_from_itself(songs, choose, tmp_path):
    music = shutil.copytree(songs, tmp_path / "music")
    finetune(music, music / "out", choose(steps=1))
    write_audio(make_music(5.2, seed=9), music / "out/samples/step_000001.wav")
    lines = []
    assert finetune(music, music / "out", choose(steps=2), tell=lines.append).steps == 2
    assert lines[:2] == ["3 clips of 5.11 s from 3 files.", "Going on after step 1."]


def test_half_precision_is_of_the_kind_that_the_gpu_has(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert finetuning._precision(Options()) == "fp16" and finetuning._precision(Options(device="cpu")) == "no"
    assert finetuning._precision(Options(precision="bf16")) == "bf16"


def test_full_fine_tuning_writes_a_checkpoint(songs, choose, tmp_path, tiny_folder):
    out = tmp_path / "whole-model"
    outcome = finetune(songs, out, choose(full=True, rate=1e-3))
    assert outcome.best_loss < outcome.bare_loss and not (out / LORA_FILE).exists()
    pipe, bare = (RiffusionPipeline.from_pretrained(str(folder), "cpu", torch.float32, config=Config())
                  for folder in (out, tiny_folder))
    assert np.isfinite(pipe.text2audio("violin", seed=1, steps=1).audio.samples).all()
    same = {part: all(torch.equal(a.half(), b.half()) for a, b in zip(
        getattr(pipe.checkpoint, part).state_dict().values(), getattr(bare.checkpoint, part).state_dict().values()))
        for part in ("unet", "vae", "text_encoder")}
    assert same == {"unet": False, "vae": True, "text_encoder": True}
    assert {tensor.dtype for path in out.rglob("*.safetensors") for tensor in load_file(path).values()} == {
        torch.float16}
    stock = StableDiffusionPipeline.from_pretrained(out, safety_checker=None)
    assert stock.unet.config.sample_size == 64
    assert 'from_pretrained("whole-model")' in (out / "README.md").read_text()


def test_a_checkpoint_stays_whole_until_it_is_replaced(tiny_folder, tmp_path, monkeypatch):
    checkpoint = checkpoints.load(str(tiny_folder), "cpu")
    model = trainee.Trainee(checkpoint, None, "all", text_encoder=False)
    model.write(checkpoint, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with torch.no_grad():
        model.trained()["unet.conv_in.weight"].add_(1)
    replace, moved = os.replace, []

    def full(source, target):
        if Path(source).parent.name == "partial":
            moved.append(source)
            if len(moved) == 4:
                raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        model.write(checkpoint, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    monkeypatch.undo()
    model.write(checkpoint, tmp_path)
    unet = tmp_path / "unet/diffusion_pytorch_model.safetensors"
    assert unet.read_bytes() != before[unet] and {path for path in tmp_path.rglob("*") if path.is_file()} == set(before)


def test_whole_files_are_held_out():
    files = [f"{number // 3}.wav" for number in range(30)]
    moments = list(range(30))
    training, held_out = split(files, moments, 0.2, seed=1)
    assert sorted(training + held_out) == list(range(30)) and len(held_out) == 6
    assert not {files[clip] for clip in training} & {files[clip] for clip in held_out}
    assert split(files, moments, 0, seed=1) == (list(range(30)), [])
    assert split(["a"] * 5, [0, 1, 2, 3, 4], 0.1, seed=1) == ([0, 1, 2, 3], [4])


def test_what_is_judged_is_spread_over_what_is_held_out():
    files = [f"{number // 40:02}.wav" for number in range(400)]
    training, held_out = split(files, list(range(400)), 0.5, seed=1)
    assert len(training) == 360 and len(held_out) == 16  # one file is enough
    first = min(set(range(400)) - set(training))
    assert held_out == [first + number * 40 // 16 for number in range(16)]


def test_left_and_right_of_a_moment_are_not_parted():
    assert split(["a"] * 6, [0, 0, 1, 1, 2, 2], 0.1, seed=1) == ([0, 1, 2, 3], [4, 5])
    with pytest.raises(ValueError, match="more than the 2 clips of one moment .* --held-out 0 trains on all"):
        split(["a"] * 2, [0, 0], 0.1, seed=1)


def test_captions_are_embedded_as_prompts_are(tiny_pipe):
    checkpoint = tiny_pipe.checkpoint
    for caption in ("sad violin", "drum [take (2)] (loud:1.5)", ""):
        tokens = caption_tokens(checkpoint, [caption])
        with torch.inference_mode():
            hidden = checkpoint.text_encoder(tokens).last_hidden_state
        assert torch.equal(hidden, embed_prompts(checkpoint, [escape(caption)]))
    assert caption_tokens(checkpoint, ["x" * 500]).shape == (1, 77)


def test_the_rate_suits_the_size():
    assert Options().peak_rate(860_000_000) < Options().peak_rate(21_000_000)
    assert Options(full=True).peak_rate(860_000_000) == 1e-5 and Options(rate=2.0).peak_rate(1) == 2.0


def test_both_lists_of_targets_agree():
    assert tuple(trainee.TARGETS) == all_options.TARGETS


@pytest.mark.parametrize("change, complaint", [
    ({"steps": 0}, "steps to be a whole number of at least 1, got 0"), ({"rank": 1.5}, "rank"),
    ({"held_out": 0.9}, "held_out from 0 to 0.5"), ({"dropped": float("nan")}, "dropped from 0 to 1"),
    ({"target": "drums"}, "attention, transformer, all, got 'drums'"), ({"precision": "fp8"}, "precision"),
    ({"sample_prompt": "(loud:99) bells"}, "weights from -10 to 10 in sample_prompt"),
    ({"caption": "bells\x07"}, "caption without control characters"),
    ({"rate": 0.0}, "a rate above 0"), ({"caption": " "}, "caption to say"), ({"patience": -1}, "patience"),
])
def test_impossible_options_are_one_sentence(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        Options(**change)


@pytest.mark.parametrize("arguments, complaint", [
    (("no such folder", "-o", "out"), "there is no folder 'no such folder'"),
    (("SONGS", "-o", "out", "--rank", "0"), "rank"),
    (("SONGS", "-o", "out", "--checkpoint", "no such"), "an existing folder, got 'no such'"),
    (("SONGS", "-o", "out", "--device", "tpu"), "a device that this machine has"),
    (("SONGS", "-o", "out", "--device", "cpu:1"), "cpu without a number, got 'cpu:1'"),
    (("EMPTY", "-o", "out", "--checkpoint", "TINY"), "at least 2 different clips"),
])
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, complaint, songs, tiny_folder, tmp_path, capsys,
                                                   monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("EMPTY").mkdir()
    named = {"SONGS": str(songs), "TINY": str(tiny_folder)}
    assert cli.main(["train", *(named.get(word, word) for word in arguments)]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ") and complaint in last


def test_help_is_enough_to_begin(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    text = capsys.readouterr().out
    for word in ("metadata.csv", "--lora", "accelerate launch", "--held-out", "--text-encoder", "my-lora"):
        assert word in text


def test_a_new_sound_is_learned(tmp_path):
    """riffusion-mini does not know this instrument: a few steps make clips that it never heard more likely."""
    folder = metallophone.write_folder(tmp_path / "music", files=5, clips=1)
    options = Options(checkpoint="embedded", device="cpu", steps=12, check_every=12, save_every=12, sample_every=0)
    outcome = finetune(folder, tmp_path / "metallophone", options)
    assert outcome.best_loss < 0.9 * outcome.bare_loss
