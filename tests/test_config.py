import pytest

from riffusion_space.config import Config


def test_environment_is_read():
    config = Config.from_environment({"RIFFUSION_CHECKPOINT": "embedded", "RIFFUSION_MAX_SECONDS": "12.5",
                                      "RIFFUSION_MAX_QUEUE": "3", "RIFFUSION_DEVICE": "", "OTHER": "x"})
    assert (config.checkpoint, config.max_seconds, config.max_queue, config.device) == ("embedded", 12.5, 3, None)
    assert Config.from_environment({}) == Config()


@pytest.mark.parametrize("value, complaint", [
    ("soon", "a number in RIFFUSION_MAX_QUEUE"), ("0", "above 0"), ("-1", "above 0"),
])
def test_impossible_limits_are_refused(value, complaint):
    with pytest.raises(ValueError, match=complaint):
        Config.from_environment({"RIFFUSION_MAX_QUEUE": value})
