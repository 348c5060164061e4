"""Distil the diffusion model: in a few steps, with most of its guidance in them, what took twenty guided ones.

The student learns, from a noisy clip at any time ``t`` of the schedule, the noiseless clip that one DDIM step of fixed
length has to aim at to land where the teacher lands: Salimans and Ho, "Progressive Distillation for Fast Sampling of
Diffusion Models", 2022; of a guided teacher, Meng et al., "On Distillation of Guided Diffusion Models", 2023. First the
guided model teaches a student of 8 steps, then that one a student of 4:

    python -m riffusion_space.training.distill --out data/distilled-8 --target 8 --steps 800
    python -m riffusion_space.training.distill --out data/distilled-4 --target 4 --steps 800 --teacher data/distilled-8
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, SchedulerMixin, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from riffusion_space.training.diffusion import Examples, encode_corpus, latents_folder
from riffusion_space.training.state import TrainingState, half_precision, set_rate
from riffusion_space.training.text import tokenize
from riffusion_space.training.trainee import TARGETS

STEPS_FILE = "steps.json"  # beside a student's weights: in how many steps it paints
LORA_LAYERS = tuple(f".{name}" for name in TARGETS["all"])
_FIRST = 6  # shards to begin with: more are encoded on the way

Predict = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # noisy latents and their times to velocities


@dataclass(frozen=True, eq=False)
class Times:
    """The noise schedule: signal and noise of integer times, 0 (nearly clean) to 999, as (batch, 1, 1, 1).

    Time -1 is the end of sampling, which diffusers' DDIMScheduler puts at time 0's noise (``set_alpha_to_one=False``).
    """

    alphas: torch.Tensor  # cumulated products, (1000,)

    @classmethod
    def of(cls, scheduler: SchedulerMixin, device: torch.device) -> Times:
        return cls(scheduler.alphas_cumprod.to(device))

    @property
    def log_snr(self) -> torch.Tensor:
        return (self.alphas / (1 - self.alphas)).log()

    def signal(self, time: torch.Tensor) -> torch.Tensor:
        return self.alphas[time.clamp(min=0)].sqrt()[:, None, None, None]

    def noise(self, time: torch.Tensor) -> torch.Tensor:
        return (1 - self.alphas[time.clamp(min=0)]).sqrt()[:, None, None, None]

    def after(self, time: torch.Tensor, steps: int) -> torch.Tensor:
        """The time that one of ``steps`` equal steps leads to."""
        return (time - len(self.alphas) // steps).clamp(min=-1)

    def halfway(self, time: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        """The time between two at which the logarithm of signal to noise is halfway."""
        wanted = (self.log_snr[time] + self.log_snr[end.clamp(min=0)]) / 2
        return (self.log_snr[None] - wanted[:, None]).abs().argmin(1)

    def clean(self, velocity: torch.Tensor, noisy: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """The noiseless latents that a velocity means."""
        return self.signal(time) * noisy - self.noise(time) * velocity

    def ddim(self, clean: torch.Tensor, noisy: torch.Tensor, time: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        """The latents at ``end`` on the way from ``noisy`` at ``time`` to ``clean``: Song, Meng and Ermon, 2021."""
        return self.signal(end) * clean + self.noise(end) / self.noise(time) * (noisy - self.signal(time) * clean)

    def aimed_at(self, landed: torch.Tensor, noisy: torch.Tensor, time: torch.Tensor,
                 end: torch.Tensor) -> torch.Tensor:
        """The noiseless latents with which :meth:`ddim` lands where it landed; where time does not pass, those."""
        ratio = self.noise(end) / self.noise(time)
        weight = self.signal(end) - ratio * self.signal(time)
        still = weight.abs() < 1e-4
        return torch.where(still, landed, (landed - ratio * noisy) / weight.masked_fill(still, 1.0))


def guided_target(predict: Predict, times: Times, noisy: torch.Tensor, time: torch.Tensor,
                  steps: int) -> torch.Tensor:
    """What one of ``steps`` steps has to aim at by a teacher of any time: DPM-Solver++(2S), Lu et al. 2022.

    Its second order needs the teacher twice, at ``time`` and halfway; the latter is what the whole step aims at.
    """
    middle = times.halfway(time, times.after(time, steps))
    there = times.ddim(times.clean(predict(noisy, time), noisy, time), noisy, time, middle)
    return times.clean(predict(there, middle), there, middle)


def halved_target(predict: Predict, times: Times, noisy: torch.Tensor, time: torch.Tensor,
                  steps: int) -> torch.Tensor:
    """What one of ``steps`` steps has to aim at to do what a teacher of twice as many does in two."""
    middle = times.after(time, 2 * steps)
    end = times.after(middle, 2 * steps)
    first = times.clean(predict(noisy, time), noisy, time)
    there = times.ddim(first, noisy, time, middle)
    second = times.clean(predict(there, middle.clamp(min=0)), there, middle)
    landed = times.ddim(second, there, middle, end)
    return torch.where((middle < 0)[:, None, None, None], first, times.aimed_at(landed, noisy, time, end))


def student_weights(student: UNet2DConditionModel) -> list[torch.nn.Parameter]:
    """The weights that move, all others frozen: those of the layers that a LoRA can change."""
    student.requires_grad_(False)
    weights = [module.weight for name, module in student.named_modules() if f".{name}".endswith(LORA_LAYERS)]
    for weight in weights:
        weight.requires_grad_(True)
    return weights


def train(corpus: Path, checkpoint: Path, teacher_folder: Path | None, out: Path, target: int, steps: int, batch: int,
          rate: float, guidance: float, device: torch.device, cropped: float = 0.75, minutes: float | None = None,
          compiled: bool = False) -> None:
    """Train a student of ``target`` steps, resuming; writes its averaged weights to ``out/unet`` now and then.

    Without ``teacher_folder`` the checkpoint teaches, guided; otherwise a student of twice as many steps. ``minutes``
    of training replace ``steps``; ``cropped`` is the share of batches of half clips, and ``compiled`` is as in
    diffusion.py.
    """
    if teacher_folder is not None and json.loads((teacher_folder / STEPS_FILE).read_text()) != 2 * target:
        raise ValueError(f"expected a teacher of {2 * target} steps in {teacher_folder}")
    vae = AutoencoderKL.from_pretrained(checkpoint / "vae", dtype=torch.float32).to(device).eval()
    folder = latents_folder(corpus, vae)
    at_once, saved_every = (1, 25) if device.type == "cpu" else (20, 500)
    paths = encode_corpus(corpus, folder, vae, device, most=max(0, _FIRST - len(list(folder.glob("shard_*.npy")))))
    if not paths:
        raise FileNotFoundError(f"no shards in {corpus}: run python -m riffusion_space.training.corpus first")
    tokenizer = CLIPTokenizer.from_pretrained(checkpoint / "tokenizer")
    text_encoder = CLIPTextModel.from_pretrained(checkpoint / "text_encoder", dtype=torch.float32).to(device).eval()
    scheduler = _scheduler(checkpoint)
    times = Times.of(scheduler, device)

    def unet() -> UNet2DConditionModel:
        return UNet2DConditionModel.from_pretrained((teacher_folder or checkpoint) / "unet", dtype=torch.float32)

    torch.manual_seed(0)
    teacher, student = (unet().to(device, memory_format=torch.channels_last) for _ in range(2))
    teacher.eval().requires_grad_(False)
    student.train()
    moved = student_weights(student)
    optimizer = torch.optim.AdamW(moved, rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    state = TrainingState(out, student, optimizer, decay=0.995)
    (out / STEPS_FILE).write_text(json.dumps(target))
    teach, learn = (torch.compile(model, dynamic=False) if compiled else model for model in (teacher, student))
    examples = Examples(tokenizer, device, f"distilling {target} {state.step}")
    examples.add(paths)
    generator = torch.Generator(device).manual_seed(state.step)
    with torch.no_grad():
        nothing = text_encoder(tokenize(tokenizer, [""]).to(device)).last_hidden_state.expand(batch, -1, -1)
    recent: list[float] = []
    while (done := state.progress(steps, minutes)) < 1:
        latents, tokens = examples.batch(batch, crop=examples.rng.random() < cropped)
        spread = (torch.arange(batch, device=device) + torch.rand(batch, generator=generator, device=device)) / batch
        time = (spread * len(times.alphas)).long().clamp(max=len(times.alphas) - 1)
        noise = torch.randn(latents.shape, generator=generator, device=device)
        noisy = times.signal(time) * latents + times.noise(time) * noise
        with torch.no_grad(), half_precision(device):
            text = text_encoder(tokens).last_hidden_state.float()

            def guided(noisy: torch.Tensor, time: torch.Tensor, text: torch.Tensor = text) -> torch.Tensor:
                both = teach(noisy.repeat(2, 1, 1, 1), time.repeat(2), torch.cat((nothing, text))).sample.float()
                without, with_prompt = both.chunk(2)
                return without + guidance * (with_prompt - without)

            def plain(noisy: torch.Tensor, time: torch.Tensor, text: torch.Tensor = text) -> torch.Tensor:
                return teach(noisy, time, text).sample.float()

            if teacher_folder is None:
                wanted = guided_target(guided, times, noisy, time, target)
            else:
                wanted = halved_target(plain, times, noisy, time, target)
        set_rate(optimizer, rate, state.step, done, warmup=50)
        with half_precision(device):
            velocity = learn(noisy, time, text).sample.float()
        error = (times.clean(velocity, noisy, time) - wanted).square().mean((1, 2, 3))
        # Truncated SNR weighting (Salimans and Ho): at the noisiest times, too, what is clean counts.
        loss = (error * times.log_snr[time].exp().clamp(1, 100)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(moved, 1.0)
        optimizer.step()
        recent = [*recent[-49:], loss.item()]
        state.update(loss=loss.item(), error=error.mean().item())
        if state.step % 20 == 0:
            print(f"distilling step {state.step}: loss {sum(recent) / len(recent):.4f}, {state.seconds:.0f} s",
                  flush=True)
            examples.add(encode_corpus(corpus, folder, vae, device, most=at_once))
        if state.step % saved_every == 0 or state.progress(steps, minutes) >= 1:
            state.save()
            average = UNet2DConditionModel.from_config(student.config)
            average.load_state_dict(state.average)
            average.half().save_pretrained(out / "unet", max_shard_size="9MB")


def _scheduler(checkpoint: Path) -> SchedulerMixin:
    from diffusers import DDIMScheduler

    return DDIMScheduler.from_pretrained(checkpoint / "scheduler")


def main() -> None:
    parser = argparse.ArgumentParser(description="Distil a checkpoint's diffusion model into one of few steps.")
    parser.add_argument("--corpus", type=Path, default=Path("data/corpus"))
    parser.add_argument("--checkpoint", type=Path, default=Path("assets/riffusion-mini"))
    parser.add_argument("--teacher", type=Path, help="the folder of a student of twice as many steps, to halve them")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--target", type=int, required=True, help="in how many steps the student is to paint")
    parser.add_argument("--steps", type=int, default=800, help="of training")
    parser.add_argument("--minutes", type=float, help="of training in all, instead of --steps")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--guidance", type=float, default=4.0, help="of the checkpoint, when it teaches")
    parser.add_argument("--cropped", type=float, default=0.75, help="share of the batches with half clips")
    parser.add_argument("--compile", action="store_true", help="compile the UNets, for a GPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    train(args.corpus, args.checkpoint, args.teacher, args.out, args.target, args.steps, args.batch, args.rate,
          args.guidance, torch.device(args.device), args.cropped, args.minutes, args.compile)


if __name__ == "__main__":
    main()
