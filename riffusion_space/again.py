"""A clip made once more: the settings that it carries, taken back into the arguments of the task that made it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from riffusion_space.clip import read_settings
from riffusion_space.seed_images import names

if TYPE_CHECKING:
    from riffusion_space.checkpoints import Checkpoint

TASKS = ("text2audio", "audio2audio", "interpolate", "inpaint", "extend", "arrange", "morph")
_FILES = ("audio", "audio_a", "audio_b", "seed_image")  # of which settings only tell the names
_NOT_SETTINGS = ("self", "progress", "cancel")


def settings_of(made: str | Path | Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of a clip: themselves, or those in its file. ValueError where they are no task's."""
    settings = made if isinstance(made, Mapping) else read_settings(made)
    if settings.get("task") not in TASKS:
        raise ValueError(f"expected what was made by {', '.join(TASKS)}, got {settings.get('task')!r}")
    return settings


def arguments_of(settings: Mapping[str, Any], made: str | Path | Mapping[str, Any], task: Callable[..., Any],
                 changes: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that make a clip again.

    Args:
        settings: of the clip, from :func:`settings_of`.
        made: what they come from.
        task: the pipeline's method that made it.
        changes: arguments in place of those, by name. Recordings and seed images of one's own have to be among them,
            unless they lie beside the file.

    Raises:
        ValueError: a recording is not there, or a change is no argument of the task.
    """
    known = [name for name in inspect.signature(task).parameters if name not in _NOT_SETTINGS]
    for name in changes:
        if name not in known:
            raise ValueError(f"expected a change to {', '.join(known)}, the arguments of {settings['task']}, "
                             f"got {name!r}")
    arguments = {name: value for name, value in settings.items() if name in known} | dict(changes)
    for name in _FILES:
        given = arguments.get(name)
        if name in changes or given is None or name == "seed_image" and given in names():
            continue
        beside = None if isinstance(made, Mapping) else Path(made).with_name(given)
        if beside is None or not beside.is_file():
            raise ValueError(f"expected {name} among the changes: {given!r}, which it was made with, is not there")
        arguments[name] = beside
    return arguments


def difference(checkpoint: Checkpoint, settings: Mapping[str, Any]) -> str | None:
    """A sentence on why a checkpoint as it is now will not make the same samples, if there is a reason."""
    for what, was, now in (("checkpoint", settings.get("checkpoint"), checkpoint.name),
                           ("revision of the checkpoint", settings.get("revision"), checkpoint.revision),
                           ("LoRAs", settings.get("loras", []), checkpoint.loras.settings or []),
                           ("type of numbers", settings.get("dtype", checkpoint.dtype_name), checkpoint.dtype_name)):
        if was != now:
            return f"it was made with another {what}, and will not be the same: {was or 'none'}, now {now or 'none'}"
    return None
