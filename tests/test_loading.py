"""Loading behind the page: what the banner says, and that a request waits, fails in a sentence, or gives up."""

from __future__ import annotations

import pytest

from riffusion_space.config import Config
from riffusion_space.denoise import Cancelled
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
