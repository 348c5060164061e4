"""The training code on a handful of clips: every stage runs, resumes, and what comes out is a checkpoint."""

import csv
import random
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import torch
from conftest import CPU
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel

from riffusion_space.config import Config
from riffusion_space.pipeline import RiffusionPipeline
from riffusion_space.training import autoencoder, corpus, diffusion, text
from riffusion_space.training.ambience import synthesise
from riffusion_space.training.captions import caption
from riffusion_space.training.compose import compose, compose_genre, compose_solo
from riffusion_space.training.sounds import AMBIENCE, AMBIENCES, GENRE, GENRES, INSTRUMENT, INSTRUMENTS
from riffusion_space.training.state import AVERAGE_EVERY, TrainingState


def test_a_seed_names_a_piece_and_every_note_is_playable():
    for seed in range(200):
        piece = compose(seed, 5.11)
        assert piece == compose(seed, 5.11)
        assert piece.ambience or any(track.notes for track in piece.tracks)
        for track in piece.tracks:
            assert all(0 <= note.key <= 127 and 1 <= note.velocity <= 127 and note.start >= 0 and note.duration > 0
                       for note in track.notes)


def test_vocabulary_is_as_wide_as_promised():
    assert len({i.name for i in INSTRUMENTS}) >= 60 and len({g.name for g in GENRES}) >= 20
    words = [word for sound in (*INSTRUMENTS, *GENRES, *AMBIENCES) for word in sound.synonyms]
    assert len(words) == len(set(words))  # a word means one thing
    kinds = Counter(compose(seed, 5.11).kind for seed in range(1000))
    assert 400 < kinds["solo"] < 500 and 340 < kinds["genre"] < 440 and kinds["duet"] > 60 and kinds["ambience"] > 30


def test_each_ambience_sounds_and_differs_by_seed():
    for ambience in AMBIENCES:
        first, again, other = (synthesise(ambience.name, 44_100, np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert first.shape == (2, 44_100) and first.dtype == np.float32 and np.abs(first).max() == 1
        assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_combinations_name_all_that_is_heard():
    rng = random.Random(0)
    techno, jazz, bells = GENRE["techno"], GENRE["jazz"], INSTRUMENT["church bells"]
    over = compose_genre(rng, techno, 5.11, featured=bells)
    assert over.tracks[-1].program == bells.program
    blend = compose_genre(rng, techno, 5.11, second=jazz)
    quiet = replace(compose_solo(rng, bells, 5.11), ambience="rain")
    for piece, sounds in ((over, (techno, bells)), (blend, (techno, jazz)), (quiet, (bells, AMBIENCE["rain"]))):
        for _ in range(50):
            wording = caption(piece, rng)
            assert all(any(word in wording for word in sound.synonyms) for sound in sounds), wording
    bassline = compose_genre(rng, GENRE["funk"], 5.11, featured=INSTRUMENT["saxophone"], bassline=True)
    assert len(bassline.tracks) == 3  # drums, bass, saxophone


def test_captions_name_the_sound_in_many_wordings():
    rng = random.Random(0)
    for sound in (*INSTRUMENTS, *GENRES):
        piece = (compose_solo if sound in INSTRUMENTS else compose_genre)(rng, sound, 5.11)
        wordings = {caption(piece, rng) for _ in range(50)}
        assert len(wordings) > 15
        assert all(any(word in wording for word in sound.synonyms) for wording in wordings)
    fast = next(p for p in (compose(s, 5.11) for s in range(100)) if p.bpm > 140)
    assert any(f"{fast.bpm} b" in caption(fast, rng).lower() for _ in range(200))
    assert not any("slow" in caption(fast, rng).split() for _ in range(200))


def test_rendered_clips_are_sound(shards):
    pixels = np.load(shards / "shard_0100000.npy")
    assert pixels.shape == (12, 512, 512) and pixels.dtype == np.uint8
    assert (pixels.min((1, 2)) == 0).all() and (pixels.std((1, 2)) > 10).all()
    pieces = corpus.read_pieces(shards / "shard_0100000.npy")
    assert [p.bpm for p in pieces] == [compose(s, corpus.CLIP_SAMPLES / 44_100).bpm
                                       for s in range(corpus.HELD_OUT_SEEDS, corpus.HELD_OUT_SEEDS + 12)]


def test_normalized_latents_keep_the_round_trip(shards):
    torch.manual_seed(0)
    model = autoencoder.build_autoencoder().eval()
    x = autoencoder.images(torch.from_numpy(np.load(shards / "shard_0100000.npy")[:3, :, :128].copy()))
    with torch.no_grad():
        before = model.decode(model.encode(x).latent_dist.mean).sample
        autoencoder.normalize_latents(model, x)
        latents = model.encode(x).latent_dist.mean
        after = model.decode(latents).sample
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(8), atol=1e-3, rtol=0)
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(8), atol=1e-3, rtol=0)


def test_stages_log_and_resume(trained):
    for stage, steps in (("autoencoder", 3), ("text", 2), ("diffusion", 2)):
        rows = list(csv.DictReader((trained / stage / "log.csv").open()))
        assert [int(row["step"]) for row in rows] == list(range(1, steps + 1))
        assert all(np.isfinite(float(row["loss"])) for row in rows)


def test_what_was_not_saved_is_done_and_logged_again(tmp_path):
    def begin():
        model = torch.nn.Linear(1, 1)
        return TrainingState(tmp_path, model, torch.optim.AdamW(model.parameters()))

    state = begin()
    for step in range(5):
        state.update(loss=step)
        if state.step == 3:
            state.save()
    state = begin()  # as after a kill
    assert state.step == 3
    state.update(loss=9)
    assert [row["step"] for row in csv.DictReader((tmp_path / "log.csv").open())] == ["1", "2", "3", "4"]


def test_a_trained_tokenizer_stays(trained, tmp_path):
    out = tmp_path / "text"
    shutil.copytree(trained / "text", out)
    before = (out / "tokenizer/tokenizer.json").read_bytes()
    text.train(out, 3, 4, 1e-3, CPU)
    assert (out / "tokenizer/tokenizer.json").read_bytes() == before


def test_goes_on_from_another_checkpoint(trained, shards, tmp_path, monkeypatch):
    start = trained / "checkpoint"
    tokens = torch.arange(77)[None]
    before = CLIPTextModel.from_pretrained(start / "text_encoder")(tokens).last_hidden_state
    moved = {}
    for kept in (0.0, 1000.0):
        monkeypatch.setattr(text, "KEPT", kept)
        out = tmp_path / f"text {kept}"
        text.train(out, 4, 12, 1e-2, CPU, start)
        after = CLIPTextModel.from_pretrained(out / "text_encoder", dtype=torch.float32)(tokens).last_hidden_state
        moved[kept] = (after - before).square().mean().item()
        assert (out / "tokenizer/tokenizer.json").read_bytes() == (start / "tokenizer/tokenizer.json").read_bytes()
    assert 0 < moved[1000.0] < 0.5 * moved[0.0]

    diffusion.train(shards, trained / "autoencoder/vae", out, tmp_path / "diffusion", 1, 1, 1e-4, CPU, start)
    was, now = (UNet2DConditionModel.from_pretrained(folder / "unet", dtype=torch.float32).conv_in.weight
                for folder in (start, tmp_path / "diffusion"))
    torch.testing.assert_close(now, was, atol=1e-3, rtol=0)  # fresh weights would be 0.1 away


def test_latents_of_another_autoencoder_are_not_taken(trained, shards):
    torch.manual_seed(1)
    other = autoencoder.build_autoencoder()
    assert diffusion.latents_folder(shards, other) not in list(shards.glob("latents-*"))
    assert len(list(shards.glob("latents-*"))) == 1


def test_a_decoder_trained_further_keeps_the_latents(trained, shards, tmp_path):
    folder = trained / "autoencoder/vae"
    before = AutoencoderKL.from_pretrained(folder)
    after = autoencoder.train(shards, tmp_path, AVERAGE_EVERY, 1, 1e-3, CPU, decoder_of=folder)
    x = autoencoder.images(torch.from_numpy(np.load(shards / "shard_0100000.npy")[:1]))
    with torch.no_grad():
        latents = before.encode(x).latent_dist.mean
        assert torch.equal(after.encode(x).latent_dist.mean, latents)
        assert not torch.equal(after.decode(latents).sample, before.decode(latents).sample)


def test_the_exported_checkpoint_is_small_and_plays(trained):
    files = [path for path in (trained / "checkpoint").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 80e6
    assert max(path.stat().st_size for path in files) < 10e6
    pipe = RiffusionPipeline.from_pretrained(str(trained / "checkpoint"), "cpu", config=Config())
    clip = pipe.text2audio("church bells", seed=1, steps=1)
    assert clip.audio.num_samples == 225_351 and np.isfinite(clip.audio.samples).all()


def test_a_stock_diffusers_pipeline_loads_it(trained):
    stock = StableDiffusionPipeline.from_pretrained(trained / "checkpoint", safety_checker=None)
    stock.set_progress_bar_config(disable=True)
    image = stock("church bells", num_inference_steps=1, height=512, width=512).images[0]
    assert image.size == (512, 512)
