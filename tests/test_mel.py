"""Mel amplitudes beside torchaudio's, and the small grid."""

from __future__ import annotations

import pytest
import torch
import torchaudio
from conftest import make_music

from riffusion_space.mel import fitted_amplitudes, linear_amplitudes, mel_amplitudes, small_grid
from riffusion_space.spectrogram import SpectrogramParams

PARAMS = SpectrogramParams()


def music(seconds: float, channels: int = 1) -> torch.Tensor:
    return torch.from_numpy(make_music(seconds, channels).samples)


def original(samples: torch.Tensor) -> torch.Tensor:
    """The transform that the 2022 checkpoint was trained on."""
    return torchaudio.transforms.MelSpectrogram(
        sample_rate=44100,
        n_fft=17640,
        win_length=4410,
        hop_length=441,
        n_mels=512,
        f_min=0,
        f_max=10000,
        power=1.0,
        norm=None,
        mel_scale="htk",
    )(samples)


@pytest.mark.parametrize("samples", [9000, 44100, 6 * 44100 + 123])  # the last one takes more than one chunk
def test_equals_torchaudio_at_the_original_settings(samples):
    sound = music(samples / 44100, channels=2)[:, :samples]
    expected = original(sound)
    mel = mel_amplitudes(sound, PARAMS)
    assert mel.shape == expected.shape == (2, 512, PARAMS.columns_for_samples(samples))
    assert (mel - expected).abs().max() < 1e-6 * expected.max()


@pytest.mark.parametrize("samples", [1, 2, 440, 441, 2205])
def test_a_short_signal_is_followed_by_silence(samples):
    sound = music(0.1)[:, :samples]
    followed = torch.nn.functional.pad(sound, (0, 9000))
    mel = mel_amplitudes(sound, PARAMS)
    assert mel.shape == (1, 512, 1 + samples // 441)
    assert torch.allclose(mel[..., 0], original(followed)[..., 0], atol=1e-4)


def test_what_cannot_be_analysed_is_refused():
    with pytest.raises(ValueError, match="shape"):
        mel_amplitudes(torch.zeros(1, 0), PARAMS)
    with pytest.raises(ValueError, match="NaN"):
        mel_amplitudes(torch.tensor([[0.0, float("nan")]]), PARAMS)


def test_padding_only_samples_the_spectrum_more_finely():
    frame = music(0.1)[0, :4410] * torch.hann_window(4410)
    padded = torch.fft.rfft(frame, n=17640).abs()
    assert torch.allclose(padded[::4], torch.fft.rfft(frame).abs(), atol=1e-3)


def test_the_default_grid_is_small():
    grid = small_grid(PARAMS)
    assert (grid.sample_rate, grid.stride, grid.win_length, grid.hop_length) == (21600, 2, 2160, 432)
    assert (grid.n_fft, grid.bins, grid.spacing) == (3200, 1601, 6.75)


@pytest.mark.parametrize(
    ("values", "rate"),
    [
        ({"sample_rate": 48000}, 21600),
        ({"max_frequency": 20000}, 43200),
        ({"max_frequency": 22050}, 44100),  # nothing above to leave out
        ({"sample_rate": 21600}, 21600),
    ],
)
def test_the_grid_keeps_the_full_rate_where_no_lower_one_fits(values, rate):
    params = SpectrogramParams(**values)
    grid = small_grid(params)
    assert grid.sample_rate == rate
    assert grid.win_length * 1000 == rate * params.window_duration_ms
    assert grid.hop_length * 1000 == rate * grid.stride * params.step_size_ms


def test_linear_amplitudes_are_the_least_squares_ones_of_torchaudio():
    mel = mel_amplitudes(music(0.5), PARAMS)
    inverse = torchaudio.transforms.InverseMelScale(8821, 512, 44100, 0, 10000, norm=None, mel_scale="htk")
    expected = inverse(mel).transpose(1, 2) * 21600 / 44100
    linear = linear_amplitudes(mel.transpose(1, 2), PARAMS)
    assert linear.shape == (1, mel.shape[2], 1601)
    # Every 10th bin of the small grid is every 27th of the padded one; those between are interpolated.
    assert (linear[..., :1482:10] - expected[..., :4001:27]).abs().max() < 1e-3 * expected.max()
    assert linear[..., 1483:].max() == 0


def test_linear_amplitudes_follow_the_padding():
    params = SpectrogramParams(padded_duration_ms=250)
    time = torch.arange(44100) / 44100
    mel = mel_amplitudes(torch.sin(2 * torch.pi * 3000 * time)[None], params)
    linear = linear_amplitudes(mel.transpose(1, 2), params)
    assert abs(int(linear[0, 50].argmax()) * small_grid(params).spacing - 3000) <= 20


def test_fitting_comes_nearer_to_the_mel_amplitudes_and_leaves_the_low_ones():
    torch.manual_seed(0)
    mel = mel_amplitudes(music(1.0, channels=2), PARAMS).transpose(1, 2)
    magnitudes = linear_amplitudes(mel, PARAMS)
    current = magnitudes * (0.5 + torch.rand_like(magnitudes))
    fitted = fitted_amplitudes(current, magnitudes, mel, PARAMS)
    again = fitted_amplitudes(fitted, magnitudes, mel, PARAMS)
    assert (fitted >= 0).all()
    high = slice(230, 1480)  # 1.5 to 10 kHz
    assert (again - fitted)[..., high].norm() < 0.5 * (fitted - current)[..., high].norm()
    assert torch.equal(fitted[..., :80], magnitudes[..., :80])
    alone = fitted_amplitudes(current[1:], magnitudes[1:], mel[1:], PARAMS)
    assert torch.allclose(fitted[1:], alone, rtol=1e-5)
