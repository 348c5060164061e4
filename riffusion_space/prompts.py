"""Prompts to embeddings: any length, ``(word:1.3)`` weights, several prompts to one common length.

The weight syntax is that of the Stable Diffusion web UIs: ``(word)`` is 1.1, ``((word))`` 1.21, ``[word]`` 1 / 1.1,
``(word:1.3)`` 1.3; a backslash makes the next bracket literal.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import CLIPTokenizer

    from riffusion_space.checkpoints import Checkpoint

MAX_CHARACTERS = 2000
MAX_WEIGHT = 10.0
_MAX_DEPTH = 16  # deeper brackets are taken as they stand
_PAIRS = {"(": ")", "[": "]"}
_FACTOR = {"(": 1.1, "[": 1 / 1.1}
_EXPLICIT = re.compile(r":\s*([+-]?\d*\.?\d+)\s*$")


@dataclass(frozen=True)
class WeightedText:
    text: str
    weight: float


def check_prompt(name: str, text: str, required: bool = False) -> None:
    """Raise ValueError for a prompt that is no text, too long, too heavily weighted, or empty where one is required."""
    if not isinstance(text, str):
        raise ValueError(f"expected {name} to be text, got {type(text).__name__}")
    if required and not text.strip():
        raise ValueError(f"expected {name} to say what to play, such as 'church bells', got an empty text")
    if any(unicodedata.category(char) in ("Cc", "Cs") and char not in "\t\n\r" for char in text):
        raise ValueError(f"expected {name} without control characters")
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"expected {name} of at most {MAX_CHARACTERS} characters, got {len(text)}")
    for run in parse_weights(text):
        if abs(run.weight) > MAX_WEIGHT:
            raise ValueError(f"expected weights from -{MAX_WEIGHT:g} to {MAX_WEIGHT:g} in {name}, got {run.weight:g}")


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


def embed_prompts(checkpoint: Checkpoint, prompts: list[str]) -> torch.Tensor:
    """Embeddings of prompts, all as long as the longest: (prompts, chunks * 77, width) in the checkpoint's dtype.

    A prompt of over 75 tokens becomes several chunks, each encoded with its own start and end, one after the other;
    shorter prompts are filled with empty chunks. A weight moves a token's embedding away from that of the empty
    prompt at the same place, by that factor: 0 forgets the word.
    """
    import torch

    tokenizer, encoder = checkpoint.tokenizer, checkpoint.text_encoder
    room = encoder.config.max_position_embeddings - 2  # a tokenizer need not say
    parsed = [_tokens(tokenizer, prompt) for prompt in prompts]
    chunks = max(1, *(-(-len(ids) // room) for ids, _ in parsed))
    start, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    if pad is None:
        pad = end

    def chunk(ids: list[int]) -> list[int]:
        return [start, *ids, end, *[pad] * (room - len(ids))]

    rows = [chunk(ids[c * room : (c + 1) * room]) for ids, _ in parsed for c in range(chunks)]
    with torch.inference_mode():
        tokens = torch.tensor([chunk([]), *rows], device=checkpoint.device)
        hidden = encoder(tokens).last_hidden_state
    weights = torch.ones(len(rows), room + 2, 1, dtype=torch.float32)
    for index, (_, values) in enumerate(parsed):
        for c in range(chunks):
            part = values[c * room : (c + 1) * room]
            weights[index * chunks + c, 1 : 1 + len(part), 0] = torch.tensor(part)
    empty, hidden = hidden[:1].float(), hidden[1:].float()
    weighted = empty + (hidden - empty) * weights.to(hidden.device)
    # Where the weight is 1 the embedding stays bit for bit what the encoder said.
    hidden = torch.where(weights.to(hidden.device) == 1, hidden, weighted)
    return hidden.reshape(len(prompts), chunks * (room + 2), -1).to(checkpoint.dtype)
