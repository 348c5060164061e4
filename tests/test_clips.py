"""Folders of music, good and bad, become training clips."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_music

from riffusion_space.audio import Waveform, write_audio
from riffusion_space.training import clips
from riffusion_space.training.clips import Report, caption_from_name, cut, find_sources, load_clips


@pytest.fixture(scope="module")
def checkpoint(tiny_pipe):
    return tiny_pipe.checkpoint


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Two clips of violin, one of a drum in stereo."""
    folder = tmp_path_factory.mktemp("songs")
    write_audio(make_music(11, seed=1), folder / "slow_sad-violin 03.wav")
    write_audio(make_music(6, channels=2, seed=2), folder / "drum.flac")
    return folder


@pytest.mark.parametrize("stem, caption", [
    ("slow_sad-violin 03", "slow sad violin"), ("01 - Church Bells", "Church Bells"), ("03_flute", "flute"),
    ("tr808 beat (2)", "tr808 beat"), ("90 bpm funk", "90 bpm funk"), ("007", ""), ("2 guitars", "2 guitars"),
])
def test_captions_from_file_names(stem, caption):
    assert caption_from_name(stem) == caption


def test_captions_come_from_metadata_then_sidecar_then_name(songs, tmp_path):
    folder = shutil.copytree(songs, tmp_path / "songs")
    (folder / "more").mkdir()
    shutil.copy(folder / "drum.flac", folder / "more/third.flac")
    names = {source.name: source.caption for source in find_sources(folder, Report())}
    assert names == {"drum.flac": "drum", "more/third.flac": "third", "slow_sad-violin 03.wav": "slow sad violin"}
    (folder / "drum.txt").write_text("\ufeff a hollow\n drum \n", encoding="utf-8")
    (folder / "more/third.txt").write_text("not this")
    (folder / "metadata.csv").write_text('file_name,text\nmore/third.flac,"one, two, three"\n')
    names = {source.name: source.caption for source in find_sources(folder, Report())}
    assert names["drum.flac"] == "a hollow drum" and names["more/third.flac"] == "one, two, three"
    (folder / "metadata.csv").unlink()
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "drum.flac", "caption": "boom"}) + "\n\n")
    report = Report()
    assert {source.caption for source in find_sources(folder, report)} == {"boom", "not this", "slow sad violin"}
    assert not report.skipped
    assert {source.caption for source in find_sources(folder, report, "all the same")} == {"all the same"}


@pytest.mark.parametrize("name, text, complaint", [
    ("metadata.csv", "name,text\na.wav,x\n", "file_name in every entry of metadata.csv, got none in entry 1"),
    ("metadata.csv", "file_name,label\na.wav,x\n", "column text or caption in metadata.csv"),
    ("metadata.jsonl", '{"file_name": "a.wav"', "metadata.jsonl in UTF-8"),
    ("metadata.jsonl", "[1]\n", "entry 1"),
    ("metadata.csv", "file_name,text\na.wav,slow\nb.wav,one, two\n", r"2 cells in every entry .* entry 2 \(b.wav\)"),
])
def test_bad_metadata_is_refused(tmp_path, name, text, complaint):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=complaint):
        find_sources(tmp_path, Report())


def test_metadata_is_read_to_the_letter(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.wav").touch()
    (tmp_path / "metadata.csv").write_bytes(b'file_name,text\r\na.wav,"slow\r\nzither"\r\na.wav,fast\r\n')
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "b.wav", "text": "wind\u2028chimes"}\n', encoding="utf-8")
    report = Report()
    captions = [source.caption for source in find_sources(tmp_path, report)]
    assert captions == ["slow zither", "wind chimes"] and not report.skipped
    assert "metadata.csv describes a.wav twice: the first caption holds." in report.lines()


def test_metadata_of_every_folder_counts_and_the_nearest_most(tmp_path):
    for name in ("album/a.wav", "album/b.wav", "album/live/c.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "metadata.csv").write_text("file_name,text\nalbum/a.wav,far\nalbum/b.wav,a flute\n")
    (tmp_path / "album/metadata.csv").write_text("file_name,text\na.wav,near\nb.wav,\n./live/c.wav,a crowd\n")
    report = Report()
    assert [source.caption for source in find_sources(tmp_path, report)] == ["near", "a flute", "a crowd"]
    assert report.lines()[1:] == []


def test_captions_that_cannot_be_used_are_named(tmp_path):
    for name in ("a", "b", "c", "d"):
        (tmp_path / f"{name}.wav").touch()
    (tmp_path / "a.txt").write_text("a zither", encoding="utf-16")
    (tmp_path / "b.txt").write_text("bell\x07")
    (tmp_path / "c.txt").write_text("(very loud:99) bells")  # captions are meant literally
    (tmp_path / "d.txt").write_text("long " * 500)
    report = Report()
    assert [source.name for source in find_sources(tmp_path, report)] == ["c.wav"]
    assert [(name, reason.partition(",")[0]) for name, reason in report.skipped] == [
        ("a.wav", "expected its caption a.txt in UTF-8"), ("b.wav", "expected a caption without control characters"),
        ("d.wav", "expected a caption of at most 2000 characters")]


def test_what_a_run_writes_is_no_music(tmp_path):
    for name in ("song.wav", "out/samples/step_000100.wav", "out/training/music/000001.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "out/training/music/metadata.csv").write_text("file_name,text\n000001.wav,not this\n")
    out = tmp_path / "out"
    report = Report()
    assert [source.name for source in find_sources(tmp_path, report, passed_over=[out])] == ["song.wav"]
    assert not report.skipped
    assert [source.name for source in find_sources(out / "training/music", report, passed_over=[out])] == ["000001.wav"]
    with pytest.raises(ValueError, match="another folder than the music's"):
        find_sources(out, report, passed_over=[out])


def test_a_file_that_the_system_refuses_is_skipped(songs, checkpoint, tmp_path, monkeypatch):
    opened = Path.open

    def refuse(path, *arguments, **options):
        if path.name == "drum.flac":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    found = load_clips(songs, checkpoint, tmp_path)
    assert len(found) == 2 and found.report.skipped == [("drum.flac", "it cannot be read: Permission denied")]


def test_clips_are_told_apart_by_sound_and_autoencoder_not_by_latents(songs, checkpoint, tmp_path, monkeypatch):
    first = load_clips(songs, checkpoint, tmp_path / "first")
    encode = clips.encode_pixels
    with monkeypatch.context() as other_device:
        other_device.setattr(clips, "encode_pixels", lambda *arguments: encode(*arguments) * 1.001)
        again = load_clips(songs, checkpoint, tmp_path / "second")
    assert not torch.equal(again.latents, first.latents) and again.fingerprint == first.fingerprint
    assert dataclasses.replace(first, autoencoder="another").fingerprint != first.fingerprint
    assert dataclasses.replace(first, sounds=["another", *first.sounds[1:]]).fingerprint != first.fingerprint
    vae = copy.deepcopy(checkpoint.vae)
    vae.register_to_config(scaling_factor=1.0)
    scaled = load_clips(songs, dataclasses.replace(checkpoint, vae=vae), tmp_path / "first")
    assert scaled.latents.float().std() > 2 * first.latents.float().std()  # not those of the cache
    half = dataclasses.replace(checkpoint, vae=vae.half())
    with pytest.raises(ValueError, match="encode in float32, got torch.float16"):
        load_clips(songs, half, tmp_path)


def test_left_and_right_are_one_moment(songs, checkpoint, tmp_path):
    found = load_clips(songs, checkpoint, tmp_path, stereo="each")
    assert found.files == ["drum.flac"] * 2 + ["slow_sad-violin 03.wav"] * 2 and found.moments == [0, 0, 0, 1]


def test_clips_are_whole_and_in_order():
    wave = make_music(11.5, channels=2)
    mixed = cut(wave)
    assert [len(clip) for clip in mixed] == [clips.CLIP_SAMPLES] * 2
    np.testing.assert_array_equal(mixed[1], wave.samples.mean(0)[clips.CLIP_SAMPLES : 2 * clips.CLIP_SAMPLES])
    each = cut(wave, "each")
    assert len(each) == 4
    np.testing.assert_array_equal(each[1], wave.samples[1, : clips.CLIP_SAMPLES])
    exact = Waveform(wave.samples[:, : clips.CLIP_SAMPLES], wave.sample_rate)
    assert len(cut(exact)) == 1 and not cut(exact.sliced(0, clips.CLIP_SAMPLES - 1))
    assert len(cut(make_music(5.2, rate=22_050))) == 1


def test_latents_are_those_of_the_picture_and_computed_once(songs, checkpoint, tmp_path, monkeypatch):
    first = load_clips(songs, checkpoint, tmp_path)
    assert first.latents.shape == (3, 4, 64, 64) and first.latents.dtype == torch.float16
    assert first.captions == ["drum", "slow sad violin", "slow sad violin"]
    assert first.report.lines() == ["3 clips of 5.11 s from 2 files."]
    assert first.latents.float().std() > 0
    calls = []
    encode = clips.encode_pixels
    monkeypatch.setattr(clips, "encode_pixels", lambda *arguments: calls.append(1) or encode(*arguments))
    again = load_clips(songs, checkpoint, tmp_path, caption="music")
    assert not calls and torch.equal(again.latents, first.latents) and set(again.captions) == {"music"}
    assert again.fingerprint != first.fingerprint
    assert len(load_clips(songs, checkpoint, tmp_path, stereo="each")) == 4 and len(calls) == 4
    damaged = next(tmp_path.rglob("*-mix-*.npz"))
    damaged.write_bytes(damaged.read_bytes()[:1000])
    assert torch.equal(load_clips(songs, checkpoint, tmp_path).latents, first.latents)
    assert not list(tmp_path.rglob("*.partial"))


def test_what_cannot_be_used_is_named(songs, checkpoint, tmp_path):
    folder = shutil.copytree(songs, tmp_path / "songs")
    (folder / "broken.mp3").write_bytes(b"no sound at all")
    write_audio(make_music(3), folder / "short.wav")
    write_audio(Waveform(np.zeros((1, 300_000), np.float32), 44_100), folder / "silence.wav")
    shutil.copy(folder / "drum.flac", folder / "drum again.flac")
    write_audio(make_music(11, seed=1), folder / "violin as flac.flac")  # another file, the same sound
    write_audio(make_music(6, seed=5), folder / "004.wav")
    (folder / "ghost.txt").write_text("a caption for nothing")
    (folder / "metadata.csv").write_text("file_name,text\ngone.wav,where is it\n")
    half = make_music(11, seed=9).samples.copy()
    half[:, clips.CLIP_SAMPLES :] *= 1e-5
    write_audio(Waveform(half, 44_100), folder / "fades out.wav")
    found = load_clips(folder, checkpoint, tmp_path / "cache")
    skipped = dict(found.report.skipped)
    assert set(skipped) == {"broken.mp3", "short.wav", "silence.wav", "drum.flac", "violin as flac.flac", "004.wav",
                            "ghost.txt", "gone.wav"}
    assert "damaged" in skipped["broken.mp3"] and "got 3.00 s" in skipped["short.wav"]
    assert skipped["drum.flac"] == "the same file as drum again.flac" and "silent" in skipped["silence.wav"]
    assert "another file" in skipped["violin as flac.flac"] and "no caption" in skipped["004.wav"]
    assert found.report.silent == 2 and found.report.repeated == 2 and len(found) == 4
    lines = found.report.lines()
    assert any("Skipped ghost.txt: a caption without an audio file" in line for line in lines) and len(lines) == 11


def test_a_folder_without_clips_is_refused(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="there is no folder"):
        load_clips(tmp_path / "none", checkpoint, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="at least 2 different clips of 5.11 s .* got 0$"):
        load_clips(tmp_path / "empty", checkpoint, tmp_path)
    for name in "abc":
        write_audio(make_music(5.2), tmp_path / "empty" / f"{name}.wav")  # 100 % duplicates
    with pytest.raises(ValueError, match="got 1; b.wav: the same file as a.wav"):
        load_clips(tmp_path / "empty", checkpoint, tmp_path)
    with pytest.raises(ValueError, match="mix, each, got 'left'"):
        load_clips(tmp_path / "empty", checkpoint, tmp_path, stereo="left")
