"""The facts of a Riffusion spectrogram image: one frozen dataclass, everything else derived from it.

A checkpoint understands exactly the format it was trained on. The defaults are those of the 2022 checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from PIL import Image

CLIP_COLUMNS = 512  # columns in the square images that the 2022 checkpoint was trained on

# EXIF tag of each field, as the original Riffusion code writes them.
_FIELD_TAGS = {
    "sample_rate": 11000,
    "stereo": 11005,
    "step_size_ms": 11010,
    "window_duration_ms": 11020,
    "padded_duration_ms": 11030,
    "num_frequencies": 11040,
    "min_frequency": 11050,
    "max_frequency": 11060,
    "power_for_image": 11070,
}
_MAX_VALUE_TAG = 11080

# Parameters may come out of an uploaded image: a frame longer than this, 0.6 s at 192 kHz, would only take memory.
_MAX_N_FFT = 1 << 17

# The original measures magnitudes on 16-bit samples, this library on samples in -1..1. The tag holds the
# original's scale, so that either reads the other's images at the right level.
_EXIF_SCALE = 32768.0


@dataclass(frozen=True)
class SpectrogramParams:
    """Parameters of a mel spectrogram image; frequencies in Hz, durations in ms.

    Raises:
        ValueError: a value is impossible, such as a hop that is not a whole number of samples.
    """

    sample_rate: int = 44100
    stereo: bool = False
    step_size_ms: int = 10
    window_duration_ms: int = 100
    padded_duration_ms: int = 400
    num_frequencies: int = 512
    min_frequency: int = 0
    max_frequency: int = 10000
    power_for_image: float = 0.25

    def __post_init__(self) -> None:
        for name in ("sample_rate", "step_size_ms", "window_duration_ms", "padded_duration_ms", "num_frequencies"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")
        for name in ("step_size_ms", "window_duration_ms", "padded_duration_ms"):
            samples = self.sample_rate * getattr(self, name) / 1000
            if samples != int(samples):
                raise ValueError(
                    f"expected {name} to be a whole number of samples, got {getattr(self, name)} ms, "
                    f"which is {samples:g} samples at {self.sample_rate} Hz"
                )
        if self.n_fft > _MAX_N_FFT:
            raise ValueError(f"expected a padded frame of at most {_MAX_N_FFT} samples, got {self.n_fft}")
        if 2 * self.step_size_ms > self.window_duration_ms:
            raise ValueError(
                f"expected step_size_ms of at most half the window of {self.window_duration_ms} ms, "
                f"got {self.step_size_ms} ms"
            )
        if self.padded_duration_ms < self.window_duration_ms:
            raise ValueError(
                f"expected padded_duration_ms of at least the window of {self.window_duration_ms} ms, "
                f"got {self.padded_duration_ms} ms"
            )
        if not 0 <= self.min_frequency < self.max_frequency <= self.sample_rate / 2:
            raise ValueError(
                f"expected 0 <= min_frequency < max_frequency <= {self.sample_rate / 2:g} Hz, half the sample "
                f"rate, got {self.min_frequency} and {self.max_frequency} Hz"
            )
        if not 0 < self.power_for_image < math.inf:
            raise ValueError(f"expected power_for_image above 0, got {self.power_for_image}")
        self._check_bands()

    def _check_bands(self) -> None:
        spacing = self.sample_rate / self.n_fft
        for band in range(self.num_frequencies):
            low, high = self.band_to_hz(band - 1), self.band_to_hz(band + 1)
            if (math.floor(low / spacing) + 1) * spacing >= high:
                raise ValueError(
                    f"expected bands wide enough to hold an FFT bin ({spacing:g} Hz apart), got "
                    f"num_frequencies={self.num_frequencies}, whose band {band} spans {low:.2f} to {high:.2f} Hz"
                )

    @property
    def hop_length(self) -> int:
        """Samples from one column to the next."""
        return self.sample_rate * self.step_size_ms // 1000

    @property
    def step_s(self) -> float:
        """Seconds from one column to the next."""
        return self.hop_length / self.sample_rate

    @property
    def win_length(self) -> int:
        """Samples in the Hann window."""
        return self.sample_rate * self.window_duration_ms // 1000

    @property
    def n_fft(self) -> int:
        """Samples in the zero-padded frame that is transformed."""
        return self.sample_rate * self.padded_duration_ms // 1000

    @property
    def columns_per_second(self) -> float:
        return 1000 / self.step_size_ms

    def columns_for_samples(self, samples: int) -> int:
        """Columns of the spectrogram of ``samples`` samples.

        >>> SpectrogramParams().columns_for_samples(511 * 441)
        512
        """
        return 1 + samples // self.hop_length

    def samples_for_columns(self, columns: int) -> int:
        """Samples that ``columns`` columns decode to.

        >>> SpectrogramParams().samples_for_columns(512)
        225351
        """
        return (columns - 1) * self.hop_length

    def columns_for_seconds(self, seconds: float) -> int:
        """The fewest columns that decode to at least ``seconds``.

        >>> SpectrogramParams().columns_for_seconds(5.11)
        512
        """
        # A duration that was itself computed from columns must not gain one by rounding.
        return 1 + math.ceil(seconds * self.columns_per_second - 1e-6)

    def seconds_for_columns(self, columns: int) -> float:
        """Duration that ``columns`` columns decode to, in seconds.

        >>> SpectrogramParams().seconds_for_columns(512)
        5.11
        """
        return self.samples_for_columns(columns) / self.sample_rate

    def band_to_hz(self, band: float) -> float:
        """Centre frequency of a mel band, 0 being the lowest (HTK scale)."""
        low, high = _hz_to_mel(self.min_frequency), _hz_to_mel(self.max_frequency)
        return _mel_to_hz(low + (high - low) * (band + 1) / (self.num_frequencies + 1))

    def hz_to_band(self, hz: float) -> float:
        """Inverse of :meth:`band_to_hz`; a fraction between centres."""
        low, high = _hz_to_mel(self.min_frequency), _hz_to_mel(self.max_frequency)
        return (_hz_to_mel(hz) - low) / (high - low) * (self.num_frequencies + 1) - 1


def _hz_to_mel(hz: float) -> float:
    return 2595 * math.log10(1 + hz / 700)


def _mel_to_hz(mel: float) -> float:
    return 700 * (10 ** (mel / 2595) - 1)


def to_exif(params: SpectrogramParams, max_value: float) -> Image.Exif:
    """EXIF that makes an image decodable: the parameters and the amplitude of its darkest pixel.

    Args:
        max_value: mel amplitude of pixel 0, for samples in -1..1; 0 for silence.
    """
    exif = Image.Exif()
    for name, tag in _FIELD_TAGS.items():
        exif[tag] = getattr(params, name)
    exif[_MAX_VALUE_TAG] = float(max_value) * _EXIF_SCALE
    return exif


def has_params(exif: Image.Exif) -> bool:
    """Whether any of the tags of a Riffusion spectrogram is there."""
    return any(tag in exif for tag in (*_FIELD_TAGS.values(), _MAX_VALUE_TAG))


def from_exif(exif: Image.Exif) -> tuple[SpectrogramParams, float]:
    """Parameters and maximum that :func:`to_exif` wrote.

    Raises:
        ValueError: a tag is missing or holds an impossible value.
    """
    missing = [str(tag) for tag in (*_FIELD_TAGS.values(), _MAX_VALUE_TAG) if tag not in exif]
    if missing:
        raise ValueError(f"expected the EXIF tags of a spectrogram image, but {', '.join(missing)} are missing")
    try:
        values = {name: float(exif[tag]) for name, tag in _FIELD_TAGS.items()}
        max_value = float(exif[_MAX_VALUE_TAG]) / _EXIF_SCALE
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected numbers in the EXIF tags of a spectrogram image: {error}") from error
    power = values.pop("power_for_image")
    for name, value in values.items():
        if not value.is_integer():
            raise ValueError(f"expected a whole number for {name} in EXIF tag {_FIELD_TAGS[name]}, got {value}")
    if not 0 <= max_value < math.inf:
        raise ValueError(f"expected a maximum of at least 0 in EXIF tag {_MAX_VALUE_TAG}, got {max_value}")
    whole = {name: int(value) for name, value in values.items()}
    return SpectrogramParams(**whole | {"stereo": bool(whole["stereo"])}, power_for_image=power), max_value
