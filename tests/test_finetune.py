"""Fine-tuning end to end: it learns, it resumes to the bit, and what it writes is read by others."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_music
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from riffusion_space import cli
from riffusion_space.audio import read_audio, write_audio
from riffusion_space.clip import read_settings
from riffusion_space.config import Config
from riffusion_space.lora import LORA_FILE
from riffusion_space.pipeline import RiffusionPipeline
from riffusion_space.prompts import embed_prompts
from riffusion_space.training import metallophone, trainee
from riffusion_space.training import options as all_options
from riffusion_space.training.finetune import caption_tokens, escape, finetune, split
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
    pipe = RiffusionPipeline.from_pretrained(str(tiny_folder), "cpu", config=Config())
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


def test_a_killed_run_ends_with_the_same_bytes(songs, choose, tmp_path, tiny_folder):
    options = choose(steps=16, check_every=4, save_every=3, patience=0)
    finetune(songs, tmp_path / "whole", options)
    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "riffusion_space", "train", songs, "-o", killed, "--checkpoint", tiny_folder,
               "--cache", options.cache, "--device", "cpu"]
    for name in ("steps", "batch", "rank", "target", "rate", "check_every", "save_every", "sample_every", "patience"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    process = subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, text=True)
    log = killed / "training/log.csv"
    deadline = time.monotonic() + 60
    while process.poll() is None and not (log.is_file() and log.read_text().count("\n") > 5):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert process.returncode == -9, "it was done before it was killed"
    lines = []
    finetune(songs, killed, options, tell=lines.append)
    assert any(line.startswith("Going on after step") for line in lines)
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


def test_it_stops_when_held_out_clips_sound_no_better(songs, choose, tmp_path):
    lines = []
    outcome = finetune(songs, tmp_path, choose(steps=50, check_every=1, patience=2, rate=0.5), tell=lines.append)
    assert outcome.stopped_early and outcome.steps == outcome.best_step + 2
    assert lines[-1].startswith(f"Stopped at step {outcome.steps}")


def test_full_fine_tuning_writes_a_checkpoint(songs, choose, tmp_path, tiny_folder):
    out = tmp_path / "whole-model"
    outcome = finetune(songs, out, choose(full=True, rate=1e-3))
    assert outcome.best_loss < outcome.bare_loss and not (out / LORA_FILE).exists()
    pipe = RiffusionPipeline.from_pretrained(str(out), "cpu", config=Config())
    bare = RiffusionPipeline.from_pretrained(str(tiny_folder), "cpu", config=Config())
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


def test_whole_files_are_held_out():
    files = [f"{number // 3}.wav" for number in range(30)]
    training, held_out = split(files, 0.2, seed=1)
    assert sorted(training + held_out) == list(range(30)) and len(held_out) == 6
    assert not {files[clip] for clip in training} & {files[clip] for clip in held_out}
    assert split(files, 0, seed=1) == (list(range(30)), [])
    assert split(["a"] * 5, 0.1, seed=1) == ([0, 1, 2, 3], [4])
    assert len(split(files * 10, 0.5, seed=1)[1]) == 16


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
