"""Schedulers by name, each built for one request from the checkpoint's noise schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

# name: class in diffusers, and what it is told beside the checkpoint's schedule
_CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "dpm++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "unipc": ("UniPCMultistepScheduler", {"solver_order": 2}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler a": ("EulerAncestralDiscreteScheduler", {}),
    "ddim": ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True, "set_alpha_to_one": False}),
    "lms": ("LMSDiscreteScheduler", {}),
}
SCHEDULERS = tuple(_CLASSES)

# The noise schedule: what a scheduler has to know of how the model was trained.
_SCHEDULE = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type",
             "timestep_spacing", "steps_offset")


def check_scheduler(name: str) -> None:
    """Raise ValueError, listing the names, for a scheduler that is not there."""
    if name not in _CLASSES:
        raise ValueError(f"expected a scheduler out of {', '.join(SCHEDULERS)}, got {name!r}")


def make_scheduler(name: str, trained_with: SchedulerMixin) -> SchedulerMixin:
    """A fresh scheduler for one request: it keeps the history of its steps, so two requests cannot share it."""
    import diffusers

    check_scheduler(name)
    class_name, extra = _CLASSES[name]
    schedule = {key: trained_with.config[key] for key in _SCHEDULE if key in trained_with.config}
    return getattr(diffusers, class_name)(**schedule, **extra)
