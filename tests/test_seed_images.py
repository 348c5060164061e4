import numpy as np
import pytest
from conftest import make_music
from PIL import Image

from riffusion_space.audio import write_audio
from riffusion_space.codec import decode
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
    narrow = Image.fromarray(np.tile(np.arange(100, dtype=np.uint8), (512, 1)))
    loop = np.asarray(load_seed_image(narrow, PARAMS))
    assert np.array_equal(loop[:, 100:200], loop[:, :100])
    assert decode(load_seed_image("beat", PARAMS)).num_samples == 511 * 441


def test_refusals(tmp_path):
    text = tmp_path / "notes.png"
    text.write_text("no image")
    with pytest.raises(ValueError, match="notes.png is neither"):
        load_seed_image(text, PARAMS)
    with pytest.raises(ValueError, match="got 'nothing'"):
        load_seed_image("nothing", PARAMS)
    with pytest.raises(ValueError, match="got 1 x 1"):
        load_seed_image(Image.new("L", (1, 1)), PARAMS)
