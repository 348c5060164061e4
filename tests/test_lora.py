"""LoRAs of every format are laid over a checkpoint as diffusers does it, and come off without a trace."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import wait_until
from diffusers import StableDiffusionPipeline
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from standin_hub import Repository, StandInHub
from test_hub import environment
from tiny import write_tiny_checkpoint

from riffusion_space.clip import read_settings
from riffusion_space.config import Config
from riffusion_space.lora import LORA_FILE, find_lora
from riffusion_space.pipeline import RiffusionPipeline
from riffusion_space.training.trainee import TARGETS, webui_names
from riffusion_space.ui.loading import PipelineLoader

TEXT_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj"]


def write_lora(checkpoint: Path, folder: Path, seed: int, rank: int = 2, alpha: float = 2,
               target: str = "all") -> Path:
    """What diffusers and peft alone write: random matrices for the UNet and the text encoder; returns the file."""
    stock = StableDiffusionPipeline.from_pretrained(checkpoint, safety_checker=None)
    torch.manual_seed(seed)
    layers, metadata = {}, {}
    for model, targets in ((stock.unet, list(TARGETS[target])), (stock.text_encoder, TEXT_TARGETS)):
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, init_lora_weights=False)
        model.add_adapter(config)
        layers[model] = get_peft_model_state_dict(model, adapter_name="default")
        metadata[model] = config.to_dict() | {"target_modules": targets, "peft_type": "LORA"}
    StableDiffusionPipeline.save_lora_weights(
        folder, unet_lora_layers=layers[stock.unet], text_encoder_lora_layers=layers[stock.text_encoder],
        unet_lora_adapter_metadata=metadata[stock.unet],
        text_encoder_lora_adapter_metadata=metadata[stock.text_encoder])
    return folder / LORA_FILE


@pytest.fixture(scope="module")
def files(tiny_folder, tmp_path_factory):
    """Two LoRAs for the tiny checkpoint; the second has an alpha that is not its rank."""
    folder = tmp_path_factory.mktemp("loras")
    return (write_lora(tiny_folder, folder / "bells", 1),
            write_lora(tiny_folder, folder / "drums", 2, rank=3, alpha=6, target="attention"))


@pytest.fixture
def pipe(tiny_pipe):
    yield tiny_pipe
    tiny_pipe.unload_loras()


def play(pipe):
    return pipe.text2audio("church bells", seed=7, steps=2, duration_s=1.0)


def outputs(unet, text_encoder):
    """What the two models say to fixed input."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn((1, 4, 64, 64), generator=generator)
    with torch.inference_mode():
        hidden = text_encoder(torch.arange(77)[None]).last_hidden_state
        return unet(latents, torch.tensor(500), encoder_hidden_states=hidden).sample


def test_the_models_say_what_they_say_in_diffusers(pipe, tiny_folder, files, tmp_path):
    bare = outputs(pipe.checkpoint.unet, pipe.checkpoint.text_encoder)
    tensors = load_file(files[0])
    stripped = {key.replace("lora.down", "lora_A").replace("lora.up", "lora_B"): value for key, value in
                tensors.items()}
    kohya = webui_names(stripped)
    for key in kohya:
        if key.endswith(".alpha"):
            kohya[key] = torch.tensor(1.0)  # half of the rank
    save_file(kohya, tmp_path / "kohya.safetensors")
    for path in (*files, tmp_path / "kohya.safetensors"):
        stock = StableDiffusionPipeline.from_pretrained(tiny_folder, safety_checker=None)
        stock.load_lora_weights(path.parent, weight_name=path.name)
        name = pipe.load_lora(path)
        ours = outputs(pipe.checkpoint.unet, pipe.checkpoint.text_encoder)
        assert (ours - bare).abs().max() > 0.05
        torch.testing.assert_close(ours, outputs(stock.unet, stock.text_encoder), atol=2e-4, rtol=1e-3)
        assert pipe.lora_weights == {name: 1.0} and name in ("bells", "drums", "kohya")
        pipe.unload_loras()
    assert torch.equal(outputs(pipe.checkpoint.unet, pipe.checkpoint.text_encoder), bare)


def test_unloading_gives_back_the_very_samples(pipe, files):
    weights = [id(parameter) for model in (pipe.checkpoint.unet, pipe.checkpoint.text_encoder)
               for parameter in model.parameters()]
    bare = play(pipe)
    pipe.load_lora(files[0])
    pipe.load_lora(files[1].parent, weight=0.5, name="rhythm")
    both = play(pipe)
    assert not np.array_equal(both.audio.samples, bare.audio.samples)
    assert np.array_equal(play(pipe).audio.samples, both.audio.samples)
    pipe.set_lora_weights({"bells": 0, "rhythm": 0})
    assert np.array_equal(play(pipe).audio.samples, bare.audio.samples)
    pipe.set_lora_weights({"bells": 1, "rhythm": 0.5})
    assert np.array_equal(play(pipe).audio.samples, both.audio.samples)
    pipe.unload_loras()
    again = play(pipe)
    assert np.array_equal(again.audio.samples, bare.audio.samples) and again.settings == bare.settings
    assert weights == [id(parameter) for model in (pipe.checkpoint.unet, pipe.checkpoint.text_encoder)
                       for parameter in model.parameters()]


def test_several_blend_by_their_weights(pipe, files):
    layer = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    weight = lambda: pipe.checkpoint.unet.get_submodule(layer).weight.detach().clone()  # noqa: E731
    bare = weight()
    expected = bare.clone()
    for file, scale in zip(files, (0.7, -0.3 * 2)):  # the second's alpha is twice its rank
        tensors = {key.split(layer)[1]: value for key, value in load_file(file).items() if layer in key}
        up = next(value for key, value in tensors.items() if "up" in key or "_B" in key)
        down = next(value for key, value in tensors.items() if "down" in key or "_A" in key)
        expected += scale * up @ down
    pipe.load_lora(files[0], 0.7)
    pipe.load_lora(files[1], -0.3)
    torch.testing.assert_close(weight(), expected)


def test_clips_name_the_loras_they_were_made_with(pipe, files, tmp_path):
    assert "loras" not in play(pipe).settings
    pipe.load_lora(files[0], 0.8)
    clip = play(pipe)
    (entry,) = clip.settings["loras"]
    assert entry["name"] == "bells" and entry["weight"] == 0.8 and re.fullmatch("[0-9a-f]{16}", entry["revision"])
    assert read_settings(clip.save(tmp_path / "clip.wav")) == clip.settings
    patched = pipe.inpaint(clip.audio, "bells", regions=[(0.2, 0.6)], seed=7, steps=1)
    longer = pipe.extend(clip.audio, "bells", seconds=1, seed=7, steps=1)
    assert patched.settings["loras"] == longer.settings["loras"] == [entry]


def test_a_running_request_is_waited_for(pipe, files):
    loaded = threading.Thread(target=pipe.load_lora, args=(files[0],))
    with pipe._turn.together(1):
        loaded.start()
        wait_until(lambda: pipe._turn._lines[False])
        time.sleep(0.1)  # it would not wait
        assert loaded.is_alive() and not pipe.lora_weights
    loaded.join(60)
    assert pipe.lora_weights == {"bells": 1.0}


def _truncate(path, tensors):
    path.write_bytes(path.read_bytes()[:-100])


def _save(change):
    return lambda path, tensors: save_file(change(tensors), path)


@pytest.mark.parametrize("spoil, complaint", [
    (_truncate, "truncated or damaged"),
    (_save(lambda tensors: {"unet.conv_in.weight": torch.zeros(2)}), "plain down and up matrices"),
    (_save(lambda tensors: {"lora_unet_mid_block_to_q.alpha": torch.tensor(1.0)}), "without its matrices"),
    (_save(lambda tensors: {key.replace("mid_block", "middle"): value for key, value in tensors.items()}),
     "there is no layer for unet.middle"),
    (_save(lambda tensors: {key: value for key, value in tensors.items() if "mid_block" not in key or "down" in key
                            or "lora_A" in key}), "a down and an up matrix"),
    (_save(lambda tensors: {key: value.repeat(1, 2, *[1] * (value.ndim - 2)) for key, value in tensors.items()}),
     "made for another checkpoint"),
    (_save(lambda tensors: {key: value * torch.nan for key, value in tensors.items()}), "finite numbers"),
    (_save(lambda tensors: {**tensors, "unet.mid_block.attentions.0.proj_in.lora_magnitude_vector": torch.ones(4)}),
     "lora_magnitude_vector"),
])
def test_bad_files_are_refused_and_change_nothing(pipe, files, tmp_path, spoil, complaint):
    pipe.load_lora(files[1])
    before = outputs(pipe.checkpoint.unet, pipe.checkpoint.text_encoder)
    path = Path(shutil.copy(files[0], tmp_path / "bad.safetensors"))
    tensors = {key: value.clone() for key, value in load_file(path).items()}
    spoil(path, tensors)
    with pytest.raises(ValueError, match=complaint) as caught:
        pipe.load_lora(path)
    assert "\n" not in str(caught.value)
    assert pipe.lora_weights == {"drums": 1.0}
    assert torch.equal(outputs(pipe.checkpoint.unet, pipe.checkpoint.text_encoder), before)


def test_bad_arguments_are_refused(pipe, files, tmp_path):
    (tmp_path / "old.pt").write_bytes(b"x")
    for source, complaint in (("no such thing", "file, folder or Hub id"), (tmp_path, "got 0"),
                              ("my-loras/bells.safetensors", "there is none at 'my-loras/bells.safetensors'"),
                              (tmp_path / "old.pt", "as .safetensors, got 'old.pt'")):
        with pytest.raises(ValueError, match=complaint):
            pipe.load_lora(source)
    with pytest.raises(ValueError, match="from -10 to 10, got 11"):
        pipe.load_lora(files[0], 11)
    with pytest.raises(ValueError, match="from -10 to 10, got nan"):
        pipe.load_lora(files[0], float("nan"))
    pipe.load_lora(files[0])
    with pytest.raises(ValueError, match="'bells' twice"):
        pipe.load_lora(files[0])
    with pytest.raises(ValueError, match=r"loaded LoRA \(bells\), got 'violin'"):
        pipe.set_lora_weights({"bells": 0.1, "violin": 1})
    assert pipe.lora_weights == {"bells": 1.0}
    for name in ("a", "b"):
        shutil.copy(files[0], tmp_path / f"{name}.safetensors")
    with pytest.raises(ValueError, match="one other .safetensors file .*, got 2"):
        find_lora(tmp_path)


FETCH = """
import json, sys
from riffusion_space.lora import find_lora
try:
    path, name = find_lora(sys.argv[1])
    print(json.dumps({"name": name, "bytes": path.stat().st_size}))
except ValueError as error:
    print(json.dumps({"error": str(error)}))
"""


def test_of_a_hub_model_only_the_lora_is_downloaded(files, tmp_path):
    content = files[0].read_bytes()
    repository = Repository({LORA_FILE: content, "README.md": b"# LoRA", "other.bin": b"x", "sample.wav": b"y"})

    def fetch(name):
        done = subprocess.run([sys.executable, "-c", FETCH, name], env=environment(tmp_path, hub.url),
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    with StandInHub({"someone/zither": repository, "someone/nothing": Repository({"README.md": b"#"})}) as hub:
        assert fetch("someone/zither@main") == {"name": "zither", "bytes": len(content)}
        assert hub.asked == {LORA_FILE}
        assert "got 0" in fetch("someone/nothing")["error"]
        assert "no model someone/gone" in fetch("someone/gone")["error"]
    assert fetch("someone/zither@main")["name"] == "zither"  # the cache serves without a network
    assert "cannot be reached" in fetch("someone/else")["error"]


def test_the_page_and_the_command_line_load_them(tiny_folder, files, tmp_path):
    loader = PipelineLoader(Config(checkpoint=str(tiny_folder), device="cpu", lora=f"{files[0]}:0.8,{files[1].parent}"))
    loader.load()
    assert loader.state.phase == "ready" and " LoRA: bells, drums.</span>" in loader.state.banner
    assert loader.state.pipeline.lora_weights == {"bells": 0.8, "drums": 1.0}
    broken = PipelineLoader(Config(checkpoint=str(tiny_folder), device="cpu", lora=str(tmp_path)))
    broken.load()
    assert broken.state.phase == "failed" and "pytorch_lora_weights" in broken.state.text
    output = tmp_path / "out.wav"
    done = subprocess.run(
        [sys.executable, "-m", "riffusion_space", "text2audio", "bells", "--checkpoint", tiny_folder, "--device", "cpu",
         "--steps", "1", "--duration-s", "1", "--lora", files[0], "--lora", f"{files[1]}:0.5", "-o", output],
        capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    named = {entry["name"]: entry["weight"] for entry in read_settings(output)["loras"]}
    assert named == {"bells": 1, "drums": 0.5}


def test_half_precision_comes_back_too(files, tmp_path):
    folder = write_tiny_checkpoint(tmp_path, legacy=False)
    pipe = RiffusionPipeline.from_pretrained(str(folder), "cpu", torch.bfloat16, config=Config())
    bare = {name: value.clone() for name, value in pipe.checkpoint.unet.state_dict().items()}
    pipe.load_lora(files[0])
    assert {value.dtype for value in pipe.checkpoint.unet.state_dict().values()} == {torch.bfloat16}
    pipe.unload_loras()
    assert all(torch.equal(value, bare[name]) for name, value in pipe.checkpoint.unet.state_dict().items())
