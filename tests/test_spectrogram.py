"""The facts of the format, what is refused, and EXIF both ways."""

from __future__ import annotations

import io

import pytest
import torch
import torchaudio
from PIL import Image

from riffusion_space.spectrogram import SpectrogramParams, from_exif, has_params, to_exif

CUSTOM = SpectrogramParams(
    sample_rate=48000,
    stereo=True,
    step_size_ms=20,
    window_duration_ms=80,
    padded_duration_ms=300,
    num_frequencies=256,
    min_frequency=40,
    max_frequency=12000,
    power_for_image=0.3,
)


def test_defaults_are_those_of_the_2022_checkpoint():
    params = SpectrogramParams()
    assert (params.hop_length, params.win_length, params.n_fft) == (441, 4410, 17640)
    assert params.columns_per_second == 100
    assert params.samples_for_columns(512) == 511 * 441


def test_columns_cover_samples_and_seconds():
    params = SpectrogramParams()
    assert [params.columns_for_samples(n) for n in (1, 440, 441, 442)] == [1, 1, 2, 2]
    assert [params.columns_for_seconds(s) for s in (0.01, 0.0101, 5.11)] == [2, 3, 512]
    for columns in range(1, 3000, 7):
        assert params.columns_for_seconds(params.seconds_for_columns(columns)) == columns


def test_bands_lie_where_torchaudio_puts_their_peaks():
    params = SpectrogramParams()
    bins = torch.linspace(0, 22050, 40_001)
    filters = torchaudio.functional.melscale_fbanks(40_001, 0, 10000, 512, 44100, norm=None, mel_scale="htk")
    peaks = bins[filters.argmax(0)]
    for band in (0, 1, 100, 511):
        assert params.band_to_hz(band) == pytest.approx(peaks[band].item(), abs=0.6)
        assert params.hz_to_band(params.band_to_hz(band)) == pytest.approx(band, abs=1e-6)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"sample_rate": 44101}, "whole number of samples"),
        ({"sample_rate": 22050}, "whole number of samples"),
        ({"sample_rate": 16000}, "half the sample rate"),
        ({"max_frequency": 22051}, "half the sample rate"),
        ({"min_frequency": 10000}, "min_frequency < max_frequency"),
        ({"min_frequency": -1}, "0 <= min_frequency"),
        ({"num_frequencies": 0}, "num_frequencies of at least 1"),
        ({"num_frequencies": 2000}, "wide enough to hold an FFT bin"),
        ({"padded_duration_ms": 50}, "at least the window"),
        ({"padded_duration_ms": 10_000}, "at most 131072 samples"),
        ({"step_size_ms": 60}, "at most half the window"),
        ({"step_size_ms": 0}, "step_size_ms of at least 1"),
        ({"power_for_image": 0.0}, "power_for_image above 0"),
        ({"power_for_image": float("nan")}, "power_for_image above 0"),
    ],
)
def test_impossible_parameters_are_refused(values, expected):
    with pytest.raises(ValueError, match=expected):
        SpectrogramParams(**values)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("params", [SpectrogramParams(), CUSTOM])
def test_exif_survives_a_file(file_format, params):
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, file_format, exif=to_exif(params, 123.456))
    read, max_value = from_exif(Image.open(file).getexif())
    assert read == params
    assert max_value == pytest.approx(123.456, rel=1e-12)


def test_exif_tags_are_the_original_ones():
    exif = to_exif(SpectrogramParams(stereo=True), 1.0)
    assert dict(exif) == {
        11000: 44100,
        11005: True,
        11010: 10,
        11020: 100,
        11030: 400,
        11040: 512,
        11050: 0,
        11060: 10000,
        11070: 0.25,
        11080: 32768.0,  # the original's samples have 16 bits
    }


def test_exif_of_a_photograph_is_no_spectrogram():
    exif = Image.Exif()
    exif[271] = "a camera"
    assert not has_params(exif)
    with pytest.raises(ValueError, match="11000.*11080 are missing"):
        from_exif(exif)


@pytest.mark.parametrize(
    ("tag", "value", "expected"),
    [
        (11000, "loud", "expected numbers"),
        (11010, 10.5, "whole number for step_size_ms"),
        (11000, 0, "sample_rate of at least 1"),
        (11040, 10**9, "wide enough"),
        (11070, -1.0, "power_for_image"),
        (11080, -1.0, "maximum of at least 0"),
        (11080, float("nan"), "maximum of at least 0"),
    ],
)
def test_damaged_exif_is_refused(tag, value, expected):
    exif = to_exif(SpectrogramParams(), 1.0)
    exif[tag] = value
    with pytest.raises(ValueError, match=expected):
        from_exif(exif)
