"""Put the trained parts together as a checkpoint folder in diffusers' format, in float16, every file below 10 MB.

``python -m riffusion_space.training.export --data data --out assets/riffusion-mini``
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from riffusion_space.training.sounds import AMBIENCES, GENRES, INSTRUMENTS

RECOMMENDED = {"steps": 10, "guidance": 4.0, "guided": 0.5, "scheduler": "dpm++", "beat": 0.2}


def export(data: Path, out: Path, vae: Path | None = None) -> None:
    """Write ``out`` from ``data/{autoencoder/vae,text,diffusion}``; a README.md in ``out`` stays.

    ``vae``: the folder of an autoencoder to take instead, whose decoder was trained further.
    """
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(vae or data / "autoencoder/vae").half(),
        text_encoder=CLIPTextModel.from_pretrained(data / "text/text_encoder").half(),
        tokenizer=CLIPTokenizer.from_pretrained(data / "text/tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(data / "diffusion/unet").half(),
        scheduler=DPMSolverMultistepScheduler.from_pretrained(data / "diffusion/scheduler"),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )
    for part in ("vae", "text_encoder", "tokenizer", "unet", "scheduler"):
        shutil.rmtree(out / part, ignore_errors=True)  # a smaller model leaves no shards of a larger one behind
    pipeline.save_pretrained(out, max_shard_size="9MB")
    # transformers would load the text encoder in the type that it is stored in, diffusers loads the rest in float32.
    config = out / "text_encoder/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"dtype": "float32"}, indent=2) + "\n")
    for config in out.rglob("config.json"):  # where the parts lay on this machine is nobody's business
        kept = {key: value for key, value in json.loads(config.read_text()).items() if key != "_name_or_path"}
        config.write_text(json.dumps(kept, indent=2) + "\n")
    vocabulary = {"instruments": INSTRUMENTS, "genres": GENRES, "ambiences": AMBIENCES}
    own = RECOMMENDED | {"vocabulary": {kind: [sound.name for sound in sounds] for kind, sounds in vocabulary.items()}}
    (out / "riffusion.json").write_text(json.dumps(own, indent=2) + "\n")
    files = [path for path in out.rglob("*") if path.is_file()]
    print(f"{out}: {sum(p.stat().st_size for p in files) / 1e6:.1f} MB, "
          f"largest file {max(p.stat().st_size for p in files) / 1e6:.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description="Assemble riffusion-mini from its trained parts.")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("assets/riffusion-mini"))
    parser.add_argument("--vae", type=Path, help="an autoencoder's folder, if not that in DATA")
    args = parser.parse_args()
    export(args.data, args.out, args.vae)


if __name__ == "__main__":
    main()
