"""Sounds without notes, by synthesis: shaped noise, grains and sweeps that pass for weather, crowds and machines.

After the recipes of Farnell, "Designing Sound", 2010: what is heard is the band of the noise and how its level moves.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

RATE = 44_100


def synthesise(name: str, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """The ambience of that name: float32 (2, num_samples), peak 1."""
    sound = _SOUNDS[name](num_samples, rng)
    return (sound / max(1e-9, np.abs(sound).max())).astype(np.float32)


def _noise(n: int, rng: np.random.Generator, low: float, high: float, slope: float = 0.0) -> np.ndarray:
    """Noise (2, n) in a band in Hz with soft edges; ``slope`` in dB an octave."""
    spectrum = np.fft.rfft(rng.standard_normal((2, n)))
    hz = np.maximum(np.fft.rfftfreq(n, 1 / RATE), 1.0)
    gain = 1 / (1 + (low / hz) ** 4) / (1 + (hz / high) ** 4) * (hz / 1000) ** (slope / 6.02)
    sound = np.fft.irfft(spectrum * gain, n)
    return sound / np.abs(sound).std()


def _wander(n: int, rng: np.random.Generator, seconds: float) -> np.ndarray:
    """A smooth random curve in 0..1 that turns about every ``seconds``."""
    knots = rng.uniform(0, 1, int(n / RATE / seconds) + 3)
    x = np.linspace(0, len(knots) - 1.001, n)
    i, t = x.astype(int), x % 1
    t = t * t * (3 - 2 * t)
    return knots[i] * (1 - t) + knots[i + 1] * t


def _grains(n: int, rng: np.random.Generator, rate: float, seconds: tuple[float, float], hz: tuple[float, float],
            ) -> np.ndarray:
    """Short decaying bursts (2, n) at random times, ``rate`` a second: drops, claps, crackles."""
    sound = np.zeros((2, n))
    for start in rng.integers(0, n, rng.poisson(rate * n / RATE)):
        length = min(int(rng.uniform(*seconds) * RATE), n - start)
        if length < 8:
            continue
        t = np.arange(length) / RATE
        tone = np.sin(2 * np.pi * np.exp(rng.uniform(*np.log(hz))) * t + rng.uniform(0, 6.3))
        burst = (rng.standard_normal(length) * 0.6 + tone) * np.exp(-5 * np.arange(length) / length)
        pan = rng.uniform(0.2, 0.8)
        sound[:, start:start + length] += rng.exponential(1.0) * burst * np.array([[1 - pan], [pan]])
    return sound


def _rain(n: int, rng: np.random.Generator) -> np.ndarray:
    drops = _grains(n, rng, rng.uniform(150, 500), (0.003, 0.012), (2000, 8000))
    return _noise(n, rng, 800, 9000) * rng.uniform(0.15, 0.5) + drops


def _wind(n: int, rng: np.random.Generator) -> np.ndarray:
    gusts = sum(_noise(n, rng, centre * 0.9, centre * 1.1) * _wander(n, rng, 0.8) ** 2
                for centre in np.exp(rng.uniform(np.log(150), np.log(1200), 4)))
    return gusts + 0.3 * _noise(n, rng, 40, 400) * (0.3 + _wander(n, rng, 1.5))


def _waves(n: int, rng: np.random.Generator) -> np.ndarray:
    t = np.arange(n) / RATE
    swell = (0.5 + 0.5 * np.sin(2 * np.pi * (t / rng.uniform(2.5, 5) + rng.uniform()))) ** 3
    return _noise(n, rng, 60, 700) * (0.2 + 0.5 * swell) + _noise(n, rng, 700, 8000) * swell * 0.6


def _thunder(n: int, rng: np.random.Generator) -> np.ndarray:
    t = np.arange(n) / RATE
    sound = np.zeros((2, n))
    for start in rng.uniform(0, 2.5, rng.integers(1, 4)):
        after = np.clip(t - start, 0, None)
        roll = (t > start) * np.exp(-after / rng.uniform(0.8, 2.0)) * (1 - np.exp(-after / 0.03))
        sound += _noise(n, rng, 20, rng.uniform(120, 500)) * roll * (0.4 + _wander(n, rng, 0.15))
        sound += 0.4 * _noise(n, rng, 300, 5000) * (t > start) * np.exp(-after / 0.12)
    return sound + 0.05 * _rain(n, rng)


def _applause(n: int, rng: np.random.Generator) -> np.ndarray:
    claps = _grains(n, rng, rng.uniform(80, 300), (0.01, 0.03), (800, 2500))
    return claps * (0.5 + _wander(n, rng, 1.0)) + 0.1 * _noise(n, rng, 500, 4000)


def _fire(n: int, rng: np.random.Generator) -> np.ndarray:
    return (_grains(n, rng, rng.uniform(8, 30), (0.002, 0.015), (1500, 7000)) * 2
            + 0.25 * _noise(n, rng, 40, 500) * (0.4 + _wander(n, rng, 0.3)))


def _birdsong(n: int, rng: np.random.Generator) -> np.ndarray:
    sound = 0.01 * _noise(n, rng, 1000, 6000)
    for _ in range(rng.integers(2, 5)):  # birds, each with a call of its own
        base, depth, rate = rng.uniform(2200, 5500), rng.uniform(200, 1200), rng.uniform(8, 35)
        length, notes, pan = rng.uniform(0.05, 0.25), rng.integers(2, 7), rng.uniform(0.2, 0.8)
        for start in rng.uniform(0, n / RATE, rng.integers(2, 5)):
            for note in range(notes):
                begin = int((start + note * length * 1.4) * RATE)
                t = np.arange(max(0, min(int(length * RATE), n - begin))) / RATE
                hz = base + depth * np.sin(2 * np.pi * rate * t)
                chirp = np.sin(2 * np.pi * np.cumsum(hz) / RATE) * np.sin(np.pi * t / length) ** 2
                sound[:, begin:begin + len(t)] += chirp * np.array([[1 - pan], [pan]])
    return sound


def _crickets(n: int, rng: np.random.Generator) -> np.ndarray:
    t = np.arange(n) / RATE
    sound = 0.02 * _noise(n, rng, 200, 3000)
    for _ in range(rng.integers(2, 6)):
        hz, pulse, chirp = rng.uniform(3500, 5500), rng.uniform(25, 60), rng.uniform(0.8, 2.5)
        gate = (np.sin(2 * np.pi * (chirp * t + rng.uniform())) > rng.uniform(-0.5, 0.5)) * 1.0
        voice = np.sin(2 * np.pi * hz * t) * (0.5 + 0.5 * np.sin(2 * np.pi * pulse * t)) * gate
        pan = rng.uniform(0.2, 0.8)
        sound = sound + rng.uniform(0.3, 1) * voice * np.array([[1 - pan], [pan]])
    return sound


def _vinyl(n: int, rng: np.random.Generator) -> np.ndarray:
    return (_grains(n, rng, rng.uniform(15, 60), (0.0005, 0.003), (1000, 6000)) * 2
            + 0.15 * _noise(n, rng, 50, 8000, -3) + 0.3 * _noise(n, rng, 20, 60))


def _sweep(n: int, rng: np.random.Generator) -> np.ndarray:
    up = rng.random() < 0.7
    bands, sound = np.geomspace(150, 9000, 24), np.zeros((2, n))
    along = np.linspace(0, 23, n) ** 1.0
    along = along if up else along[::-1]
    for i, hz in enumerate(bands):
        sound += _noise(n, rng, hz * 0.85, hz * 1.18) * np.exp(-((along - i) / 2.0) ** 2)
    return sound * np.linspace(0.3, 1, n) ** (1 if up else -0.5)


def _siren(n: int, rng: np.random.Generator) -> np.ndarray:
    t = np.arange(n) / RATE
    rate, low, high = rng.uniform(0.3, 3), rng.uniform(450, 700), rng.uniform(900, 1500)
    wave = np.sin(2 * np.pi * rate * t)
    along = np.sign(wave) * 0.5 + 0.5 if rng.random() < 0.4 else wave * 0.5 + 0.5
    phase = 2 * np.pi * np.cumsum(low + (high - low) * along) / RATE
    voice = sum(np.sin(k * phase) / k for k in (1, 2, 3, 4))
    return np.stack([voice, voice]) + 0.02 * _noise(n, rng, 100, 4000)


def _heartbeat(n: int, rng: np.random.Generator) -> np.ndarray:
    t, sound = np.arange(n) / RATE, np.zeros(n)
    period, hz = 60 / rng.uniform(55, 120), rng.uniform(45, 75)
    for beat in np.arange(rng.uniform(0, period), n / RATE, period):
        for start, level in ((beat, 1.0), (beat + 0.3 * period, 0.7)):
            after = np.clip(t - start, 0, None)
            sound += level * np.sin(2 * np.pi * hz * after * (1 - after)) * np.exp(-after / 0.06) * (t > start)
    return np.stack([sound, sound]) + 0.003 * _noise(n, rng, 20, 200)


_SOUNDS: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "rain": _rain, "wind": _wind, "ocean waves": _waves, "thunder": _thunder, "applause": _applause, "fire": _fire,
    "birdsong": _birdsong, "crickets": _crickets, "vinyl crackle": _vinyl, "noise sweep": _sweep, "siren": _siren,
    "heartbeat": _heartbeat,
}
