"""Where the time goes: stages are told apart, and what they compute is counted."""

import threading

import pytest
import torch
from conftest import make_music

from riffusion_space.cli import main
from riffusion_space.profiling import ORDER, Peak, StageTime, profile, report, table
from riffusion_space.stages import recorded, stage

REQUEST = {"prompt": "church bells", "seed": 7, "steps": 3, "guidance": 2.0, "duration_s": 1.0}


def test_a_request_is_told_stage_by_stage(tiny_pipe):
    made = []
    _, stages = profile(lambda: made.append(tiny_pipe.text2audio(**REQUEST)) or made[-1])
    by_name = {each.name: each for each in stages}
    assert tuple(by_name) == tuple(name for name in ORDER if name != "encoder")  # there is nothing to be encoded
    assert by_name["UNet"].calls == 3 and all(by_name[name].calls == 1 for name in by_name if name != "UNet")
    assert all(by_name[name].flops > 0 for name in ("UNet", "decoder", "phase"))
    assert by_name["text"].flops == 0  # kept since the first request
    assert torch.equal(*(torch.from_numpy(clip.audio.samples) for clip in made[-2:]))  # counting changes nothing


def test_the_encoder_of_what_is_restyled_and_the_phase_of_a_loop_are_told_too(tiny_pipe):
    fast = {"steps": 1, "guidance": 1.0, "seed": 7}
    _, restyled = profile(lambda: tiny_pipe.audio2audio(make_music(1.0), "flute", **fast))
    _, looped = profile(lambda: tiny_pipe.text2audio("rain", loop=True, duration_s=2.0, **fast))
    assert "encoder" in {each.name for each in restyled} and "phase" in {each.name for each in looped}


def test_operations_of_a_convolution_and_an_fft_are_counted(tiny_pipe):
    from riffusion_space.profiling import _Counter

    with recorded() as stages, _Counter(stages) as counter, torch.inference_mode():
        with stage("convolution"):
            torch.nn.functional.conv2d(torch.ones(1, 3, 8, 8), torch.ones(5, 3, 3, 3), padding=1)
        with stage("FFT"):
            torch.fft.irfft(torch.fft.rfft(torch.ones(4, 1024)))
    assert counter.flops == {"convolution": 2 * 5 * 3 * 9 * 64, "FFT": 2 * 2.5 * 10 * 1024 * 4}
    assert counter.bytes["convolution"] >= 4 * (3 * 64 + 5 * 27 + 5 * 64)


def test_stages_inside_of_stages_are_not_counted_twice(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("riffusion_space.stages.time.perf_counter", lambda: float(next(clock)))
    with recorded() as stages, stage("outer"):
        with stage("inner"):
            pass
    assert stages.seconds == {"outer": 2.0, "inner": 1.0} and stages.calls == {"outer": 1, "inner": 1}


def test_only_the_thread_that_records_is_noticed():
    with recorded() as stages:
        thread = threading.Thread(target=stage("elsewhere")(lambda: None))
        thread.start()
        thread.join()
    assert not stages.calls


def test_the_table_says_what_limits_a_stage():
    rows = [StageTime("UNet", 2.0, 4, 1e11, 1e9), StageTime("phase", 1.0, 1, 1e9, 5e9)]
    text = table(rows, Peak(1e11, 1e10), 6.0)
    assert "| UNet | 4 | 2.000 | 67% | 100.0 | 1.000 | 1.00 | 0.100 | 50% |" in text
    assert "| phase | 1 | 1.000 | 33% | 1.0 | 0.010 | 5.00 | 0.500 | 50% |" in text
    assert "6.00 s of sound in 3.00 s: 2.0 times as fast" in text


def test_the_report_names_request_and_machine(tiny_pipe, monkeypatch):
    monkeypatch.setattr("riffusion_space.profiling.measured_peak", lambda device, dtype: Peak(1e11, 1e10))
    text = report(tiny_pipe, "text2audio", REQUEST)
    assert "steps 3, guidance 2.0, scheduler dpm++" in text and torch.__version__ in text and "| decoder |" in text


@pytest.mark.parametrize("request_", (["train", "folder"], ["audio2image", "x.wav"]))
def test_what_no_checkpoint_plays_has_no_profile(request_, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["profile", *request_])
    assert stopped.value.code == 2 and "expected one that a checkpoint plays" in capsys.readouterr().err
