"""The loop with models whose answers are known: what img2img keeps depends on neither scheduler nor neighbours."""

from dataclasses import replace

import pytest
import torch

from riffusion_space import denoise as loop
from riffusion_space.checkpoints import Recommended
from riffusion_space.denoise import Canvas, denoise
from riffusion_space.pipeline import RiffusionPipeline
from riffusion_space.schedulers import SCHEDULERS

WIDTH, STEPS = 128, 20


@pytest.fixture
def gaussian(tiny_pipe, monkeypatch):
    """A model of latents that are nothing but unit noise: it expects noise in proportion to what it sees."""
    alphas = tiny_pipe.checkpoint.scheduler.alphas_cumprod
    seen = []

    def predict(checkpoint, latents, timestep, windows, guided, cancel):
        seen.append(latents.std().item())
        return (1 - alphas[int(timestep)]).sqrt() * latents

    monkeypatch.setattr(loop, "_predict", predict)
    return seen


def canvas(strength):
    noise, init = torch.randn(2, 1, 4, 8, WIDTH, generator=torch.Generator().manual_seed(0))
    return Canvas(noise, init, strength, torch.zeros(1, 77, 8), torch.zeros(1, 77, 8), torch.ones(1))


def correlation(a, b):
    return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_column_keeps_as_much_as_its_own_strength_says(name, gaussian, tiny_pipe):
    half = WIDTH // 2
    ramp = torch.cat([torch.full((half,), 0.5), torch.full((half,), 0.9)])
    arguments = (64, name, STEPS, 7)
    given = canvas(ramp)
    mixed = denoise(tiny_pipe.checkpoint, given, *arguments)
    for part, strength in ((slice(0, half), 0.5), (slice(half, None), 0.9)):
        uniform = denoise(tiny_pipe.checkpoint, canvas(torch.full((WIDTH,), strength)), *arguments)
        kept = [correlation(latents[..., part], given.init[..., part]) for latents in (mixed, uniform)]
        assert kept[0] == pytest.approx(kept[1], abs=0.1), strength


@pytest.mark.parametrize("name", SCHEDULERS)
def test_little_strength_changes_little(name, gaussian, tiny_pipe):
    given = canvas(torch.full((WIDTH,), 0.15))
    made = denoise(tiny_pipe.checkpoint, given, 64, name, STEPS, 7)
    assert correlation(made, given.init) > 0.85 and made.std() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_model_sees_latents_of_the_variance_that_it_knows(name, gaussian, tiny_pipe):
    """Were the noise of the steps that of the start, Euler ancestral's would add up."""
    denoise(tiny_pipe.checkpoint, canvas(torch.ones(WIDTH)), 64, name, STEPS, 0)
    assert max(abs(std - 1) for std in gaussian[: STEPS // 2]) < 0.1


def test_strength_0_keeps_exactly(gaussian, tiny_pipe):
    strength = torch.cat([torch.zeros(64), torch.ones(64)])
    given = canvas(strength)
    made = denoise(tiny_pipe.checkpoint, given, 64, "dpm++", STEPS, 7)
    assert torch.equal(made[..., :64], given.init[..., :64])
    assert abs(correlation(made[..., 64:], given.init[..., 64:])) < 0.1


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_preview_is_what_a_perfect_model_expects_from_the_first_step_on(name, kind, tiny_pipe, monkeypatch):
    picture = torch.randn(1, 4, 8, WIDTH, generator=torch.Generator().manual_seed(1))
    given = tiny_pipe.checkpoint.scheduler
    monkeypatch.setitem(given.config, "prediction_type", kind)

    def predict(checkpoint, latents, timestep, windows, guided, cancel):
        kept = given.alphas_cumprod[round(float(timestep))]
        noise = (latents - kept.sqrt() * picture) / (1 - kept).sqrt()
        return noise if kind == "epsilon" else kept.sqrt() * noise - (1 - kept).sqrt() * picture

    monkeypatch.setattr(loop, "_predict", predict)
    shown = []
    denoise(tiny_pipe.checkpoint, canvas(torch.ones(WIDTH)), 64, name, 5, 7, preview=shown.append)
    assert len(shown) >= 5
    for latents in shown:
        assert torch.allclose(latents, picture, atol=1e-3)


def test_a_few_steps_begin_right_at_the_strength(gaussian, tiny_pipe, monkeypatch):
    monkeypatch.setitem(tiny_pipe.checkpoint.scheduler.config, "timestep_spacing", "trailing")
    times = []
    predict = loop._predict
    monkeypatch.setattr(loop, "_predict", lambda *args: times.append(int(args[2])) or predict(*args))
    for strength, expected in ((1.0, [999, 749, 499, 249]), (0.55, [549, 299, 49]), (0.5, [499, 249]), (0.1, [99])):
        times.clear()
        denoise(tiny_pipe.checkpoint, canvas(torch.full((WIDTH,), strength)), 64, "ddim", 4, 7)
        assert times == expected


@pytest.mark.parametrize("strength", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_begun_midway_no_noise_is_left(name, strength, tiny_pipe, monkeypatch):
    """Of latents that vary ten times less than noise does, what is left of it is plain to see."""
    alphas, spread = tiny_pipe.checkpoint.scheduler.alphas_cumprod, 0.1

    def predict(checkpoint, latents, timestep, windows, guided, cancel):
        kept = alphas[int(timestep)]
        clean = kept.sqrt() * spread**2 / (kept * spread**2 + 1 - kept) * latents
        return (latents - kept.sqrt() * clean) / (1 - kept).sqrt()

    monkeypatch.setattr(loop, "_predict", predict)
    given = canvas(torch.full((WIDTH,), strength))
    made = denoise(tiny_pipe.checkpoint, replace(given, init=spread * given.init), 64, name, STEPS, 7)
    assert made.std() < 1.1 * spread


@pytest.mark.parametrize("guidance, strength, rows", [(2.0, 1.0, [2, 2, 2, 1, 1]), (2.0, 0.4, [2, 2]),
                                                      (1.0, 1.0, [1, 1, 1, 1, 1]), (0.5, 1.0, [2, 2, 2, 2, 2])])
def test_the_first_steps_alone_are_guided_where_that_is_enough(tiny_pipe, guidance, strength, rows):
    """Of the steps that are taken; away from the prompt all of them."""
    pipe = RiffusionPipeline(replace(tiny_pipe.checkpoint, recommended=Recommended(guided=0.6)))
    called = []
    watch = pipe.checkpoint.unet.register_forward_pre_hook(lambda _, inputs: called.append(len(inputs[0])))
    try:
        pipe.text2audio("rain", seed=7, steps=5, guidance=guidance, seed_image="beat", strength=strength)
    finally:
        watch.remove()
    assert called == rows
