"""Where one request's time went, stage by stage, beside what this machine could do at best.

The limits: the arithmetic of a stage, counted operation by operation, over the fastest matrix product measured here;
and the bytes that its operations read and write over the fastest copy measured here. What stays in a cache can be
faster than the second. A stage far from both waits for something else: small operations, a single thread, or the disk.
"""

from __future__ import annotations

import math
import os
import platform
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from riffusion_space.clip import Clip
from riffusion_space.stages import Stages, recorded, stage

ORDER = ("text", "encoder", "UNet", "steps", "decoder", "phase", "writing", "rest")  # rest: images, levels, settings
_REPEATS = 3


@dataclass(frozen=True)
class Peak:
    """What the machine was measured to do: floating-point operations and bytes a second."""

    flops: float
    bytes: float


@dataclass(frozen=True)
class StageTime:
    """One row: seconds of a request, calls, operations and bytes of a stage."""

    name: str
    seconds: float
    calls: int
    flops: float
    bytes: float

    def limit(self, peak: Peak) -> float:
        """Seconds that it takes at least, but for caches."""
        return max(self.flops / peak.flops, self.bytes / peak.bytes)


def _fft_flops(transformed: torch.Tensor, result: torch.Tensor, dims: list[int]) -> float:
    """Of real FFTs along one dimension: half of 5 N log2 N, which is that of a complex one of radix 2."""
    real = result if transformed.is_complex() else transformed
    length = real.shape[dims[-1]]
    return 2.5 * math.log2(length) * real.numel()


class _Counter(TorchDispatchMode):
    """Counts what every operation computes, reads and writes, under the stage that runs."""

    def __init__(self, stages: Stages) -> None:
        super().__init__()
        self._stages = stages
        self.flops: dict[str, float] = defaultdict(float)
        self.bytes: dict[str, float] = defaultdict(float)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in flop_registry and func._overloadpacket not in flop_registry:
            # What is a composition of others is counted as these: a convolution is not seen otherwise.
            with self:
                decomposed = func.decompose(*args, **kwargs)
            if decomposed is not NotImplemented:
                return decomposed
        result = func(*args, **kwargs)
        name = self._stages.current or "rest"
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.flops[name] += count(*args, **kwargs, out_val=result)
        elif func._overloadpacket in (torch.ops.aten._fft_r2c, torch.ops.aten._fft_c2r):
            self.flops[name] += _fft_flops(args[0], result, args[1])
        if not func.is_view:
            tensors = {id(leaf): leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)}
            self.bytes[name] += sum(tensor.nbytes for tensor in tensors.values())
        return result


def profile(make: Callable[[], Clip], suffix: str = ".wav") -> tuple[float, list[StageTime]]:
    """Seconds of the first request, which prepares what is kept, and the stages of those after it (medians)."""
    with tempfile.TemporaryDirectory() as folder:
        def request() -> None:
            with stage("rest"):
                clip = make()
                with stage("writing"):
                    clip.save(Path(folder, f"clip{suffix}"))

        began = time.perf_counter()
        request()
        first = time.perf_counter() - began
        runs = []
        for _ in range(_REPEATS):
            with recorded() as stages:
                request()
            runs.append(stages)
        with recorded() as stages, _Counter(stages) as counter:
            request()
    names = [name for name in ORDER if name in runs[0].seconds]
    return first, [StageTime(name, statistics.median(run.seconds[name] for run in runs), runs[0].calls[name],
                             counter.flops[name], counter.bytes[name]) for name in names]


def measured_peak(device: torch.device, dtype: torch.dtype) -> Peak:
    """The fastest matrix product and the fastest copy of a few, on the device's default number of threads."""
    on_gpu = device.type == "cuda"
    size = 8192 if on_gpu else 1536
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    copied = torch.randn((64 if on_gpu else 16) << 20, device=device)  # far more than caches hold
    target = torch.empty_like(copied)
    return Peak(2 * size**3 / _fastest(lambda: left @ right, device),
                2 * copied.nbytes / _fastest(lambda: target.copy_(copied), device))


def _fastest(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of the fastest of a few runs."""
    times = []
    for _ in range(6):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return min(times)


def machine(device: torch.device) -> str:
    """What it was measured on, in words."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    gpu = f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    capability = torch.backends.cpu.get_cpu_capability()
    return (f"{os.cpu_count()} cores of {model} ({capability}), {torch.get_num_threads()} threads{gpu}, "
            f"torch {torch.__version__}, Python {platform.python_version()}")


def table(stages: list[StageTime], peak: Peak, sound_s: float) -> str:
    """The stages as a table in Markdown."""
    total = sum(each.seconds for each in stages)
    lines = [
        "| stage | calls | seconds | share | GFLOP | at peak, s | GB moved | at peak, s | reached |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for each in stages:
        reached = f"{each.limit(peak) / each.seconds:.0%}" if each.seconds else ""
        lines.append(f"| {each.name} | {each.calls} | {each.seconds:.3f} | {each.seconds / total:.0%} | "
                     f"{each.flops / 1e9:.1f} | {each.flops / peak.flops:.3f} | {each.bytes / 1e9:.2f} | "
                     f"{each.bytes / peak.bytes:.3f} | {reached} |")
    lines += [f"| **all** | | **{total:.3f}** | | {sum(each.flops for each in stages) / 1e9:.1f} | | "
              f"{sum(each.bytes for each in stages) / 1e9:.2f} | | |", "",
              f"{sound_s:.2f} s of sound in {total:.2f} s: {sound_s / total:.1f} times as fast as it plays. "
              f"Measured peaks: {peak.flops / 1e9:.0f} GFLOP/s, {peak.bytes / 1e9:.1f} GB/s."]
    return "\n".join(lines)


def report(pipe: Any, task: str, arguments: dict[str, Any]) -> str:
    """Profile a request of a pipeline's task; the whole report in Markdown."""
    made: list[Clip] = []
    first, stages = profile(lambda: made.append(getattr(pipe, task)(**arguments)) or made[-1])
    settings, checkpoint = made[-1].settings, pipe.checkpoint
    peak = measured_peak(checkpoint.device, checkpoint.dtype)
    asked = ", ".join(f"{name} {settings[name]}" for name in ("steps", "guidance", "scheduler") if name in settings)
    return "\n".join([
        f"`{task}` with checkpoint `{checkpoint.name}` in {checkpoint.dtype_name}, {asked}; "
        f"{machine(checkpoint.device)}.",
        f"The first request took {first:.2f} s; of those after it, medians of {_REPEATS}:", "",
        table(stages, peak, made[-1].audio.duration_s)])
