"""Tasks on a GPU that is not there: ``SPACES_ZERO_GPU=true python tests/pretended_gpu.py CHECKPOINT``.

Where a Space starts, ZeroGPU's package pretends that there is one: tensors on it lie in the CPU's memory, and what
mixes them with tensors of the CPU raises, as CUDA does. It does not know two things that CUDA allows: numbers (tensors
without dimensions) of the CPU beside a GPU's tensors, and ``tensor.to(other)``.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import spaces  # noqa: F401
import spaces.zero.torch.patching as pretending
import torch
from torch.utils._pytree import tree_flatten, tree_map_only

from riffusion_space import RiffusionPipeline, StreamRequest, Waveform
from riffusion_space.config import Config

_strict = pretending.ZeroGPUFunctionMode.__torch_function__


def as_cuda(self: Any, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
    on_gpu = pretending.cuda_aliases
    if func is torch.Tensor.to and len(args) == 2 and isinstance(args[1], torch.Tensor):
        where = "cuda:0" if args[1] in on_gpu else "cpu"
        return _strict(self, func, types, args[:1], {"device": torch.device(where), "dtype": args[1].dtype})
    tensors = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, torch.Tensor)]
    if any(each in on_gpu for each in tensors):
        def beside(each: torch.Tensor) -> torch.Tensor:
            if each.ndim > 0 or each in on_gpu:
                return each
            return _strict(self, torch.Tensor.to, (), (each,), {"device": torch.device("cuda:0")})

        args, kwargs = tree_map_only(torch.Tensor, beside, (args, kwargs))
    return _strict(self, func, types, args, kwargs)


def main(checkpoint: str) -> None:
    pretending.ZeroGPUFunctionMode.__torch_function__ = as_cuda
    pipe = RiffusionPipeline.from_pretrained(checkpoint, config=Config(change_model=False))
    assert (pipe.checkpoint.device.type, pipe.checkpoint.dtype) == ("cuda", torch.float16)
    wave = Waveform(np.random.default_rng(0).uniform(-0.1, 0.1, (1, 53_000)).astype(np.float32), 44_100)
    few = {"seed": 1, "steps": 2}  # and each scheduler once
    pipe.text2audio("rain", duration_s=6.0, scheduler="euler", **few)
    pipe.text2audio("rain", duration_s=1.0, seed_image="beat", scheduler="unipc", **few)
    pipe.text2audio("rain", loop=True, bpm=240, bars=1, scheduler="ddim", **few)
    pipe.audio2audio(wave, "rain", scheduler="euler a", **few)
    pipe.inpaint(wave, "rain", [(0.5, 1.0, 200, 2000)], scheduler="pndm", **few)
    sections = [{"bars": 1, "prompt": "rain"}, {"bars": 1, "prompt": "hail", "transition": "interpolate"}]
    pipe.arrange(sections, bpm=240, scheduler="lms", **few)
    stream = pipe.stream(StreamRequest("rain", steps=2, seed_image="beat"), 1)
    next(stream)
    stream.send(StreamRequest("hail", steps=2, transition=2))
    print("all of it")


if __name__ == "__main__":
    main(sys.argv[1])
