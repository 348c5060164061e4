"""The app as its clients meet it: the real server on the embedded checkpoint, called by gradio_client."""

from __future__ import annotations

import inspect
import time
from pathlib import Path

import app_server
import numpy as np
import pytest
from conftest import make_music, write_pyav
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from gradio_client.utils import Status
from live_page import cpu_s
from PIL import Image

from riffusion_space import RiffusionPipeline, read_audio, read_settings
from riffusion_space.audio import Waveform, write_audio
from riffusion_space.spectrogram import from_exif

QUICK = {"steps": 2, "guidance": 1}
REFUSED_WITHIN_S = 1  # of the server's computing
# Far longer than any test waits, unless it is cancelled.
LONG = {"prompt": "techno", "duration_s": 120, "steps": 100, "api_name": "/text2audio"}


@pytest.fixture(scope="module")
def server():
    return app_server.start()


@pytest.fixture(scope="module")
def client(server):
    """A client of a server that has loaded its checkpoint."""
    client = Client(server.url, verbose=False)
    client.predict(prompt="harp", duration_s=1, **QUICK, api_name="/text2audio")
    return client


def refusal(client: Client, **arguments) -> str:
    """The one sentence that bad input is answered with, for little work."""
    server = app_server.start()
    before = cpu_s(server.pid)
    with pytest.raises(AppError) as error:
        client.predict(**arguments)
    text = str(error.value)
    assert "\n" not in text and len(text) < 400 and cpu_s(server.pid) - before < REFUSED_WITHIN_S
    return text


def test_page_is_there_while_the_checkpoint_loads(server):
    assert server.seconds_to_page < 30  # under 10 on an idle machine, which a machine that runs tests is not


TASKS = ("text2audio", "audio2audio", "interpolate", "inpaint", "extend", "arrange", "morph")


@pytest.mark.parametrize("task", TASKS)
def test_endpoint_takes_what_the_method_takes(client, task):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(endpoints) == {f"/{name}" for name in (*TASKS, "image2audio", "audio2image", "stream")}
    method = inspect.signature(getattr(RiffusionPipeline, task)).parameters
    of_python = {name: parameter.default for name, parameter in method.items()}
    for name in ("self", "progress", "cancel"):
        del of_python[name]
    of_page = {parameter["parameter_name"]: parameter for parameter in endpoints[f"/{task}"]["parameters"]}
    assert [name for name in of_page if name != "seed_file"] == list(of_python)
    for name, default in of_python.items():
        expected = {"scheduler": "recommended", "seed_image": "none", "key": "none"}.get(name, default)
        if default is not inspect.Parameter.empty:
            assert of_page[name]["parameter_has_default"] and of_page[name]["parameter_default"] == expected
    assert endpoints[f"/{task}"]["returns"][0]["component"] == "Audio"


def test_text2audio_with_defaults(client):
    sound, picture, settings = client.predict(prompt="church bells", seed=7, api_name="/text2audio")
    assert Path(sound).name == "church-bells-text2audio-seed7.wav"
    wave = read_audio(sound)
    assert (wave.channels, wave.sample_rate, wave.num_samples) == (1, 44100, 225351)
    assert wave.peak > 0.5
    assert settings == read_settings(sound)
    assert settings["prompt"] == "church bells" and settings["seed"] == 7 and settings["checkpoint"] == "embedded"
    with Image.open(picture) as image:
        assert image.width > 500
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 100  # coloured, not blank


def test_same_request_gives_the_same_file_in_a_folder_of_its_own(server):
    client = Client(server.url, verbose=False, download_files=False)
    first, second = (
        client.predict(prompt="harp", seed=3, duration_s=1, **QUICK, api_name="/text2audio")[0]["path"] for _ in "ab"
    )
    assert Path(first).parent != Path(second).parent
    assert Path(first).read_bytes() == Path(second).read_bytes()
    assert server.files.resolve() in Path(first).parents


def test_two_users_at_once_each_get_their_own(server):
    jobs = {
        seed: Client(server.url, verbose=False).submit(
            prompt="harp", seed=seed, duration_s=1, **QUICK, api_name="/text2audio"
        )
        for seed in (11, 12)
    }
    sounds = {seed: job.result(timeout=60)[0] for seed, job in jobs.items()}
    assert {seed: read_settings(sound)["seed"] for seed, sound in sounds.items()} == {11: 11, 12: 12}


def test_seed_image_of_ones_own(client, tmp_path):
    loop = write_audio(make_music(6), tmp_path / "loop.mp3")
    arguments = {"prompt": "piano", "seed": 1, "duration_s": 1, "strength": 0.5, **QUICK, "api_name": "/text2audio"}
    own = client.predict(**arguments, seed_file=handle_file(loop))
    built_in = client.predict(**arguments, seed_image="piano-chords")
    assert own[2]["seed_image"] == "loop.mp3" and built_in[2]["seed_image"] == "piano-chords"
    assert Path(own[0]).read_bytes() != Path(built_in[0]).read_bytes()


def test_restyles_8_s_of_stereo(client, tmp_path):
    song = write_audio(make_music(8, channels=2), tmp_path / "song.mp3")
    sound, _, settings = client.predict(
        audio=handle_file(song), prompt="music box", strength=0.4, seed=7, **QUICK, api_name="/audio2audio"
    )
    given, made = read_audio(song), read_audio(sound)
    assert (made.channels, made.num_samples) == (2, given.num_samples)
    assert settings["audio"] == "song.mp3"


@pytest.mark.parametrize(("suffix", "codec", "rate"), [(".m4a", "aac", 44100), (".webm", "libopus", 48000)])
def test_restyles_3_s_from_a_phone(client, tmp_path, suffix, codec, rate):
    recording = write_pyav(make_music(3, rate=rate), tmp_path / f"recording{suffix}", codec)
    sound, *_ = client.predict(audio=handle_file(recording), prompt="flute", seed=7, **QUICK, api_name="/audio2audio")
    assert read_audio(sound).duration_s == pytest.approx(3, abs=0.1)


def test_interpolates(client):
    sound, _, settings = client.predict(
        prompt_a="church bells", prompt_b="jazz piano", clips=2, seed=7, **QUICK, api_name="/interpolate"
    )
    assert read_audio(sound).num_samples == 1023 * 441
    assert settings["prompt_b"] == "jazz piano" and settings["clips"] == 2


def test_inpaints_regions_and_keeps_the_rest(client, tmp_path):
    song = write_audio(make_music(3, channels=2), tmp_path / "song.flac")
    sound, _, settings = client.predict(
        audio=handle_file(song), prompt="flute", regions=[[0.5, 1.0], [2, 2.5, 200, 2000]], seed=7, **QUICK,
        api_name="/inpaint",
    )
    given, made = read_audio(song).samples, read_audio(sound).samples
    outside = np.r_[0:22050, 44100:88200, 110250:132300]
    assert np.array_equal(given[:, outside], made[:, outside])  # both files hold 16 bits
    assert not np.array_equal(given[:, 22050:44100], made[:, 22050:44100])
    assert settings == read_settings(sound) and settings["regions"] == [[0.5, 1.0], [2.0, 2.5, 200.0, 2000.0]]


def test_extends(client, tmp_path):
    song = write_audio(make_music(2), tmp_path / "song.flac")
    sound, _, settings = client.predict(
        audio=handle_file(song), prompt="flute", seconds=1.5, side="left", seed=7, **QUICK, api_name="/extend"
    )
    given, made = read_audio(song).samples, read_audio(sound).samples
    assert made.shape[1] == given.shape[1] + 66150 and np.array_equal(made[:, 66150:], given)
    assert settings["side"] == "left" and settings["seconds"] == 1.5


def test_sound_to_image_and_back(client, tmp_path):
    song = write_audio(make_music(2, channels=2), tmp_path / "my song.flac")
    png, _ = client.predict(audio=handle_file(song), api_name="/audio2image")
    assert Path(png).name == "my-song.png"
    with Image.open(png) as image:
        assert image.size == (201, 512) and from_exif(image.getexif())[0].stereo
    sound, picture = client.predict(image=handle_file(png), api_name="/image2audio")
    back = read_audio(sound)
    assert (back.channels, back.num_samples) == (2, 88200)
    assert read_audio(song).peak == pytest.approx(back.peak, rel=0.5)
    with Image.open(picture) as image:
        assert image.width > 500


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"api_name": "/inpaint", "regions": [[1, 9]]}, "Expected a region inside the sound of 2.00 s"),
        ({"api_name": "/inpaint", "regions": [[1, 0.5]]}, "at least 0.1 s"),
        ({"api_name": "/inpaint", "regions": {"start": 1}}, "Expected regions to be a list"),
        ({"api_name": "/inpaint", "regions": None}, "Expected regions to be a list"),
        ({"api_name": "/inpaint", "regions": []}, "Expected regions to be a list of at least one"),
        ({"api_name": "/inpaint", "regions": [[]]}, "Expected a region as (start, end)"),
        ({"api_name": "/inpaint", "regions": [["a", "b"]]}, "Expected a region of finite numbers"),
        ({"api_name": "/inpaint", "regions": [[-1, 1]]}, "starts at 0 s or later"),
        ({"api_name": "/inpaint", "regions": [[0, 1]], "strength": "much"}, "Expected strength from 0 to 1"),
        ({"api_name": "/audio2audio", "strength": -0.1}, "Expected strength from 0 to 1, got -0.1"),
        ({"api_name": "/audio2audio", "steps": 101}, "Expected steps to be a whole number from 1 to 100"),
        ({"api_name": "/extend", "seconds": "long"}, "Expected seconds from 0.1 to 180, got 'long'"),
        ({"api_name": "/extend", "seconds": None}, "got nothing"),
        ({"api_name": "/inpaint", "regions": [[0, 1, 0, 20000]]}, "within 0 to 10000 Hz"),
        ({"api_name": "/extend", "seconds": 1000}, "Expected seconds from 0.1 to 180"),
        ({"api_name": "/extend", "seconds": 179}, "at most 180 s in all"),
        ({"api_name": "/extend", "seconds": 1, "side": "up"}, "not in the list of choices"),
    ],
)
def test_refuses_regions_and_lengths_in_a_sentence(client, tmp_path, arguments, sentence):
    song = write_audio(make_music(2), tmp_path / "song.wav")
    assert sentence in refusal(client, audio=handle_file(song), prompt="flute", **arguments)


def test_refuses_pictures_in_a_sentence(client, tmp_path):
    for size, sentence in (((600, 400), "of 512 rows"), ((20_000, 512), "at most 180 s, got one 20000 pixels wide"),
                           ((1, 1), "of 512 rows"), ((12_000, 12_000), "of at most 64000000 pixels")):
        Image.new("L", size).save(tmp_path / "picture.png")
        assert sentence in refusal(client, image=handle_file(tmp_path / "picture.png"), api_name="/image2audio")
        as_loop = {(1, 1): "Expected a seed image 512 pixels high and at least 2 wide, got 1 x 1",
                   (12_000, 12_000): "Expected a picture of at most 64000000 pixels, but 'picture.png' has more"}
        if size in as_loop:
            assert as_loop[size] in refusal(
                client, prompt="harp", seed_file=handle_file(tmp_path / "picture.png"), api_name="/text2audio")
    for seed, got in ((-1, "-1"), ("x", "'x'"), (1.5, "1.5"), (None, "0 will do")):
        assert got in refusal(client, image=handle_file(app_server.ROOT / "assets/seed_images/beat.png"), seed=seed,
                              api_name="/image2audio")
    (tmp_path / "picture.png").write_text("no picture")
    assert "is none or is damaged" in refusal(
        client, image=handle_file(tmp_path / "picture.png"), api_name="/image2audio")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"prompt": None}, "Expected prompt to be text, got NoneType"),
        ({"prompt": "funk", "duration_s": 0}, "Expected Duration (duration_s) from 1"),
        ({"prompt": "funk", "duration_s": 1e6}, "got 1000000"),
        ({"prompt": "funk", "steps": 0}, "Expected steps"),
        ({"prompt": "funk", "guidance": -1}, "Expected guidance"),
        ({"prompt": "funk", "seed": -1}, "Expected seed"),
        ({"prompt": "funk", "strength": 2}, "Expected strength from 0 to 1, got 2"),
        ({"prompt": "funk", "scheduler": "magic"}, "list of choices"),
        ({"prompt": "funk " * 4000}, "Expected prompt of at most 2000 characters, got 20000"),
        ({"prompt": "funk", "negative_prompt": "(" * 20_000}, "of at most 2000 characters"),
        ({"prompt": 5}, "Expected prompt to be text"),
        ({"prompt": None}, "Expected prompt to be text"),
        ({"prompt": "funk", "steps": "many"}, "Expected steps to be a whole number from 1 to 100, got 'many'"),
        ({"prompt": "funk", "steps": 1.5}, "Expected steps to be a whole number from 1 to 100, got 1.5"),
        ({"prompt": "funk", "seed": True}, "Expected seed to be a whole number"),
        ({"prompt": "funk", "seed": 2**32}, "Expected seed to be a whole number"),
        ({"prompt": "funk", "guidance": [7]}, "Expected guidance from 0 to 30, got [7]"),
        ({"prompt": "funk", "strength": None}, "Expected strength from 0 to 1, got nothing"),
        ({"prompt": "funk", "strength": "much"}, "Expected strength from 0 to 1, got 'much'"),
        ({"prompt": "funk", "duration_s": "long"}, "from 1 to 180, got 'long'"),
        ({"prompt": "funk", "loop": "yes"}, "Expected loop to be true or false, got 'yes'"),
        ({"prompt": "funk", "bpm": 10}, "Expected bpm from 40 to 240, got 10"),
        ({"prompt": "funk", "bpm": "fast"}, "Expected bpm from 40 to 240, got 'fast'"),
        ({"prompt": "funk", "bars": 4}, "Expected bpm beside bars"),
        ({"prompt": "funk", "bars": 1.5, "bpm": 120}, "Expected bars to be a whole number from 1 to 256, got 1.5"),
        ({"prompt": "funk", "bars": 256, "bpm": 40}, "Expected bars that last from 1 to 180 s"),
        ({"prompt": "funk", "key": "H major"}, "list of choices"),
        ({"prompt": "funk", "steadiness": 2}, "Expected steadiness from 0 to 1, got 2"),
        ({"prompt": "funk", "seed_file": "/etc/passwd"}, "Expected seed_file to be a file"),
        ({"prompt": "funk", "seed_file": {"path": "/etc/passwd"}}, "Expected seed_file to be a file"),
        ({"prompt": "funk", "seed_image": str(app_server.ROOT / "assets/seed_images/beat.png")}, "list of choices"),
    ],
)
def test_refuses_settings_in_a_sentence(client, arguments, sentence):
    assert sentence in refusal(client, **arguments, api_name="/text2audio")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"these are words", "'song.wav' is none or is damaged"), (b"", "is empty"), ("silent", "holds 0 s")],
)
def test_refuses_files_in_a_sentence(client, tmp_path, content, sentence):
    song = tmp_path / "song.wav"
    if content == "silent":  # a WAV header and no sample
        content = write_audio(make_music(1), song).read_bytes()[:40] + bytes(4)
    song.write_bytes(content)
    assert sentence in refusal(client, audio=handle_file(song), prompt="flute", api_name="/audio2audio")


@pytest.mark.parametrize("task", ["audio2audio", "inpaint", "extend", "audio2image"])
def test_refuses_what_is_no_file_and_what_is_too_long(client, tmp_path, task):
    rest = {} if task == "audio2image" else {"prompt": "flute"}
    if task == "inpaint":
        rest["regions"] = [[0, 1]]
    for audio in ("song.wav", 5, {"path": "/etc/passwd"}, ["song.wav"]):
        assert "Expected audio to be a file" in refusal(client, audio=audio, **rest, api_name=f"/{task}")
    song = write_audio(Waveform(np.full((1, 181 * 8000), 0.1, np.float32), 8000), tmp_path / "song.flac")
    assert "at most 180 s" in refusal(client, audio=handle_file(song), **rest, api_name=f"/{task}")


def test_refuses_two_hours(client, tmp_path):
    song = write_audio(Waveform(np.zeros((1, 2 * 60 * 60 * 8000), np.float32), 8000), tmp_path / "song.flac")
    assert "at most 180 s" in refusal(client, audio=handle_file(song), prompt="flute", api_name="/audio2audio")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"clips": 1}, "Expected clips to be a whole number from 2 to 24, got 1"),
        ({"clips": 2.5}, "Expected clips to be a whole number"),
        ({"clips": "many"}, "Expected clips to be a whole number"),
        ({"seed_b": -1}, "Expected Seed at the end (seed_b)"),
        ({"guidance_b": 31}, "Expected Guidance at the end (guidance_b) from 0 to 30, got 31"),
        ({"strength_b": 2}, "Expected Strength at the end (strength_b) from 0 to 1, got 2"),
        ({"prompt_b": "x" * 20_000}, "of at most 2000 characters"),
    ],
)
def test_refuses_journeys_in_a_sentence(client, arguments, sentence):
    arguments = {"prompt_a": "harp", "prompt_b": "flute", **arguments}
    assert sentence in refusal(client, **arguments, api_name="/interpolate")


def test_words_of_any_script_and_steps_without_a_fraction(client):
    sound, _, settings = client.predict(prompt="🎹🔔 Glöckchen 鐘 ✨", seed=1, duration_s=1, steps=2.0, guidance=1,
                                        api_name="/text2audio")
    assert read_audio(sound).num_samples == 44_100
    assert settings["prompt"] == "🎹🔔 Glöckchen 鐘 ✨" and settings["steps"] == 2


def test_interpolation_needs_somewhere_to_go(client):
    assert "To (prompt_b) or Seed at the end (seed_b)" in refusal(client, prompt_a="harp", api_name="/interpolate")


@pytest.mark.parametrize("way", ["cancelled", "gone"])
def test_worker_is_free_after_a_client_has(server, client, way):
    other = Client(server.url, verbose=False)
    job = other.submit(**LONG)
    deadline = time.monotonic() + 60
    while not (job.status().progress_data and job.status().progress_data[0].progress > 0):
        assert job.status().code is not Status.FINISHED and time.monotonic() < deadline
        time.sleep(0.1)
    if way == "cancelled":
        job.cancel()
    else:
        other.close()
    began = time.monotonic()
    client.predict(prompt="harp", duration_s=1, **QUICK, api_name="/text2audio")
    assert time.monotonic() - began < 60
    assert not list(server.files.rglob("*.cancelled"))
