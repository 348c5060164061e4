import pytest

from riffusion_space.config import Config
from riffusion_space.ui.loading import PipelineLoader
from riffusion_space.ui.page import build_app


def test_environment_is_read():
    config = Config.from_environment({"RIFFUSION_CHECKPOINT": "embedded", "RIFFUSION_MAX_SECONDS": "12.5",
                                      "RIFFUSION_MAX_QUEUE": "3", "RIFFUSION_DEVICE": "", "OTHER": "x"})
    assert (config.checkpoint, config.max_seconds, config.max_queue, config.device) == ("embedded", 12.5, 3, None)
    assert Config.from_environment({}) == Config()


@pytest.mark.parametrize("value, complaint", [
    ("soon", "a number in RIFFUSION_MAX_QUEUE"), ("0", "at least 1"), ("-1", "at least 1"),
])
def test_impossible_limits_are_refused(value, complaint):
    with pytest.raises(ValueError, match=complaint):
        Config.from_environment({"RIFFUSION_MAX_QUEUE": value})


@pytest.mark.parametrize("name", ["CHANGE_MODEL", "WARM_UP"])
def test_what_zero_gpu_cannot_do_is_refused(name):
    with pytest.raises(ValueError, match=f"expected RIFFUSION_{name}=no on ZeroGPU"):
        Config.from_environment({f"RIFFUSION_{name}": "yes", "SPACES_ZERO_GPU": "true"})


def test_a_page_can_be_built_at_every_least_limit():
    least = Config(max_seconds=1, max_clips=3, max_steps=1, max_queue=1, max_upload_mb=1, max_listeners=1,
                   max_live_minutes=1)
    assert "text2audio" in {fn.api_name for fn in build_app(PipelineLoader(least), least).fns.values()}
    with pytest.raises(ValueError, match="RIFFUSION_MAX_CLIPS of at least 3, got 2"):
        Config(max_clips=2)
