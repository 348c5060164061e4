import pytest
import torch

from riffusion_space.schedulers import SCHEDULERS, check_scheduler, make_scheduler


def test_all_the_originals_schedulers_are_there():
    assert SCHEDULERS == ("dpm++", "unipc", "euler", "euler a", "ddim", "pndm", "lms")


@pytest.mark.parametrize("name", SCHEDULERS)
def test_each_finds_the_picture_with_a_perfect_model(name, tiny_pipe):
    """With a model that always predicts the noise of one picture exactly, every scheduler must arrive at it."""
    scheduler = make_scheduler(name, tiny_pipe.checkpoint.scheduler)
    scheduler.set_timesteps(20)
    generator = torch.Generator().manual_seed(0)
    picture = torch.randn(1, 4, 8, 8, generator=generator)
    latents = torch.randn(1, 4, 8, 8, generator=generator) * scheduler.init_noise_sigma
    alphas = tiny_pipe.checkpoint.scheduler.alphas_cumprod
    for timestep in scheduler.timesteps:
        scaled = scheduler.scale_model_input(latents, timestep)
        alpha = torch.from_numpy(__import__("numpy").interp([float(timestep)], range(1000), alphas.numpy())).float()
        noise = (scaled - alpha.sqrt() * picture) / (1 - alpha).sqrt()
        extra = {"generator": generator} if name == "euler a" else {}
        latents = scheduler.step(noise, timestep, latents, **extra).prev_sample
    assert (latents - picture).abs().mean() < 0.15


def test_unknown_name_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"dpm\+\+, unipc, .* got 'ddpm'"):
        check_scheduler("ddpm")
