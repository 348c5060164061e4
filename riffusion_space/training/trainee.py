"""What fine-tuning moves: LoRA layers on a checkpoint, or all of its UNet; and how the result is written.

LoRA: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021. A layer's weight W becomes W + B A, with
A and B of a small rank. Alpha equals the rank, so that the scale is 1 for every program that reads the file.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from riffusion_space.checkpoints import Checkpoint
from riffusion_space.lora import LORA_FILE

_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
_TRANSFORMER = (*_ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2")
# Names of a UNet's layers, as ends of their full names. A new timbre is in the convolutions more than in attention:
# benchmarks/finetune.py measures how much.
TARGETS: dict[str, tuple[str, ...]] = {
    "attention": _ATTENTION,
    "transformer": _TRANSFORMER,
    "all": (*_TRANSFORMER, "conv1", "conv2", "conv_shortcut", "time_emb_proj", "conv", "linear_1", "linear_2",
            "add_embedding.proj"),
}
_TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")


class Trainee(nn.Module):
    """A checkpoint's UNet and text encoder as one module, with what is trained in float32 and the rest frozen.

    Args:
        checkpoint: its models are changed in place: they get LoRA layers, or their weights move.
        rank: of the LoRA layers, or None to train all weights of the UNet.
        target: a name of ``TARGETS``: which layers get LoRA.
        text_encoder: whether the text encoder is trained, too.
        gradient_checkpointing: compute activations again on the way back, for less memory and more time.
    """

    def __init__(self, checkpoint: Checkpoint, rank: int | None, target: str, text_encoder: bool,
                 gradient_checkpointing: bool = False) -> None:
        super().__init__()
        self.unet, self.text_encoder = checkpoint.unet, checkpoint.text_encoder
        self._rank, self._trains_text = rank, text_encoder
        for model, targets, trained in ((self.unet, TARGETS[target], True),
                                        (self.text_encoder, _TEXT_TARGETS, text_encoder)):
            model.requires_grad_(rank is None and trained)
            if rank is not None and trained:
                model.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(targets)))
        self._trained = {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}
        for parameter in self._trained.values():
            parameter.data = parameter.data.float()
        if gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
            if text_encoder:
                self.text_encoder.gradient_checkpointing_enable({"use_reentrant": False})
                for layer in self.text_encoder.modules():
                    if isinstance(layer, GradientCheckpointingLayer):
                        layer.training = True  # what it asks for; without its parts, so that nothing drops out

    def forward(self, noisy: torch.Tensor, timesteps: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """The prediction for latents (batch, channels, rows, columns) with captions' tokens (batch, 77)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._trains_text):
            hidden = self.text_encoder(tokens).last_hidden_state
        kind = self.unet.dtype
        return self.unet(noisy.to(kind), timesteps, encoder_hidden_states=hidden.to(kind)).sample

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that move, by name."""
        return self._trained

    @torch.no_grad()
    def restore(self, saved: dict[str, torch.Tensor]) -> None:
        """Put values of ``trained()`` back."""
        for name, parameter in self.trained().items():
            parameter.copy_(saved[name])

    def layers(self) -> dict[str, torch.Tensor]:
        """The LoRA layers on the CPU by names such as ``unet.mid_block.[...].to_q.lora_A.weight``."""
        layers = {f"unet.{name}": value for name, value in get_peft_model_state_dict(
            self.unet, adapter_name="default").items()}
        if self._trains_text:
            # diffusers takes the prefix off where the installed transformers no longer has it
            layers |= {f"text_encoder.text_model.{name.removeprefix('text_model.')}": value
                       for name, value in get_peft_model_state_dict(self.text_encoder, adapter_name="default").items()}
        return {name: value.detach().float().cpu().contiguous() for name, value in layers.items()}

    def write(self, checkpoint: Checkpoint, folder: Path) -> None:
        """Write the result: a LoRA for diffusers and one for the web UIs, or a whole diffusers folder in float16.

        A LoRA's file is replaced in one piece: whoever reads it while training goes on reads a whole one.
        """
        if self._rank is None:
            _write_checkpoint(checkpoint, folder)
            return
        layers = self.layers()
        _write_tensors(layers, folder / LORA_FILE)
        (folder / "webui").mkdir(exist_ok=True)
        _write_tensors(webui_names(layers), folder / "webui" / f"{folder.resolve().name}.safetensors")


def webui_names(layers: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """LoRA layers by the names of kohya's sd-scripts, which the web UIs read, with their alphas.

    >>> sorted(webui_names({"unet.mid_block.to_q.lora_A.weight": torch.zeros(4, 8)}))
    ['lora_unet_mid_block_to_q.alpha', 'lora_unet_mid_block_to_q.lora_down.weight']
    """
    renamed = {}
    for name, value in layers.items():
        module, part, _ = name.rsplit(".", 2)
        model, _, module = module.partition(".")
        key = f"lora_{'unet' if model == 'unet' else 'te'}_{module.replace('.', '_')}"
        renamed[f"{key}.{'lora_down' if part == 'lora_A' else 'lora_up'}.weight"] = value
        if part == "lora_A":
            renamed[f"{key}.alpha"] = torch.tensor(float(len(value)))
    return renamed


def _write_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    partial = path.with_suffix(".partial")
    try:
        partial.write_bytes(save(tensors, metadata={"format": "pt"}))  # OSError where save_file would say less
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _write_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """The whole checkpoint in diffusers' layout and float16, beside what else is in the folder."""
    pipeline = StableDiffusionPipeline(
        vae=checkpoint.vae, text_encoder=checkpoint.text_encoder, tokenizer=checkpoint.tokenizer,
        unet=checkpoint.unet, scheduler=checkpoint.scheduler, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False)
    partial = folder / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        try:
            pipeline.save_pretrained(partial)
        except SafetensorError as error:  # its own name for a full disk
            raise OSError(f"the checkpoint could not be written: {error}") from error
        for path in partial.rglob("*.safetensors"):
            _halve(path)
        config = partial / "text_encoder/config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"dtype": "float32"}, indent=2) + "\n")
        own = {**vars(checkpoint.recommended), "vocabulary": vars(checkpoint.vocabulary)}
        (partial / "riffusion.json").write_text(json.dumps(own, indent=2) + "\n")
        _replace_parts(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _replace_parts(source: Path, folder: Path) -> None:
    """Move all that is in ``source`` into ``folder``: all of it, or, where that fails, nothing."""
    aside = folder / "replaced"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    moved: list[str] = []
    try:
        for part in sorted(source.iterdir()):
            target = folder / part.name
            if target.exists():
                os.replace(target, aside / part.name)
            moved.append(part.name)
            os.replace(part, target)
    except OSError:
        for name in moved:
            if (folder / name).exists():
                os.replace(folder / name, source / name)
            if (aside / name).exists():
                os.replace(aside / name, folder / name)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _halve(path: Path) -> None:
    """Rewrite a file of float32 tensors in float16: the models themselves have to stay as they are."""
    tensors = {name: value.half() if value.is_floating_point() else value for name, value in load_file(path).items()}
    _write_tensors(tensors, path)
