"""The autoencoder's decoder as it is run: latents to one channel of pixels, with the same result by less work.

Half of a clip's time on a CPU goes into the decoder, and most of that into moving data. Against diffusers' own modules:

- tensors are channels-last, activations are put in the place of what they were computed from;
- the mean over red, green and blue, which are the same but for the model's errors, is taken of the last convolution's
  weights and not of its pixels;
- on a CPU an upsampling by repetition and the 3 x 3 convolution after it are one transposed convolution of 4 x 4, which
  leaves out the products that the repetition would compute again: 4 of 9 remain.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_blocks import UpDecoderBlock2D
from diffusers.models.upsampling import Upsample2D

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


class PixelDecoder:
    """Decodes with the weights that an autoencoder has when this is made."""

    def __init__(self, vae: AutoencoderKL) -> None:
        self._vae, decoder = vae, vae.decoder
        self._turn = threading.Lock()  # one at a time: its pictures take more memory than all else of a request
        with torch.no_grad():
            last = decoder.conv_out
            # bfloat16 has 8 bits for a number, as pixels have: the last one needs more.
            dtype = torch.float32 if last.weight.dtype == torch.bfloat16 else last.weight.dtype
            self._last = (last.weight.float().mean(0, keepdim=True).to(dtype),
                          last.bias.float().mean(0, keepdim=True).to(dtype))
            on_cpu = last.weight.device.type == "cpu"
            self._transposed = {
                block: transposed_weight(block.upsamplers[0].conv.weight) for block in decoder.up_blocks
                if on_cpu and isinstance(block, UpDecoderBlock2D) and block.upsamplers is not None
                and _is_plain(block.upsamplers[0])}

    @torch.inference_mode()
    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        """Pixels (items, rows * scale, columns * scale) in about -1..1 of latents (items, channels, rows, columns)."""
        with self._turn:
            return self._decoded(latents)

    def _decoded(self, latents: torch.Tensor) -> torch.Tensor:
        decoder = self._vae.decoder
        hidden = latents.contiguous(memory_format=torch.channels_last)
        if self._vae.post_quant_conv is not None:
            hidden = self._vae.post_quant_conv(hidden)
        hidden = decoder.mid_block(decoder.conv_in(hidden))
        for block in decoder.up_blocks:
            hidden = self._up(block, hidden)
        hidden = decoder.conv_act(decoder.conv_norm_out(hidden))
        return F.conv2d(hidden.to(self._last[0].dtype), *self._last, padding=1)[:, 0]

    def _up(self, block: torch.nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        if not isinstance(block, UpDecoderBlock2D):  # one with attention is left as it is
            return block(hidden)
        for resnet in block.resnets:
            hidden = residual(resnet, hidden) if isinstance(resnet, ResnetBlock2D) else resnet(hidden, None)
        if block in self._transposed:
            bias = block.upsamplers[0].conv.bias
            return F.conv_transpose2d(hidden, self._transposed[block], bias, stride=2, padding=1)
        for upsampler in block.upsamplers or ():
            hidden = upsampler(hidden)
        return hidden


def residual(block: ResnetBlock2D, hidden: torch.Tensor) -> torch.Tensor:
    """What a block without time embedding makes of ``hidden``, which stays as it is."""
    changed = block.conv1(_activated(block, block.norm1(hidden)))
    changed = block.conv2(_activated(block, block.norm2(changed)))
    if block.conv_shortcut is not None:
        hidden = block.conv_shortcut(hidden)
    changed += hidden
    return changed if block.output_scale_factor == 1 else changed.div_(block.output_scale_factor)


def _activated(block: ResnetBlock2D, normed: torch.Tensor) -> torch.Tensor:
    """The activation of a norm's output, which nothing else needs."""
    return F.silu(normed, inplace=True) if isinstance(block.nonlinearity, torch.nn.SiLU) else block.nonlinearity(normed)


def _is_plain(upsampler: Upsample2D) -> bool:
    """Whether it repeats every pixel and then convolves 3 x 3, and does nothing else."""
    return upsampler.use_conv and not upsampler.use_conv_transpose and upsampler.norm is None \
        and upsampler.conv.kernel_size == (3, 3)


def transposed_weight(weight: torch.Tensor) -> torch.Tensor:
    """Weight (in, out, 4, 4) of the transposed convolution, of stride 2 and padding 1, that equals a two-fold
    repetition and then a convolution with ``weight`` (out, in, 3, 3) and padding 1.

    In one dimension: pixel 2 m of the repetition's convolution is w0 x[m - 1] + (w1 + w2) x[m], pixel 2 m + 1 is
    (w0 + w1) x[m] + w2 x[m + 1]; and the transposed convolution puts k1 x[m] + k3 x[m - 1] and k2 x[m] + k0 x[m + 1]
    there.
    """
    mixed = torch.tensor([[0.0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], device=weight.device)
    return torch.einsum("ay,oiyx,bx->ioab", mixed, weight.float(), mixed).to(weight.dtype).contiguous()
