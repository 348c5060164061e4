from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from standin_hub import UNNEEDED, Repository, StandInHub
from test_hub import ROOT, environment, run
from tiny import tiny_models, write_tiny_checkpoint

from riffusion_space import checkpoints
from riffusion_space.checkpoints import (
    HUB_ID,
    CheckpointError,
    Recommended,
    Vocabulary,
    choose,
    load,
    usual_dtype,
)
from riffusion_space.prompts import embed_prompts
from riffusion_space.schedulers import SCHEDULERS, make_scheduler

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(scope="module")
def modern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("modern"), legacy=False)


@pytest.fixture
def copied(modern: Path, tmp_path: Path) -> Path:
    return shutil.copytree(modern, tmp_path / "model")


@pytest.mark.parametrize("legacy", [True, False])
def test_every_weight_is_in_its_place(legacy: bool, tmp_path: Path) -> None:
    loaded = load(str(write_tiny_checkpoint(tmp_path, legacy, seed=3)), "cpu", torch.float32)
    written = tiny_models(seed=3)
    for name, model in written.items():
        expected, got = model.state_dict(), getattr(loaded, name).state_dict()
        assert got.keys() == expected.keys()
        assert all(torch.equal(got[key], expected[key]) for key in expected), name

    prompt = loaded.tokenizer("Church bells", padding="max_length", return_tensors="pt").input_ids
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        embeddings = written["text_encoder"](prompt).last_hidden_state
        assert torch.equal(loaded.text_encoder(prompt).last_hidden_state, embeddings)
        encoded = written["vae"].encode(image).latent_dist.mode()
        assert torch.equal(loaded.vae.encode(image).latent_dist.mode(), encoded)
        assert torch.equal(loaded.vae.decode(latents).sample, written["vae"].decode(latents).sample)
        written["unet"].to(memory_format=torch.channels_last)  # as loaded: kernels differ in the last bits
        noise = written["unet"](latents, 500, embeddings).sample
        assert torch.equal(loaded.unet(latents, 500, embeddings).sample, noise)


def test_the_legacy_layout_is_the_one_of_2022(tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path, legacy=True)
    assert not list(tmp_path.rglob("*.safetensors"))
    text_encoder = torch.load(tmp_path / "text_encoder" / "pytorch_model.bin")
    assert all(name.startswith("text_model.") for name in text_encoder)
    assert text_encoder["text_model.embeddings.position_ids"].shape == (1, 77)
    vae = torch.load(tmp_path / "vae" / "diffusion_pytorch_model.bin")
    attention = "decoder.mid_block.attentions.0"
    assert {f"{attention}.{name}.weight" for name in ("query", "key", "value", "proj_attn")} < vae.keys()
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["feature_extractor"][1] == "CLIPFeatureExtractor"
    assert index["scheduler"][1] == "PNDMScheduler"


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_schedule_of_2022_begins_with_noise_however_few_the_steps(tmp_path: Path, name: str) -> None:
    loaded = load(str(write_tiny_checkpoint(tmp_path, legacy=True)), "cpu")
    scheduler = make_scheduler(name, loaded.scheduler)
    for steps in (1, 3, 50):
        scheduler.set_timesteps(steps)
        assert scheduler.timesteps[0] == 999


def test_loading_for_inference_alone_leaves_weights_that_can_be_told_apart(modern: Path) -> None:
    with torch.inference_mode():
        loaded = load(str(modern), "cpu")
    assert embed_prompts(loaded, ["rain"]).shape[0] == 1


def test_what_a_checkpoint_says_of_itself(modern: Path) -> None:
    steps = []
    loaded = load(str(modern), "cpu", torch.float16, progress=lambda *step: steps.append(step))
    assert (loaded.name, loaded.device, loaded.dtype) == (modern.name, CPU, torch.float16)
    assert {parameter.dtype for parameter in loaded.unet.parameters()} == {torch.float16}
    assert not any(model.training for model in (loaded.unet, loaded.vae, loaded.text_encoder))
    assert loaded.recommended == Recommended()
    assert loaded.scheduler.config.beta_schedule == "scaled_linear"
    assert loaded.scheduler.config.skip_prk_steps  # what only PNDM reads is kept for it
    assert loaded.revision == load(str(modern), "cpu").revision
    assert [fraction for fraction, _ in steps] == [0, 1 / 3, 2 / 3, 1]
    assert steps[2][1] == "Loading the text encoder"


@pytest.mark.parametrize(("capabilities", "expected"), [
    ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
    ({"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
    ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, torch.float32),
    ({}, torch.float32),
])
def test_cpus_with_instructions_for_bfloat16_use_them(modern: Path, monkeypatch: pytest.MonkeyPatch,
                                                      capabilities: dict[str, bool], expected: torch.dtype) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    loaded = load(str(modern), "cpu")
    assert loaded.dtype == loaded.unet.dtype == loaded.vae.dtype == expected
    assert loaded.text_encoder.dtype == torch.float32
    assert load(str(modern), "cpu", torch.float32).unet.dtype == torch.float32  # who asks decides
    assert usual_dtype(torch.device("cuda")) == torch.float16


def test_any_text_becomes_tokens(modern: Path) -> None:
    tokenizer = load(str(modern), "cpu").tokenizer
    for text in ("", "Church bells", "¡ñandú! 🎵 汉字\t\x00", "a" * 500):
        ids = tokenizer(text, padding="max_length", truncation=True).input_ids
        assert len(ids) == 77 and ids[0] == tokenizer.bos_token_id
    assert len(set(tokenizer("flute").input_ids)) == 7


def test_shards_are_put_together(copied: Path) -> None:
    expected = tiny_models()["unet"]
    (copied / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    expected.save_pretrained(copied / "unet", max_shard_size="100KB")
    assert len(list((copied / "unet").glob("*-of-*.safetensors"))) > 2
    got = load(str(copied), "cpu", torch.float32).unet.state_dict()
    assert all(torch.equal(got[name], tensor) for name, tensor in expected.state_dict().items())


def test_weights_that_do_not_fit_are_named(copied: Path) -> None:
    path = copied / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    name = "encoder.conv_in.weight"
    without = {key: tensor for key, tensor in tensors.items() if key != name}
    for changed, sentence in (
        (tensors | {name: torch.zeros(4, 3, 5, 5)}, rf"{name} of shape \(4, 3, 3, 3\), got \(4, 3, 5, 5\)"),
        (without, f"expected {name}, which is missing"),
        (tensors | {"adapter.weight": torch.zeros(1)}, "no place for adapter.weight"),
    ):
        save_file(changed, path)
        with pytest.raises(CheckpointError, match=f"in vae of .* do not fit its config.json: .*{sentence}"):
            load(str(copied), "cpu")


@pytest.mark.parametrize(
    ("file", "change", "sentence"),
    [
        ("unet/config.json", {"in_channels": 9}, "expected 4 latent channels into the unet, got 9"),
        ("unet/config.json", {"cross_attention_dim": 32}, "expected 16 text features into the unet, got 32"),
        ("text_encoder/config.json", {"vocab_size": 100}, "at most 100 tokens in the tokenizer, got 514"),
        (
            "unet/config.json",
            {"down_block_types": ["DownBlock2D"]},
            "unet/config.json of .* describes no Stable",
        ),
        ("vae/config.json", {"norm_num_groups": 0}, "vae/config.json of .* describes no Stable"),
        ("text_encoder/config.json", {"hidden_act": "x"}, "text_encoder/config.json of .* describes no Stable"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "x"}, "scheduler_config.json of .* describes no"),
    ],
)
def test_parts_that_do_not_belong_together(copied: Path, file: str, change: dict, sentence: str) -> None:
    content = json.loads((copied / file).read_text())
    (copied / file).write_text(json.dumps(content | change))
    with pytest.raises(CheckpointError, match=sentence):
        load(str(copied), "cpu")


def test_a_damaged_file_of_ones_own_stays(copied: Path) -> None:
    path = copied / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=f"{path} is truncated or damaged"):
        load(str(copied), "cpu")
    assert path.is_file()


def test_a_damaged_tokenizer_is_a_sentence(copied: Path) -> None:
    (copied / "tokenizer" / "tokenizer.json").unlink(missing_ok=True)
    path = copied / "tokenizer" / "merges.txt"
    path.write_text("#version: 0.2\na b\nonlyone\n")
    with pytest.raises(CheckpointError, match="merges.txt is truncated or damaged"):
        load(str(copied), "cpu")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta:x"])
def test_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(CheckpointError, match=f"Expected a device that this machine has, such as cpu, got '{device}'"):
        load("no/such-model", device)


def test_a_folder_is_told_by_its_name_alone(copied: Path) -> None:
    loaded = load(str(copied), "cpu")
    assert loaded.name == copied.name
    assert loaded.reason == f"The checkpoint in the folder {copied.name} plays because it was asked for."


def test_a_checkpoint_recommends_its_settings(copied: Path) -> None:
    path = copied / "riffusion.json"
    path.write_text('{"steps": 20, "guidance": 4, "scheduler": "unipc", "guided": 0.6, "beat": 0.3, "new": "bells"}')
    loaded = load(str(copied), "cpu")
    assert loaded.recommended == Recommended(steps=20, guidance=4, scheduler="unipc", guided=0.6, beat=0.3)
    assert loaded.vocabulary == Vocabulary()
    for entry in (
        '"steps": 0',
        '"steps": "20"',
        '"guidance": -1',
        '"guidance": NaN',
        '"guided": 1.5',
        '"beat": true',
        '"scheduler": 3',
        '"scheduler": "ddpm"',
        '"steps"',
        '"vocabulary": ["harp"]',
        '"vocabulary": {"genres": "jazz"}',
        '"vocabulary": {"instruments": ["harp", 3]}',
    ):
        path.write_text("{" + entry + "}")
        with pytest.raises(CheckpointError, match="riffusion.json"):
            load(str(copied), "cpu")


def test_a_checkpoint_says_what_it_can_play(copied: Path) -> None:
    (copied / "riffusion.json").write_text('{"vocabulary": {"instruments": ["harp"], "genres": [], "moods": ["sad"]}}')
    assert load(str(copied), "cpu").vocabulary == Vocabulary(instruments=("harp",))


def test_the_embedded_checkpoint(modern: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    monkeypatch.setattr(checkpoints, "EMBEDDED_DIR", modern)
    for name in ("auto", "embedded"):
        loaded = load(name, "cpu")
        assert loaded.name == "embedded"
        assert loaded.reason.startswith("The embedded checkpoint plays because")


def test_auto_follows_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    assert choose("auto", CPU)[0] == "embedded"
    assert choose("auto", torch.device("mps"))[0] == "embedded"
    assert choose("auto", CUDA)[0] == HUB_ID
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert choose("auto", CPU)[0] == HUB_ID


def test_auto_plays_the_embedded_one_where_the_hub_is_out_of_reach(
    modern: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*arguments: object) -> Path:
        raise CheckpointError("The Hub cannot be reached.")

    monkeypatch.delenv("SPACE_ID", raising=False)
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")  # as good as a GPU for the choice
    monkeypatch.setattr(checkpoints, "EMBEDDED_DIR", modern)
    monkeypatch.setattr(checkpoints.hub, "fetch", unreachable)
    loaded = load("auto", "cpu")
    assert loaded.name == "embedded" and loaded.revision == load("embedded", "cpu").revision
    assert loaded.reason == (f"The embedded checkpoint plays because {HUB_ID} cannot be had. "
                             "The Hub cannot be reached.")
    with pytest.raises(CheckpointError, match="cannot be reached"):
        load(HUB_ID, "cpu")
    monkeypatch.setenv("SPACE_ID", "owner/space")
    with pytest.raises(CheckpointError, match="cannot be reached"):
        load("auto", "cpu")


def test_names_that_were_asked_for(tmp_path: Path) -> None:
    for name in ("embedded", f"{HUB_ID}@main", str(tmp_path)):
        chosen, reason = choose(name, CPU)
        assert chosen == name and reason.endswith("asked for." if name != "embedded" else "by name.")
    for name in ("", "riffusion", str(tmp_path / "missing"), "a/b/c", "a/b@", "../model"):
        with pytest.raises(CheckpointError, match="Expected 'auto', 'embedded', a Hub id"):
            choose(name, CPU)


LOAD_AND_DAMAGE = """
import json, sys, torch
from pathlib import Path
from riffusion_space.checkpoints import CheckpointError, load

name, home = sys.argv[1:]
first = load(name, "cpu")
cached = next(Path(home).rglob("snapshots/*/unet/diffusion_pytorch_model.bin"))
cached.write_bytes(cached.read_bytes()[:-1000])
try:
    load(name, "cpu")
except CheckpointError as error:
    damage = str(error)
again = load(name, "cpu").unet.state_dict()
same = all(torch.equal(tensor, again[key]) for key, tensor in first.unet.state_dict().items())
told = {"name": first.name, "reason": first.reason, "revision": first.revision}
print(json.dumps({**told, "damage": damage, "same": same}))
"""


def test_a_hub_checkpoint_through_damage(tmp_path: Path) -> None:
    repository = Repository.of(write_tiny_checkpoint(tmp_path / "legacy", legacy=True))
    home = tmp_path / "home"
    with StandInHub({HUB_ID: repository}) as hub:
        told = run(LOAD_AND_DAMAGE, HUB_ID, str(home), env=environment(home, hub.url))
        assert UNNEEDED.keys().isdisjoint(hub.asked)
        assert [path for path, _ in hub.downloads].count("unet/diffusion_pytorch_model.bin") == 2
    assert told["name"] == f"{HUB_ID}@main"
    assert told["reason"] == f"{HUB_ID} from the Hub plays because it was asked for."
    assert told["revision"] == repository.commit
    assert told["damage"] == (
        f"The cached unet/diffusion_pytorch_model.bin of {HUB_ID}@main was truncated or damaged and has "
        "been removed: start again to download it anew."
    )
    assert told["same"]


def test_importing_is_quick_and_loads_nothing_heavy() -> None:
    heavy = {"torch", "diffusers", "transformers", "huggingface_hub", "accelerate", "safetensors"}
    script = "import sys, riffusion_space.checkpoints; print(*sys.modules)"
    done = subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, text=True)
    assert heavy.isdisjoint(done.split())
