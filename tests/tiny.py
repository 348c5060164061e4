"""A Stable Diffusion checkpoint of half a megabyte, as diffusers writes it today or as it did in 2022."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

UNET = {
    "act_fn": "silu",
    "attention_head_dim": 2,
    "block_out_channels": [8, 16],
    "center_input_sample": False,
    "cross_attention_dim": 16,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 1,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 4,
    "out_channels": 4,
    "sample_size": 64,
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
}
VAE = {
    "act_fn": "silu",
    "block_out_channels": [4, 8, 8, 8],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "out_channels": 3,
    "sample_size": 512,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
TEXT_ENCODER = {
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "dropout": 0.0,
    "eos_token_id": 2,
    "hidden_act": "quick_gelu",
    "hidden_size": 16,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "intermediate_size": 32,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 77,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "pad_token_id": 1,
    "projection_dim": 16,
    "vocab_size": 514,
}
SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.9.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}


def tiny_models(seed: int = 0) -> dict[str, UNet2DConditionModel | AutoencoderKL | CLIPTextModel]:
    """The `unet`, `vae` and `text_encoder` of a seed; no weight is left at a value it may have by default."""
    models = {
        "unet": UNet2DConditionModel.from_config(UNET),
        "vae": AutoencoderKL.from_config(VAE),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**TEXT_ENCODER)),
    }
    generator = torch.Generator().manual_seed(seed)
    for model in models.values():
        for name, parameter in model.named_parameters():
            fan_in = max(parameter[0].numel(), 1)
            values = torch.randn(parameter.shape, generator=generator) / fan_in**0.5
            is_scale = parameter.ndim == 1 and name.endswith("weight")  # of a normalization
            parameter.data = 1 + 0.1 * values if is_scale else values if parameter.ndim > 1 else 0.1 * values
        model.eval()
    return models


def write_tiny_checkpoint(folder: Path, legacy: bool, seed: int = 0) -> Path:
    """Write the models of `tiny_models(seed)` to `folder` and return it.

    `legacy` gives the layout in which diffusers 0.9 saved `riffusion/riffusion-model-v1`: pickled weights,
    `text_model.` and `position_ids`, the autoencoder's old attention names, class names since removed.
    Otherwise all is as diffusers saves it today. The tokenizer knows single bytes, so it takes any text.
    """
    models = tiny_models(seed)
    classes = {name: type(model).__name__ for name, model in models.items()}
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": SCHEDULER["_diffusers_version"],
        "feature_extractor": ["transformers", "CLIPFeatureExtractor"] if legacy else [None, None],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"] if legacy else [None, None],
        "requires_safety_checker": legacy,
        "scheduler": ["diffusers", SCHEDULER["_class_name"]],
        "text_encoder": ["transformers", classes["text_encoder"]],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", classes["unet"]],
        "vae": ["diffusers", classes["vae"]],
    }
    _write_json(folder / "model_index.json", index)
    _write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    _write_tokenizer(folder / "tokenizer")
    if legacy:
        _write_legacy_models(folder, models, classes)
    else:
        for name, model in models.items():
            model.save_pretrained(folder / name)
    return folder


def _write_legacy_models(folder: Path, models: dict[str, torch.nn.Module], classes: dict[str, str]) -> None:
    version = {"_diffusers_version": SCHEDULER["_diffusers_version"]}
    _write_json(folder / "unet" / "config.json", {"_class_name": classes["unet"], **version, **UNET})
    _write_json(folder / "vae" / "config.json", {"_class_name": classes["vae"], **version, **VAE})
    _write_json(
        folder / "text_encoder" / "config.json",
        {
            "_name_or_path": "openai/clip-vit-large-patch14",
            "architectures": [classes["text_encoder"]],
            "model_type": "clip_text_model",
            "torch_dtype": "float32",
            "transformers_version": "4.25.1",
            **TEXT_ENCODER,
        },
    )
    torch.save(models["unet"].state_dict(), folder / "unet" / "diffusion_pytorch_model.bin")

    old_names = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    vae = {}
    for name, tensor in models["vae"].state_dict().items():
        for new, old in old_names.items():
            name = name.replace(new, old)
        vae[name] = tensor
    torch.save(vae, folder / "vae" / "diffusion_pytorch_model.bin")

    text_encoder = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    for name, tensor in models["text_encoder"].state_dict().items():
        text_encoder[f"text_model.{name.removeprefix('text_model.')}"] = tensor
    torch.save(text_encoder, folder / "text_encoder" / "pytorch_model.bin")


def _write_tokenizer(folder: Path) -> None:
    # GPT-2's byte alphabet: printable bytes stand for themselves, the others for the characters from 256 on.
    printable = [code for first, last in ("!~", "¡¬", "®ÿ") for code in range(ord(first), ord(last) + 1)]
    others = [256 + count for count in range(256 - len(printable))]
    letters = [chr(code) for code in printable + others]
    start, end = "<|startoftext|>", "<|endoftext|>"
    special = {"bos_token": start, "eos_token": end, "pad_token": end, "unk_token": end}
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), start, end]
    _write_json(folder / "vocab.json", {token: number for number, token in enumerate(tokens)})
    (folder / "merges.txt").write_text("#version: 0.2\n")
    _write_json(
        folder / "tokenizer_config.json",
        {
            "add_prefix_space": False,
            "do_lower_case": True,
            "errors": "replace",
            "model_max_length": 77,
            "name_or_path": "openai/clip-vit-large-patch14",
            "special_tokens_map_file": "./special_tokens_map.json",
            "tokenizer_class": "CLIPTokenizer",
            **special,
        },
    )
    _write_json(folder / "special_tokens_map.json", special)


def _write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
