"""Loops: the end runs into the beginning, in the samples, in their spectrum and in the picture's phase."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import make_music

from riffusion_space.audio import Waveform
from riffusion_space.latents import decode_circular, decode_latents
from riffusion_space.looping import columns_at, reconstruct_loop
from riffusion_space.mel import mel_amplitudes
from riffusion_space.pipeline import RiffusionPipeline
from riffusion_space.spectrogram import SpectrogramParams

PARAMS = SpectrogramParams()
FAST = {"steps": 2, "guidance": 2.0, "seed": 7}


def repeated_mel(loop: np.ndarray, columns: int) -> torch.Tensor:
    """Mel amplitudes (1, bands, columns) of samples (n,) that go on without end, evenly over them."""
    mel = mel_amplitudes(torch.from_numpy(np.tile(loop, 3)[None].astype(np.float32)), PARAMS)
    return columns_at(mel, (len(loop) + torch.arange(columns) * len(loop) / columns) / PARAMS.hop_length)


def join_against_interior(wave: Waveform) -> dict[str, float]:
    """At the join of a sound that is repeated, against the interior: the largest second difference of samples within
    10 ms as a share of the interior's largest, and the spectral flux there as a share of the interior's 99th
    percentile.
    """
    loop, margin = wave.samples[0], 441
    rough = np.abs(np.diff(np.tile(loop, 2), 2))
    at_join = rough[len(loop) - margin : len(loop) + margin].max()
    mel = repeated_mel(loop, len(loop) // PARAMS.hop_length)[0].numpy() ** PARAMS.power_for_image
    flux = np.linalg.norm(mel - np.roll(mel, 1, 1), axis=0)
    return {"jump": float(at_join / rough[margin : len(loop) - margin].max()),
            "flux": float(flux[[-2, -1, 0, 1, 2]].max() / np.quantile(flux[5:-5], 0.99))}


def test_a_tone_of_no_whole_number_of_columns_has_no_join():
    samples = round(4 * 60 / 130 * PARAMS.sample_rate)  # a bar: 184.6 columns
    tone = 0.5 * np.sin(2 * np.pi * 812 * np.arange(samples) / samples)
    mel = repeated_mel(tone, 184)
    found = reconstruct_loop(mel, samples, PARAMS)
    assert found.shape == (1, samples)
    again = repeated_mel(found[0].numpy(), 184)
    assert (again - mel).norm() < 0.05 * mel.norm()
    levels = again.norm(dim=1)[0] / mel.norm(dim=1)[0]
    assert levels.min() > 0.97 and levels.max() < 1.03  # a tone whose phase does not come out even would dip
    pitch = np.abs(np.fft.rfft(found[0].numpy())).argmax()
    assert pitch == 812  # of as many periods as before: neither sharp nor flat


def test_music_is_as_good_at_the_join_as_inside():
    wave = make_music(2.0)
    mel = repeated_mel(wave.samples[0], 200)
    found = reconstruct_loop(mel, wave.num_samples, PARAMS)[0].numpy()
    errors = (repeated_mel(found, 200) - mel).norm(dim=1)[0] / mel.norm(dim=1).mean()
    assert errors[[*range(-5, 6)]].mean() < 1.5 * errors[20:-20].mean()


def test_reconstruct_loop_is_seeded_and_refuses_what_it_cannot_do():
    mel = repeated_mel(make_music(1.0).samples[0], 100)
    one, two, other = (reconstruct_loop(mel, 44_100, PARAMS, seed, iterations=4) for seed in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)
    with pytest.raises(ValueError, match="at least 8820 samples"):
        reconstruct_loop(mel, 4410, PARAMS)
    with pytest.raises(ValueError, match="512"):
        reconstruct_loop(mel[:, :100], 44_100, PARAMS)
    assert reconstruct_loop(torch.zeros(1, 512, 100), 44_100, PARAMS).abs().max() == 0


def test_columns_between_columns_and_over_the_join():
    picture = torch.tensor([[0.0, 10.0, 20.0, 30.0]])
    assert columns_at(picture, torch.tensor([0.0, 1.5, 3.5, 4.0, -1.0]).double()).tolist() == [[0, 15, 15, 0, 30]]


@pytest.mark.parametrize("width", [13, 46, 64, 100])
def test_a_circular_decoding_turns_with_its_latents(tiny_pipe, width):
    latents = torch.randn(1, 4, 64, width, generator=torch.Generator().manual_seed(0))
    pixels = decode_circular(latents, tiny_pipe.checkpoint, tiny_pipe.grid)
    assert pixels.shape == (1, 512, width * 8)
    seam = (pixels[..., 0].float() - pixels[..., -1].float()).abs().mean()
    inside = pixels.float().diff(dim=-1).abs().mean((0, 1))
    assert seam <= inside.max()
    plain = decode_latents(latents.repeat(1, 1, 1, 8), tiny_pipe.checkpoint, tiny_pipe.grid, width * 64)
    middle = plain[..., width * 32 : width * 40].float()
    assert (pixels.float() - middle).abs().mean() < 4  # of 255: another context, the same picture


@pytest.mark.parametrize("arguments, samples", [
    ({"duration_s": 3.3}, 145_530), ({"bpm": 130, "bars": 2}, round(2 * 4 * 60 / 130 * 44_100)),
    ({"bpm": 97.3, "duration_s": 12.0}, round(5 * 4 * 60 / 97.3 * 44_100)), ({"bpm": 240, "bars": 1}, 44_100),
])
def test_a_loop_is_exact_to_the_sample_and_repeats(tiny_pipe, arguments, samples):
    clip = tiny_pipe.text2audio("rain", loop=True, **arguments, **FAST)
    assert clip.audio.samples.shape == (1, samples)
    assert clip.audio.peak == pytest.approx(0.891, abs=0.001)
    assert clip.image.width == 1 + samples // 441
    join = join_against_interior(clip.audio)
    assert join["jump"] <= 1 and join["flux"] <= 1.5
    again = {k: v for k, v in clip.settings.items() if k not in ("task", "checkpoint", "revision", "dtype", "version")}
    assert np.array_equal(tiny_pipe.text2audio(**again).audio.samples, clip.audio.samples)


def test_a_loop_from_a_seed_image(tiny_pipe):
    clip = tiny_pipe.text2audio("rain", loop=True, seed_image="beat", strength=0.5, duration_s=5.12, **FAST)
    assert clip.audio.num_samples == 512 * 441


def test_the_embedded_checkpoints_loop_has_no_join():
    pipe = RiffusionPipeline.from_pretrained("embedded", "cpu")
    looped = pipe.text2audio("techno", loop=True, bpm=130, bars=1, seed=7, steps=8).audio
    assert looped.num_samples == round(240 / 130 * 44_100)
    join = join_against_interior(looped)
    assert join["jump"] <= 1 and join["flux"] <= 1
    # The measure sees a join where there is one: the same checkpoint's clip, cut to that length and repeated.
    cut = pipe.text2audio("techno, 130 bpm", duration_s=3.0, seed=7, steps=8).audio.sliced(44_100, 44_100 + 81_415)
    assert join_against_interior(cut)["flux"] > join["flux"]
