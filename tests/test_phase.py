"""Phase reconstruction: beside torchaudio's, seeded, in chunks without seams, in stereo."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torchaudio
from conftest import make_music

from riffusion_space import phase
from riffusion_space.audio import Waveform
from riffusion_space.mel import mel_amplitudes
from riffusion_space.phase import reconstruct
from riffusion_space.spectrogram import SpectrogramParams

PARAMS = SpectrogramParams()


def mel_of(wave: Waveform, params: SpectrogramParams = PARAMS) -> torch.Tensor:
    return mel_amplitudes(torch.from_numpy(wave.samples), params)


def error(samples: torch.Tensor, mel: torch.Tensor, params: SpectrogramParams = PARAMS) -> float:
    """Mel spectral convergence."""
    return ((mel_amplitudes(samples, params) - mel).norm() / mel.norm()).item()


def test_converges_no_worse_than_torchaudio_at_the_original_settings():
    mel = mel_of(make_music(2.5))
    torch.manual_seed(0)
    linear = torchaudio.transforms.InverseMelScale(8821, 512, 44100, 0, 10000, norm=None, mel_scale="htk")(mel)
    original = torchaudio.transforms.GriffinLim(17640, 32, 4410, 441, power=1.0, momentum=0.99)
    samples = reconstruct(mel, PARAMS)
    assert samples.shape == (1, PARAMS.samples_for_columns(mel.shape[2]))
    assert error(samples, mel) < min(0.1, error(original(linear), mel))


@pytest.mark.parametrize(
    "values",
    [
        {"sample_rate": 48000},
        {"max_frequency": 20000},
        {"max_frequency": 22050},
        {"window_duration_ms": 110, "padded_duration_ms": 390},
        {"step_size_ms": 20, "window_duration_ms": 50, "padded_duration_ms": 200, "num_frequencies": 128},
        {"sample_rate": 8000, "min_frequency": 100, "max_frequency": 3000, "num_frequencies": 64},
    ],
)
def test_other_parameters(values):
    params = SpectrogramParams(**values)
    mel = mel_of(make_music(1.0, rate=params.sample_rate), params)
    samples = reconstruct(mel, params)
    assert samples.shape == (1, params.samples_for_columns(mel.shape[2]))
    assert error(samples, mel, params) < 0.15


def test_the_seed_decides():
    mel = mel_of(make_music(0.5))
    assert torch.equal(reconstruct(mel, PARAMS, seed=3), reconstruct(mel, PARAMS, seed=3))
    assert not torch.allclose(reconstruct(mel, PARAMS, seed=3), reconstruct(mel, PARAMS, seed=4), atol=1e-3)


def test_an_item_does_not_depend_on_its_batch():
    mel = torch.cat([mel_of(make_music(0.5, seed=seed)) * gain for seed, gain in enumerate((1.0, 0.1, 10.0))])
    together = reconstruct(mel, PARAMS, iterations=8)
    alone = torch.cat([reconstruct(item[None], PARAMS, iterations=8) for item in mel])
    assert (together - alone).abs().amax(1).div(alone.abs().amax(1)).max() < 1e-3


def test_no_seam_between_chunks(monkeypatch):
    monkeypatch.setattr(phase, "_CHUNK_FRAMES", 60)
    wave = make_music(5.0)
    mel = mel_of(wave)[..., :-1]
    samples = reconstruct(mel, PARAMS)
    decoded = mel_amplitudes(samples, PARAMS)
    frames = math.ceil((mel.shape[2] - 1) / 2) + 1  # two columns apart
    borders = [2 * frame for frame in phase._chunk_bounds(frames)[1:-1]]
    assert len(borders) == 4
    errors = (decoded - mel).norm(dim=1)[0] / mel.norm(dim=1)[0]
    levels = 20 * torch.log10(decoded.norm(dim=1) / mel.norm(dim=1))[0]
    # A chunk takes over up to 12 columns before its border.
    around = torch.cat([torch.arange(border - 18, border + 11) for border in borders])
    inside = torch.tensor([c for c in range(20, mel.shape[2] - 20) if c not in around])
    assert errors[around].mean() < 1.25 * errors[inside].mean()
    assert levels[around].abs().max() < 0.5
    # A click would stand out in the differences of differences between samples.
    rough = samples.diff(n=2).abs()[0, : 441 * (mel.shape[2] - 2)].unflatten(0, (-1, 441)).amax(1)
    assert rough[around].max() <= rough[inside].max()


def test_chunks_continue_the_phase(monkeypatch):
    """A steady tone stays one tone over many chunks."""
    monkeypatch.setattr(phase, "_CHUNK_FRAMES", 50)
    time = np.arange(4 * 44100) / 44100
    mel = mel_of(Waveform(0.5 * np.sin(2 * np.pi * 440 * time)[None], 44100))
    samples = reconstruct(mel, PARAMS)[0, 8820:-8820].double().numpy()  # away from the ends
    tone = np.exp(-2j * np.pi * 440 * np.arange(len(samples)) / 44100)
    turned = np.unwrap(np.angle(np.convolve(samples * tone, np.ones(441) / 441, "valid")))
    assert np.abs(turned[4410:] - turned[:-4410]).max() < 0.3  # radians in 100 ms: within half a hertz


def test_the_ends_do_not_click():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(44100)
    mel = mel_of(Waveform(0.1 * np.convolve(noise, np.ones(8) / 8, "same")[None], 44100))
    decoded = mel_amplitudes(reconstruct(mel, PARAMS), PARAMS)
    top = 20 * torch.log10(decoded[0, 400:].norm(dim=0) / mel[0, 400:].norm(dim=0))
    assert top[[0, 1, -2, -1]].abs().max() < 2.0


def test_resampling_in_blocks_changes_nothing(monkeypatch):
    def tone(rate: int) -> torch.Tensor:
        return torch.sin(2 * math.pi * 440 * torch.arange(rate) / rate)[None]

    whole = phase._resampled(tone(21600), 1080, 40000, 21600, 44100)
    assert (whole - tone(44100)[:, 2205:42205]).abs().max() < 1e-3
    monkeypatch.setattr(phase, "_RESAMPLED_AT_ONCE", 3000)
    assert (phase._resampled(tone(21600), 1080, 40000, 21600, 44100) - whole).abs().max() < 1e-5


def side_to_mid(samples: torch.Tensor | np.ndarray) -> float:
    left, right = np.asarray(samples, np.float64)
    return 10 * math.log10(((left - right) ** 2).sum() / ((left + right) ** 2).sum())


def test_channels_of_one_sound_keep_their_width():
    middle, sides = make_music(1.5, seed=1).samples, make_music(1.5, channels=2, seed=2).samples
    wave = Waveform(middle + 0.5 * sides, 44100)
    together = reconstruct(mel_of(wave), PARAMS, channels=2)
    apart = reconstruct(mel_of(wave), PARAMS)
    assert error(together, mel_of(wave)) < 0.1
    width = side_to_mid(wave.samples)
    assert abs(side_to_mid(together) - width) < 4 < abs(side_to_mid(apart) - width)


def test_equal_channels_stay_equal():
    mel = mel_of(make_music(0.4)).repeat(2, 1, 1)
    left, right = reconstruct(mel, PARAMS, channels=2, iterations=8)
    assert torch.allclose(left, right, atol=1e-5)


@pytest.mark.parametrize("columns", [2, 3, 4, 5, 12])
def test_few_columns(columns):
    samples = reconstruct(mel_of(make_music(0.5))[..., :columns], PARAMS)
    assert samples.shape == (1, (columns - 1) * 441)
    assert samples.isfinite().all() and samples.abs().max() > 1e-3


def test_silence_is_silent():
    assert reconstruct(torch.zeros(1, 512, 30), PARAMS).abs().max() == 0


def test_progress_rises_to_one_and_may_end_the_work(monkeypatch):
    monkeypatch.setattr(phase, "_CHUNK_FRAMES", 20)
    mel, seen = mel_of(make_music(0.8)).repeat(2, 1, 1), []
    reconstruct(mel, PARAMS, iterations=4, progress=seen.append, channels=2)
    assert all(a < b for a, b in itertools.pairwise(seen))
    assert seen[-1] == 1 and len(seen) == 3 * (4 + 2)

    class Cancelled(Exception):
        pass

    def cancel(fraction: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        reconstruct(mel, PARAMS, progress=cancel)


@pytest.mark.parametrize(
    ("mel", "options", "expected"),
    [
        (torch.ones(512, 10), {}, "shape"),
        (torch.ones(1, 512, 1), {}, "at least 2 columns"),
        (torch.ones(1, 511, 10), {}, "512"),
        (torch.ones(0, 512, 10), {}, "at least 1 item"),
        (torch.full((1, 512, 10), math.nan), {}, "finite"),
        (torch.full((1, 512, 10), math.inf), {}, "finite"),
        (torch.full((1, 512, 10), -1.0), {}, "at least 0"),
        (torch.ones(1, 512, 10), {"iterations": 0}, "1 iteration"),
        (torch.ones(3, 512, 10), {"channels": 2}, "2 channels"),
    ],
)
def test_what_is_no_mel_spectrogram_is_refused(mel, options, expected):
    with pytest.raises(ValueError, match=expected):
        reconstruct(mel, PARAMS, **options)
