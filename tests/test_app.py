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
from PIL import Image

from riffusion_space import RiffusionPipeline, read_audio, read_settings
from riffusion_space.audio import write_audio

QUICK = {"steps": 2, "guidance": 1}
# Far longer than any test waits, unless it is cancelled.
LONG = {"prompt": "techno", "duration_s": 120, "steps": 100, "api_name": "/text2audio"}


@pytest.fixture(scope="module")
def server():
    return app_server.start()


@pytest.fixture(scope="module")
def client(server):
    return Client(server.url, verbose=False)


def refusal(client: Client, **arguments) -> str:
    with pytest.raises(AppError) as error:
        client.predict(**arguments)
    return str(error.value)


def test_page_is_there_while_the_checkpoint_loads(server):
    assert server.seconds_to_page < 30  # under 10 on an idle machine, which a machine that runs tests is not


@pytest.mark.parametrize("task", ["text2audio", "audio2audio", "interpolate"])
def test_endpoint_takes_what_the_method_takes(client, task):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(endpoints) == {"/text2audio", "/audio2audio", "/interpolate"}
    method = inspect.signature(getattr(RiffusionPipeline, task)).parameters
    of_python = {name: parameter.default for name, parameter in method.items()}
    for name in ("self", "progress", "cancel"):
        del of_python[name]
    of_page = {parameter["parameter_name"]: parameter for parameter in endpoints[f"/{task}"]["parameters"]}
    assert [name for name in of_page if name != "seed_file"] == list(of_python)
    for name, default in of_python.items():
        expected = {"scheduler": "recommended", "seed_image": "none"}.get(name, default)
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


def test_restyles_30_s_of_stereo(client, tmp_path):
    song = write_audio(make_music(30, channels=2), tmp_path / "song.mp3")
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


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"prompt": "  "}, "Expected prompt"),
        ({"prompt": "funk", "duration_s": 0}, "Expected Duration (duration_s) from 1"),
        ({"prompt": "funk", "duration_s": 1e6}, "got 1000000"),
        ({"prompt": "funk", "steps": 0}, "Expected steps"),
        ({"prompt": "funk", "guidance": -1}, "Expected guidance"),
        ({"prompt": "funk", "seed": -1}, "Expected seed"),
        ({"prompt": "funk", "strength": 2}, "maximum value 1"),
        ({"prompt": "funk", "scheduler": "magic"}, "list of choices"),
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


def test_interpolation_needs_somewhere_to_go(client):
    assert "To (prompt_b) or Seed at the end (seed_b)" in refusal(client, prompt_a="harp", api_name="/interpolate")


@pytest.mark.parametrize("way", ["cancelled", "gone"])
def test_worker_is_free_after_a_client_has(server, client, way):
    other = Client(server.url, verbose=False)
    job = other.submit(**LONG)
    deadline = time.monotonic() + 60
    while not (job.status().progress_data and "Step" in str(job.status().progress_data[0].desc)):
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
