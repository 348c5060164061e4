"""Distillation: what the student is to aim at, its training, and the LoRA that a checkpoint brings."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from conftest import CPU
from diffusers import DDIMScheduler, StableDiffusionPipeline

from riffusion_space.checkpoints import CheckpointError, Recommended, load
from riffusion_space.training import distill, export, few_steps
from riffusion_space.training.distill import Times, guided_target, halved_target
from riffusion_space.weights import FEW_STEPS_FILE

SCHEDULER = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                          prediction_type="v_prediction", timestep_spacing="trailing", set_alpha_to_one=False)
TIMES = Times.of(SCHEDULER, CPU)
SPREAD = 1.5


def random(seed, count=4):
    return torch.randn(count, 2, 3, 5, generator=torch.Generator().manual_seed(seed))


def gaussian(noisy, time):
    """The velocity that a perfect model of latents of a normal distribution with that spread predicts."""
    signal, noise = TIMES.signal(time), TIMES.noise(time)
    clean = signal * SPREAD**2 / (signal**2 * SPREAD**2 + noise**2) * noisy
    return (signal * noisy - clean) / noise


def test_a_step_is_that_of_diffusers():
    noisy, velocity = random(0, 1), random(1, 1)
    SCHEDULER.set_timesteps(8)
    for time in (999, 499, 124):
        now = torch.tensor([time])
        ours = TIMES.ddim(TIMES.clean(velocity, noisy, now), noisy, now, TIMES.after(now, 8))
        theirs = SCHEDULER.step(velocity, time, noisy).prev_sample
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_one_step_lands_where_two_of_the_teacher_do():
    time = torch.tensor([999, 700, 249, 90])
    noisy = random(2)
    aim = halved_target(gaussian, TIMES, noisy, time, 4)
    middle, end = TIMES.after(time, 8), TIMES.after(TIMES.after(time, 8), 8)
    between = TIMES.ddim(TIMES.clean(gaussian(noisy, time), noisy, time), noisy, time, middle)
    there = middle.clamp(min=0)
    landed = TIMES.ddim(TIMES.clean(gaussian(between, there), between, there), between, there, end)
    landed[3] = between[3]  # whose first step was the last
    torch.testing.assert_close(TIMES.ddim(aim, noisy, time, end), landed, atol=1e-4, rtol=1e-4)


def test_the_guided_teacher_lands_nearer_to_the_exact_way_than_its_plain_step():
    """Of a normal distribution the way is known: noisy latents keep their share of its spread."""
    time = torch.tensor([999, 800, 600, 400])
    noisy = random(3)
    end = TIMES.after(time, 8)

    def spread(t):
        return (TIMES.signal(t) ** 2 * SPREAD**2 + TIMES.noise(t) ** 2).sqrt()

    exact = noisy * spread(end) / spread(time)
    plain = TIMES.ddim(TIMES.clean(gaussian(noisy, time), noisy, time), noisy, time, end)
    aimed = TIMES.ddim(guided_target(gaussian, TIMES, noisy, time, 8), noisy, time, end)
    for row in range(4):
        assert (aimed[row] - exact[row]).norm() < 0.5 * (plain[row] - exact[row]).norm()


@pytest.fixture(scope="module")
def distilled(trained, shards, tmp_path_factory):
    """A student of 8 steps, interrupted and resumed, one of 4 by it, and a checkpoint with the latter's LoRA."""
    folder = tmp_path_factory.mktemp("distilled")
    corpus = shutil.copytree(shards, folder / "corpus", ignore=shutil.ignore_patterns("latents-*"))
    checkpoint = shutil.copytree(trained / "checkpoint", folder / "checkpoint")

    def train(target, teacher, steps):
        distill.train(corpus, checkpoint, teacher, folder / str(target), target, steps, 2, 1e-3, 4.0, CPU)

    train(8, None, 2)
    train(8, None, 4)
    train(4, folder / "8", 4)
    held = few_steps.write(folder / "4", checkpoint, 2.0)
    assert 0.1 < held < 1 and (checkpoint / FEW_STEPS_FILE).stat().st_size < 2.2e6
    return folder


def test_training_resumes_and_moves_what_a_lora_can_hold(distilled, trained):
    rows = list(csv.DictReader((distilled / "8" / "log.csv").open()))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4]
    assert all(np.isfinite(float(row["loss"])) for row in rows)
    before, after = (load(str(folder), "cpu", torch.float32, few_steps=False).unet.state_dict()
                     for folder in (trained / "checkpoint", distilled / "checkpoint"))
    assert all(torch.equal(before[name], after[name]) for name in before)  # the checkpoint itself stays
    student = few_steps.UNet2DConditionModel.from_pretrained(distilled / "4" / "unet", dtype=torch.float32).state_dict()
    moved = {name for name in before if not torch.equal(before[name], student[name])}
    assert "mid_block.resnets.0.conv1.weight" in moved and "conv_in.weight" not in moved
    assert all(name.endswith(".weight") for name in moved)


def test_a_teacher_of_other_steps_is_refused(distilled):
    with pytest.raises(ValueError, match="expected a teacher of 12 steps"):
        distill.train(distilled / "corpus", distilled / "checkpoint", distilled / "8", distilled / "6", 6, 1, 2, 1e-3,
                      4.0, CPU)


def test_a_checkpoint_paints_in_few_steps_unless_told_otherwise(distilled):
    folder = str(distilled / "checkpoint")
    few, many = load(folder, "cpu"), load(folder, "cpu", few_steps=False)
    assert few.recommended == Recommended(4, few_steps.GUIDANCE, "ddim", few_steps.GUIDED, many.recommended.beat)
    assert many.recommended == Recommended(**export.RECOMMENDED)
    assert few.revision != many.revision
    student = few_steps.UNet2DConditionModel.from_pretrained(distilled / "4" / "unet", dtype=torch.float32)
    name = "mid_block.resnets.0.conv1"
    change = [model.get_submodule(name).weight - many.unet.get_submodule(name).weight for model in (few.unet, student)]
    assert torch.cosine_similarity(*(part.flatten() for part in change), 0) > 0.5  # of a rank far below 256


def test_stock_diffusers_lays_it_over_the_checkpoint(distilled):
    stock = StableDiffusionPipeline.from_pretrained(distilled / "checkpoint", safety_checker=None)
    stock.load_lora_weights(str(distilled / "checkpoint"), weight_name=FEW_STEPS_FILE)
    stock.fuse_lora()
    ours = load(str(distilled / "checkpoint"), "cpu", torch.float32).unet
    noisy, text = torch.randn(1, 8, 64, 32), torch.randn(1, 77, 256)
    with torch.inference_mode():
        torch.testing.assert_close(stock.unet(noisy, 500, text).sample, ours(noisy, 500, text).sample,
                                   atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("damage", ["file", "settings"])
def test_a_damaged_one_is_told(distilled, tmp_path, damage):
    folder = shutil.copytree(distilled / "checkpoint", tmp_path / "model")
    if damage == "file":
        (folder / FEW_STEPS_FILE).write_bytes((folder / FEW_STEPS_FILE).read_bytes()[:1000])
    else:
        own = json.loads((folder / "riffusion.json").read_text())
        del own["few_steps"]
        (folder / "riffusion.json").write_text(json.dumps(own))
    with pytest.raises(CheckpointError, match="truncated or damaged|Expected few_steps"):
        load(str(folder), "cpu")
