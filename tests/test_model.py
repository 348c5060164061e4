"""What plays, and changing it from the page: another checkpoint, LoRAs, and who may."""

from __future__ import annotations

import threading

import pytest
import torch
from browser import WAIT_MS, hurry, result
from playwright.sync_api import Page, expect
from safetensors.torch import save_file

from riffusion_space.checkpoints import load
from riffusion_space.config import Config
from riffusion_space.ui.loading import PipelineLoader
from riffusion_space.ui.page import build_app


@pytest.fixture(scope="module")
def lora(tmp_path_factory):
    """A LoRA for the embedded checkpoint, of random matrices."""
    generator = torch.Generator().manual_seed(0)
    layers = {}
    for name, module in load("embedded", "cpu").unet.named_modules():
        if name.endswith(("to_q", "to_v")):
            layers[f"unet.{name}.lora_A.weight"] = torch.randn(2, module.in_features, generator=generator)
            layers[f"unet.{name}.lora_B.weight"] = torch.randn(module.out_features, 2, generator=generator)
    path = tmp_path_factory.mktemp("lora") / "zorblax.safetensors"
    save_file(layers, path)
    return path


def fact(page: Page, name: str):
    return page.locator(f".plays dt:text-is('{name}') + dd")


def test_lora_is_loaded_weighed_heard_and_taken_off(page, lora, tmp_path):
    hurry(page)
    expect(fact(page, "Checkpoint")).to_have_text("embedded")
    expect(fact(page, "LoRA")).to_have_text("none")
    page.get_by_role("button", name="Another checkpoint").click()
    page.get_by_label("Device").last.fill("cuda:99")
    page.get_by_label("Device").last.press("Enter")
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.locator(".toast-body")).to_contain_text("Expected a device that this machine has")
    page.locator(".toast-close").click()
    page.get_by_label("Add a LoRA").fill("no such thing")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator(".toast-body")).to_contain_text("Expected a LoRA's file, folder or Hub id")

    page.locator("input[type=file][accept*=safetensors]").set_input_files(lora)
    expect(fact(page, "LoRA")).to_have_text("zorblax × 1", timeout=WAIT_MS)
    expect(page.locator(".banner")).to_contain_text("LoRA: zorblax.")
    page.get_by_label("number input for Weight").fill("0.5")
    page.get_by_label("number input for Weight").press("Tab")
    expect(fact(page, "LoRA")).to_have_text("zorblax × 0.5")
    page.get_by_label("Prompt", exact=True).fill("harp")
    page.get_by_role("button", name="Generate").click()
    (named,) = result(page, tmp_path)[1]["loras"]
    assert (named["name"], named["weight"]) == ("zorblax", 0.5)

    page.get_by_role("button", name="Take it off").click()
    expect(fact(page, "LoRA")).to_have_text("none")
    expect(page.get_by_role("button", name="Take it off")).to_have_count(0)


def test_checkpoint_that_cannot_be_loaded_leaves_what_plays(tiny_folder, tmp_path):
    loader = PipelineLoader(Config(checkpoint=str(tiny_folder), device="cpu"))
    first = loader.wait(lambda fraction, text: None)
    with pytest.raises(ValueError, match="(?i)expected"):
        loader.change(str(tmp_path / "gone"), lambda fraction, text: None)
    with pytest.raises(ValueError, match="Expected a device that this machine has, such as cpu, got 'cuda:99'"):
        loader.change(str(tiny_folder), lambda fraction, text: None, "cuda:99")
    assert loader.wait(lambda fraction, text: None) is first
    loader.change(str(tiny_folder), lambda fraction, text: None, "cpu")
    assert loader.wait(lambda fraction, text: None) is not first and loader.state.phase == "ready"


def test_what_was_chosen_meanwhile_is_not_undone_by_what_loads_slowly(tiny_folder, monkeypatch):
    loader = PipelineLoader(Config(checkpoint="slow", device="cpu"))
    begun, go_on, make = threading.Event(), threading.Event(), loader._pipeline

    def slowly(checkpoint, progress, device):
        if checkpoint != "slow":
            return make(checkpoint, progress, device)
        begun.set()
        assert go_on.wait(60)
        progress(0.9, "nearly there")
        return make(str(tiny_folder), progress, device)

    monkeypatch.setattr(loader, "_pipeline", slowly)
    thread = loader.start()
    assert begun.wait(60)
    loader.change(str(tiny_folder), lambda fraction, text: None)
    chosen = loader.state.pipeline
    go_on.set()
    thread.join(60)
    assert loader.state.phase == "ready" and loader.state.pipeline is chosen


@pytest.mark.parametrize("environment, allowed", [
    ({}, True),
    ({"GRADIO_SERVER_NAME": "127.0.0.1"}, True),
    ({"GRADIO_SERVER_NAME": "0.0.0.0"}, False),
    ({"GRADIO_SHARE": "True"}, False),
    ({"SPACE_ID": "someone/music"}, False),
    ({"SPACE_ID": "someone/music", "RIFFUSION_CHANGE_MODEL": "yes"}, True),
    ({"RIFFUSION_CHANGE_MODEL": "No"}, False),
])
def test_who_may_change_it(environment, allowed):
    config = Config.from_environment(environment)
    labels = {str(getattr(block, "label", "")) for block in build_app(PipelineLoader(config), config).blocks.values()}
    assert config.change_model is allowed
    assert any("Add a LoRA" in label for label in labels) is allowed


def test_what_cannot_be_allowed():
    with pytest.raises(ValueError, match="yes or no in RIFFUSION_CHANGE_MODEL, got 'perhaps'"):
        Config.from_environment({"RIFFUSION_CHANGE_MODEL": "perhaps"})
    with pytest.raises(ValueError, match="RIFFUSION_CHANGE_MODEL=no on ZeroGPU"):
        Config.from_environment({"RIFFUSION_CHANGE_MODEL": "yes", "SPACES_ZERO_GPU": "true"})
