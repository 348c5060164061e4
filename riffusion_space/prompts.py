"""Prompts to embeddings: any length, ``(word:1.3)`` weights, several prompts to one common length.

The weight syntax is that of the Stable Diffusion web UIs: ``(word)`` is 1.1, ``((word))`` 1.21, ``[word]`` 1 / 1.1,
``(word:1.3)`` 1.3; a backslash makes the next bracket literal.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from riffusion_space.stages import stage

if TYPE_CHECKING:
    import torch
    from transformers import CLIPTextModel, CLIPTokenizer

    from riffusion_space.checkpoints import Checkpoint

MAX_CHARACTERS = 2000
MAX_WEIGHT = 10.0
_MAX_DEPTH = 16  # deeper brackets are taken as they stand
_PAIRS = {"(": ")", "[": "]"}
_FACTOR = {"(": 1.1, "[": 1 / 1.1}
MAX_KEPT = 64  # prompts whose embeddings are kept, the latest asked for
_ENCODING = threading.Lock()
_KEPT: WeakKeyDictionary[CLIPTextModel, OrderedDict[tuple, torch.Tensor]] = WeakKeyDictionary()
_EXPLICIT = re.compile(r":\s*([+-]?\d*\.?\d+)\s*$")


@dataclass(frozen=True)
class WeightedText:
    text: str
    weight: float


def check_prompt(name: str, text: str) -> None:
    """Raise ValueError for a prompt that is no text, too long or too heavily weighted. An empty one asks for nothing in
    particular.
    """
    if not isinstance(text, str):
        raise ValueError(f"expected {name} to be text, got {type(text).__name__}")
    if any(unicodedata.category(char) in ("Cc", "Cs") and char not in "\t\n\r" for char in text):
        raise ValueError(f"expected {name} without control characters")
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"expected {name} of at most {MAX_CHARACTERS} characters, got {len(text)}")
    for run in parse_weights(text):
        if abs(run.weight) > MAX_WEIGHT:
            raise ValueError(f"expected weights from -{MAX_WEIGHT:g} to {MAX_WEIGHT:g} in {name}, got {run.weight:g}")


def escape(caption: str) -> str:
    """A caption as a prompt that means it literally: brackets would weigh words."""
    return re.sub(r"([()\[\]\\])", r"\\\1", caption)


def parse_weights(prompt: str) -> list[WeightedText]:
    """Split a prompt into runs of one weight. Brackets that do not pair are taken as they stand.

    >>> parse_weights("loud (bells:1.5) at ((night))")
    [WeightedText(text='loud ', weight=1.0), WeightedText(text='bells', weight=1.5), \
WeightedText(text=' at ', weight=1.0), WeightedText(text='night', weight=1.21)]
    """
    runs: list[WeightedText] = []

    def walk(text: str, weight: float, depth: int) -> None:
        plain, at = "", 0
        while at < len(text):
            char = text[at]
            if char == "\\" and at + 1 < len(text) and text[at + 1] in "()[]\\":
                plain, at = plain + text[at + 1], at + 2
                continue
            end = _closing(text, at) if char in _PAIRS and depth < _MAX_DEPTH else None
            if end is None:
                plain, at = plain + char, at + 1
                continue
            if plain:
                runs.append(WeightedText(plain, round(weight, 4)))
            plain, inner, factor = "", text[at + 1 : end], _FACTOR[char]
            if char == "(" and (explicit := _EXPLICIT.search(inner)):
                inner, factor = inner[: explicit.start()], float(explicit[1])
            walk(inner, weight * factor, depth + 1)
            at = end + 1
        if plain:
            runs.append(WeightedText(plain, round(weight, 4)))

    walk(prompt, 1.0, 0)
    return runs


def _closing(text: str, start: int) -> int | None:
    """Where the bracket opened at ``start`` closes."""
    depth, at, opening = 0, start, text[start]
    while at < len(text):
        if text[at] == "\\":
            at += 2
            continue
        depth += (text[at] == opening) - (text[at] == _PAIRS[opening])
        if depth == 0:
            return at
        at += 1
    return None


def _tokens(tokenizer: CLIPTokenizer, prompt: str) -> tuple[list[int], list[float]]:
    ids: list[int] = []
    weights: list[float] = []
    for run in parse_weights(prompt):
        # An over-long prompt is cut into chunks here, so the tokenizer need not warn of its length.
        run_ids = tokenizer(run.text, add_special_tokens=False, truncation=False, verbose=False).input_ids
        ids += run_ids
        weights += [run.weight] * len(run_ids)
    return ids, weights


@stage("text")
def embed_prompts(checkpoint: Checkpoint, prompts: list[str]) -> torch.Tensor:
    """Embeddings of prompts, all as long as the longest: (prompts, chunks * 77, width) float32.

    A prompt of over 75 tokens becomes several chunks, each encoded with its own start and end, one after the other;
    shorter prompts are filled with empty chunks. A weight moves a token's embedding away from that of the empty
    prompt at the same place, by that factor: 0 forgets the word.
    """
    import torch

    rows = [_encoded(checkpoint, prompt) for prompt in prompts]
    chunks = max(len(row) for row in rows)
    empty = _encoded(checkpoint, "")
    filled = [torch.cat([row, empty.expand(chunks - len(row), -1, -1)]) for row in rows]
    return torch.stack(filled).flatten(1, 2).to(checkpoint.device)


def _encoded(checkpoint: Checkpoint, prompt: str) -> torch.Tensor:
    """A prompt's chunks (chunks, tokens, width) on the text encoder's device, kept for the next time."""
    encoder = checkpoint.text_encoder
    with _ENCODING:  # a tokenizer is for one thread at a time
        # Fine-tuning changes the weights in their place, LoRAs put others there.
        state = (encoder.training, sum(weight._version for weight in encoder.parameters()),
                 tuple(tuple(lora.values()) for lora in checkpoint.loras.settings))
        kept = _KEPT.setdefault(encoder, OrderedDict())
        if (key := (prompt, state)) not in kept:
            kept[key] = _encode(checkpoint, prompt)
            if len(kept) > MAX_KEPT:
                kept.popitem(last=False)
        kept.move_to_end(key)
        return kept[key]


def _encode(checkpoint: Checkpoint, prompt: str) -> torch.Tensor:
    import torch

    tokenizer, encoder = checkpoint.tokenizer, checkpoint.text_encoder
    room = encoder.config.max_position_embeddings - 2  # a tokenizer need not say
    ids, values = _tokens(tokenizer, prompt)
    start, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    if pad is None:
        pad = end

    def chunk(ids: list[int]) -> list[int]:
        return [start, *ids, end, *[pad] * (room - len(ids))]

    first = range(0, max(1, len(ids)), room)
    with torch.inference_mode():
        tokens = torch.tensor([chunk([]), *(chunk(ids[at : at + room]) for at in first)], device=encoder.device)
        hidden = encoder(tokens).last_hidden_state
        weights = torch.ones(len(first), room + 2, 1)
        for row, at in zip(weights, first):
            part = values[at : at + room]
            row[1 : 1 + len(part), 0] = torch.tensor(part)
        weights = weights.to(hidden.device)
        empty, said = hidden[:1].float(), hidden[1:].float()
        # Where the weight is 1 the embedding stays bit for bit what the encoder said.
        return torch.where(weights == 1, said, empty + (said - empty) * weights)
