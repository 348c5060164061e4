"""The decoder as it is run, beside diffusers' own modules."""

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from tiny import VAE, tiny_models

from riffusion_space.decoder import PixelDecoder, transposed_weight


@pytest.mark.parametrize("change", [
    {}, {"mid_block_add_attention": False}, {"layers_per_block": 2, "use_post_quant_conv": False},
    {"up_block_types": ["AttnUpDecoderBlock2D", *["UpDecoderBlock2D"] * 3]},
])
def test_decodes_what_the_autoencoder_decodes(change):
    torch.manual_seed(0)
    vae = AutoencoderKL.from_config(VAE | change).eval() if change else tiny_models()["vae"]
    latents = torch.randn(2, 4, 9, 7)
    with torch.no_grad():
        expected = vae.decode(latents).sample.mean(1)
    torch.testing.assert_close(PixelDecoder(vae)(latents), expected, rtol=1e-4, atol=1e-4)


def test_embedded_decoder_moves_no_pixel_by_more_than_rounding(embedded):
    latents = torch.randn(1, 8, 64, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = embedded.vae.decode(latents).sample.mean(1)
    difference = (embedded.decoder(latents) - expected).abs() * 127.5
    assert difference.max() < 0.05


def test_bfloat16_moves_pixels_by_less_than_their_steps(embedded):
    from riffusion_space.checkpoints import load

    latents = torch.randn(1, 8, 64, 24, generator=torch.Generator().manual_seed(0))
    rough = load("embedded", "cpu", torch.bfloat16).decoder(latents.bfloat16())
    difference = (rough - embedded.decoder(latents)).abs() * 127.5
    assert rough.dtype == torch.float32 and 0 < difference.mean() < 0.25


def test_transposed_convolution_is_repetition_and_convolution():
    generator = torch.Generator().manual_seed(0)
    pictures, weight = torch.randn(1, 3, 5, 6, generator=generator), torch.randn(2, 3, 3, 3, generator=generator)
    expected = F.conv2d(F.interpolate(pictures, scale_factor=2, mode="nearest"), weight, padding=1)
    got = F.conv_transpose2d(pictures, transposed_weight(weight), stride=2, padding=1)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def embedded():
    from riffusion_space.checkpoints import load

    return load("embedded", "cpu", torch.float32)
