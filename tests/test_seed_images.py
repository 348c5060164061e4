import tracemalloc

import numpy as np
import pytest
from conftest import make_music
from PIL import Image

from riffusion_space.audio import Waveform, write_audio
from riffusion_space.codec import decode, encode
from riffusion_space.seed_images import built_in, load_seed_image, names
from riffusion_space.spectrogram import SpectrogramParams, from_exif

PARAMS = SpectrogramParams()


def test_there_are_at_least_five_whole_measure_loops():
    seeds = built_in()
    assert len(seeds) >= 5 and len(set(names())) == len(seeds)
    for seed in seeds:
        assert seed.bpm == pytest.approx(seed.bars * 4 * 60 / 5.12, abs=0.01)
        with Image.open(seed.path) as image:
            assert image.size == (512, 512) and from_exif(image.getexif())[0] == PARAMS


@pytest.mark.parametrize("seed", built_in(), ids=lambda seed: seed.name)
def test_a_loops_end_runs_into_its_start(seed):
    """Between the last column and the first the picture changes no more than it does at any beat inside."""
    pixels = np.asarray(load_seed_image(seed.name, PARAMS))[:, :, 0].astype(float)
    inside = np.abs(np.diff(pixels, axis=1)).mean(0)
    assert np.abs(pixels[:, 0] - pixels[:, -1]).mean() <= inside.max()


def test_tempo_of_the_beat_is_the_one_stated():
    """The onsets repeat with the beat's period: the autocorrelation of the loop's energy peaks there."""
    seed = next(s for s in built_in() if s.name == "beat")
    energy = (255 - np.asarray(load_seed_image("beat", PARAMS))[:, :, 0].astype(float)).mean(0)
    rise = np.clip(np.diff(energy, append=energy[0]), 0, None)
    rise -= rise.mean()
    circular = np.fft.irfft(np.abs(np.fft.rfft(rise)) ** 2)
    beat = 60 / seed.bpm * 100  # columns
    candidates = np.arange(round(beat * 0.8), round(beat * 1.25))
    assert abs(candidates[circular[candidates].argmax()] - beat) <= 1


def test_own_files_serve(tmp_path):
    path = write_audio(make_music(8.0), tmp_path / "mine.mp3")
    assert load_seed_image(path, PARAMS).size == (512, 512)
    bar = np.asarray(load_seed_image(write_audio(make_music(2.0), tmp_path / "bar.wav"), PARAMS))
    assert np.array_equal(bar[:, 200:400], bar[:, :200])  # of 2 s: the second time right after the first
    narrow = Image.fromarray(np.tile(np.arange(100, dtype=np.uint8), (512, 1)))
    loop = np.asarray(load_seed_image(narrow, PARAMS))
    assert np.array_equal(loop[:, 100:200], loop[:, :100])
    assert decode(load_seed_image("beat", PARAMS)).num_samples == 511 * 441


def test_stereo_is_mixed_down():
    stereo = encode(make_music(6.0, channels=2))
    mixed = np.asarray(load_seed_image(stereo, PARAMS), float)
    assert (mixed[..., 0] == mixed[..., 1]).all() and (mixed[..., 0] == mixed[..., 2]).all()
    left, right = np.asarray(stereo, float)[:, :512, 1:].transpose(2, 0, 1)
    assert (mixed[..., 0] >= np.minimum(left, right) - 1).all() and (mixed[..., 0] <= np.maximum(left, right) + 1).all()


def test_of_a_long_sound_only_the_beginning_is_decoded(tmp_path):
    music = make_music(5.2)
    song = Waveform(np.concatenate([music.samples, np.zeros((1, 300 * 44_100), np.float32)], 1), 44_100)
    path = write_audio(song, tmp_path / "long.flac")
    tracemalloc.start()
    loop = load_seed_image(path, PARAMS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < song.samples.nbytes / 4
    expected = np.asarray(encode(music.sliced(0, 512 * 441)), float)[:, :512]
    assert np.abs(np.asarray(loop) - expected).mean() < 1  # FLAC holds 16 bits


def test_refusals(tmp_path):
    text = tmp_path / "notes.png"
    text.write_text("no image")
    with pytest.raises(ValueError, match="'notes.png' is none or is damaged"):
        load_seed_image(text, PARAMS)
    cut = tmp_path / "cut.png"
    cut.write_bytes(built_in()[0].path.read_bytes()[:20_000])
    with pytest.raises(ValueError, match="'cut.png' is none or is damaged"):
        load_seed_image(cut, PARAMS)
    vast = tmp_path / "vast.png"
    Image.new("1", (20_000, 20_000)).save(vast)
    with pytest.raises(ValueError, match="at most 64000000 pixels"):
        load_seed_image(vast, PARAMS)
    other = encode(make_music(1.0), SpectrogramParams(step_size_ms=20))
    with pytest.raises(ValueError, match="scale of time and frequency"):
        load_seed_image(other, PARAMS)
    with pytest.raises(ValueError, match="got 'nothing'"):
        load_seed_image("nothing", PARAMS)
    with pytest.raises(ValueError, match="got 1 x 1"):
        load_seed_image(Image.new("L", (1, 1)), PARAMS)
