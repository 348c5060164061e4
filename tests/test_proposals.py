"""Captions that are proposed for files that have none, and clips that begin on a beat."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from conftest import make_music

from riffusion_space import cli
from riffusion_space.audio import Waveform, write_audio
from riffusion_space.training.clips import CLIP_SAMPLES, Report, cut, find_sources
from riffusion_space.training.proposals import describe, propose_captions

RATE = 44_100


def clicks(seconds: float, bpm: float, first_s: float = 0.0) -> Waveform:
    """Bursts of noise, 30 ms long, on every beat."""
    rng = np.random.default_rng(0)
    samples = 1e-4 * rng.standard_normal(round(seconds * RATE))
    burst = rng.standard_normal(round(0.03 * RATE)) * np.exp(-np.linspace(0, 6, round(0.03 * RATE)))
    for beat in np.arange(first_s, seconds - 0.05, 60 / bpm):
        start = round(beat * RATE)
        samples[start : start + len(burst)] += burst
    return Waveform((0.3 * samples)[None].astype(np.float32), RATE)


def drone(seconds: float, hz: float) -> Waveform:
    """One tone with overtones."""
    phase = 2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE
    samples = sum(np.sin(number * phase) / number**2 for number in range(1, 6))
    return Waveform(0.3 * samples[None].astype(np.float32), RATE)


def test_descriptions_say_what_is_measured():
    beat = describe(clicks(12, 120))
    assert beat.startswith("bright") and "percussive" in beat and "120 bpm" in beat and " in " not in beat
    low = describe(drone(6, 110))
    assert low.startswith("dark melodic music") and "in A" in low
    assert describe(Waveform(np.zeros((2, 44_100), np.float32), RATE)) == "silence"


@pytest.fixture
def folder(tmp_path):
    write_audio(drone(6, 110), tmp_path / "01.wav")
    write_audio(drone(6, 220), tmp_path / "church organ.wav")
    (tmp_path / "02.wav").write_text("no sound")
    return tmp_path


def test_what_has_none_gets_one_and_the_rest_keeps_its_own(folder):
    path, proposals = propose_captions(folder)
    assert path == folder / "metadata.csv" and list(proposals) == ["01.wav"]
    captions = {source.name: source.caption for source in find_sources(folder, Report())}
    assert captions == {"church organ.wav": "church organ", "01.wav": proposals["01.wav"]}
    assert propose_captions(folder) == (None, {})


def test_metadata_that_is_there_keeps_its_columns(folder):
    (folder / "metadata.csv").write_text('file_name,caption,take\nchurch organ.wav,"organ, slow",1\n01.wav,,2\n')
    _, proposals = propose_captions(folder)
    with (folder / "metadata.csv").open(newline="") as file:
        assert [tuple(row.values()) for row in csv.DictReader(file)] == [
            ("church organ.wav", "organ, slow", "1"), ("01.wav", proposals["01.wav"], "2")]
    (folder / "metadata.csv").unlink()
    (folder / "metadata.jsonl").write_text('{"file_name": "church organ.wav", "text": "organ"}\n')
    propose_captions(folder)
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert [line["file_name"] for line in lines] == ["church organ.wav", "01.wav"] and lines[0]["text"] == "organ"


def test_what_a_run_wrote_gets_no_caption(folder):
    (folder / "out/samples").mkdir(parents=True)
    write_audio(drone(6, 330), folder / "out/samples/001.wav")
    assert list(propose_captions(folder, passed_over=[folder / "out"])[1]) == ["01.wav"]


def test_a_full_disk_leaves_the_metadata(folder, monkeypatch):
    text = 'file_name,text\nchurch organ.wav,"slow\norgan"\n'
    (folder / "metadata.csv").write_text(text)

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(csv.DictWriter, "writerows", full)
        with pytest.raises(OSError, match="No space left"):
            propose_captions(folder)
    assert (folder / "metadata.csv").read_text() == text and not list(folder.glob("*.partial"))
    propose_captions(folder)
    assert (folder / "metadata.csv").read_text().startswith(text)


def test_a_proposal_goes_beside_metadata_further_down(folder):
    (folder / "album").mkdir()
    (folder / "church organ.wav").rename(folder / "album/02.wav")
    (folder / "album/metadata.csv").write_text("file_name,text\n02.wav,an organ\n")
    propose_captions(folder)
    with (folder / "metadata.csv").open(newline="") as file:
        assert [row["file_name"] for row in csv.DictReader(file)] == ["01.wav"]  # what is described stays where it is


def test_command_line_shows_them_and_stops(folder, capsys):
    assert cli.main(["train", str(folder), "-o", str(folder / "out"), "--propose-captions"]) == 0
    told = capsys.readouterr().err
    assert "01.wav: dark melodic music" in told and "edit it, and train without" in told
    assert not (folder / "out").exists()


def test_clips_begin_on_a_beat():
    wave = clicks(18, 120, first_s=0.3)
    clips = cut(wave, beat_aligned=True)
    assert len(clips) == 3 and all(len(clip) == CLIP_SAMPLES for clip in clips)
    for clip in clips:
        loud = np.abs(clip) > 0.05
        assert np.argmax(loud) < 0.03 * RATE  # the burst is at the very beginning
    assert np.argmax(np.abs(cut(wave)[0]) > 0.05) > 0.25 * RATE
    assert len(cut(make_music(5.2), beat_aligned=True)) == 1
    late = clicks(5.3, 120, first_s=0.4)
    assert len(cut(late, beat_aligned=True)) == 1  # no whole clip follows a beat: likewise
    silence = Waveform(np.zeros((1, 6 * RATE), np.float32), RATE)
    assert len(cut(silence, beat_aligned=True)) == 1  # no beat: cut as ever
