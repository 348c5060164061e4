"""Loading behind the page: what the banner says, and that a request waits, fails in a sentence, or gives up."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from riffusion_space.config import Config
from riffusion_space.request import Cancelled
from riffusion_space.ui.loading import LoadState, PipelineLoader


def test_request_waits_for_the_checkpoint(tiny_folder):
    loader = PipelineLoader(Config(checkpoint=str(tiny_folder), device="cpu"))
    assert "loading" in loader.state.banner
    heard = []
    pipeline = loader.wait(lambda fraction, text: heard.append(text))
    assert heard and pipeline is loader.state.pipeline is loader.wait(heard.append)
    assert "ready" in loader.state.banner and pipeline.checkpoint.reason in loader.state.text


def test_failure_is_a_sentence_and_is_tried_again(tiny_folder, tmp_path):
    late = tmp_path / "late" / "checkpoint"
    loader = PipelineLoader(Config(checkpoint=str(late), device="cpu"))
    with pytest.raises(ValueError, match="(?i)expected"):
        loader.wait(lambda fraction, text: None)
    assert "failed" in loader.state.banner and "Generate tries again" in loader.state.banner
    late.parent.mkdir()
    late.symlink_to(tiny_folder)
    assert loader.wait(lambda fraction, text: None) is not None


def test_request_may_give_up(tiny_folder):
    def give_up(fraction: float, text: str) -> None:
        raise Cancelled

    loader = PipelineLoader(Config(checkpoint=str(tiny_folder), device="cpu"))
    with pytest.raises(Cancelled):
        loader.wait(give_up)
    loader.start().join()
    assert loader.state.phase == "ready"


def test_banner_shows_progress_and_no_markup_of_others():
    banner = LoadState("loading", "Downloading <b>a/b</b>", 0.42).banner
    assert "42%" in banner and "<b>" not in banner


LOAD_AS_ON_ZEROGPU = """
import sys
import spaces
from riffusion_space.config import Config
from riffusion_space.ui.loading import PipelineLoader

loader = PipelineLoader(Config(checkpoint=sys.argv[1]))
loader.load()
print(loader.state.phase, loader.state.text, loader.state.pipeline and loader.state.pipeline.checkpoint.device)
"""


def test_zerogpu_loads_in_the_main_thread(tiny_folder):
    """There, a GPU is pretended to be there until a request gets a real one, but only in the thread that began."""
    environment = {**os.environ, "SPACES_ZERO_GPU": "true", "SPACES_ZERO_DEVICE_API_URL": "http://127.0.0.1:1"}
    done = subprocess.run([sys.executable, "-c", LOAD_AS_ON_ZEROGPU, str(tiny_folder)], capture_output=True,
                          text=True, env=environment)
    assert done.stdout.startswith("ready ") and done.stdout.strip().endswith(" cuda"), done.stdout + done.stderr


def test_the_page_is_there_before_torch():
    """Its import takes a good second of the few in which the page is to come."""
    code = ("import sys, app; from app import Config, PipelineLoader, build_app; "
            "build_app(PipelineLoader(Config()), Config()); sys.exit('torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
