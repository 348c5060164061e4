"""Riffusion Space: music from words, by painting spectrograms with Stable Diffusion.

>>> from riffusion_space import RiffusionPipeline
>>> pipe = RiffusionPipeline.from_pretrained("embedded")  # doctest: +SKIP
>>> pipe.text2audio("church bells", seed=7).save("bells.wav")  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"
__all__ = ["Cancelled", "Clip", "RiffusionPipeline", "SpectrogramParams", "StreamRequest", "Waveform", "decode",
           "encode", "read_audio", "read_settings"]

if TYPE_CHECKING:
    from riffusion_space.audio import Waveform, read_audio
    from riffusion_space.clip import Clip, read_settings
    from riffusion_space.codec import decode, encode
    from riffusion_space.pipeline import RiffusionPipeline
    from riffusion_space.request import Cancelled
    from riffusion_space.spectrogram import SpectrogramParams
    from riffusion_space.streaming import StreamRequest

# torch takes seconds to import: a name's module is imported when the name is first used (PEP 562).
_HOMES = {"Cancelled": "request", "Clip": "clip", "RiffusionPipeline": "pipeline",
          "SpectrogramParams": "spectrogram", "StreamRequest": "streaming", "Waveform": "audio",
          "decode": "codec", "encode": "codec", "read_audio": "audio", "read_settings": "clip"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
