"""Train the tokenizer and the text encoder: captions to 77 x 256 embeddings that hold what was composed.

The encoder learns to tell the facts of a piece (sounds, genre, mood, tempo, key) from any of its captions. That takes
minutes, and the diffusion model then starts from embeddings in which synonyms and word order no longer matter.

``python -m riffusion_space.training.text --out data/text --steps 2400`` composes what it reads about itself.

``--start CHECKPOINT`` goes on from another checkpoint's tokenizer and encoder, for words that they do not know yet.
What they do know keeps its embeddings, so that the checkpoint's diffusion model still understands it.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from riffusion_space.training.captions import caption
from riffusion_space.training.compose import MOODS, NOTES, Piece, compose
from riffusion_space.training.corpus import CLIP_SAMPLES, HELD_OUT_SEEDS, PARAMS, vocabulary
from riffusion_space.training.sounds import AMBIENCES, GENRES, INSTRUMENTS
from riffusion_space.training.state import TrainingState, half_precision, set_rate

START, END = "<|startoftext|>", "<|endoftext|>"
MAX_TOKENS = 77
WIDTH = 256
SECONDS = CLIP_SAMPLES / PARAMS.sample_rate
KEPT = 20.0  # weight of the old embeddings' staying where they were, beside the facts' cross-entropies
# CLIP's own pre-tokenizer (Radford et al. 2021): contractions, words, digits one by one, punctuation.
WORDS = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")


def train_tokenizer(captions: list[str], folder: Path, merges: int = 1200) -> CLIPTokenizer:
    """A byte-level CLIP tokenizer whose merges come from ``captions``: any text has tokens, music words have few."""
    tokenizer = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(WORDS, "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.train_from_iterator(captions, trainers.BpeTrainer(
        vocab_size=512 + merges, end_of_word_suffix="</w>", initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    learned = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    # As in CLIP: every byte inside and at the end of a word, then the merges, then the two special tokens.
    tokens = list(dict.fromkeys([*alphabet, *(a + "</w>" for a in alphabet), *(a + b for a, b in learned), START, END]))
    folder.mkdir(parents=True, exist_ok=True)
    vocab, merged = folder / "vocab.json", folder / "merges.txt"
    vocab.write_text(json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False), encoding="utf-8")
    merged.write_text("#version: 0.2\n" + "\n".join(f"{a} {b}" for a, b in learned) + "\n", encoding="utf-8")
    clip = CLIPTokenizer(vocab=str(vocab), merges=str(merged), unk_token=END, bos_token=START, eos_token=END,
                         pad_token=END, model_max_length=MAX_TOKENS)
    clip.save_pretrained(folder)
    return clip


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Three layers of width 256, 2.9 M weights."""
    return CLIPTextModel(CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=4 * WIDTH, projection_dim=WIDTH,
        num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=MAX_TOKENS,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id))


_SOUND = {s.name: i for i, s in enumerate(INSTRUMENTS)}
_GENRE = {g.name: i for i, g in enumerate(GENRES)}
_AMBIENCE = {a.name: i for i, a in enumerate(AMBIENCES)}
_TEXTURES = ("melody", "chords", "arpeggio", "beat", "band", "bassline", "ambience")
_KEYS = ("", *sorted(f"{note} {mode}" for note in NOTES for mode in ("major", "minor")))
FACTS = {  # fact: number of classes; the last class of sounds, genres and ambiences is "none"
    "lead": len(_SOUND) + 1, "backing": len(_SOUND) + 1, "genre": len(_GENRE) + 1, "blended": len(_GENRE) + 1,
    "ambience": len(_AMBIENCE) + 1, "mood": len(MOODS), "texture": len(_TEXTURES), "tempo": 16, "key": len(_KEYS),
}


def facts(piece: Piece) -> list[int]:
    """The classes of a piece in the order of ``FACTS``; tempo in bins of 10 BPM from 50."""
    lead, backing = (*piece.instruments, None, None)[:2]
    genre, blended = (*piece.genres, None, None)[:2]
    return [_SOUND.get(lead, len(_SOUND)), _SOUND.get(backing, len(_SOUND)), _GENRE.get(genre, len(_GENRE)),
            _GENRE.get(blended, len(_GENRE)), _AMBIENCE.get(piece.ambience, len(_AMBIENCE)),
            MOODS.index(piece.mood), _TEXTURES.index(piece.texture), min(15, max(0, (piece.bpm - 50) // 10)),
            _KEYS.index(piece.key)]


class FactReader(nn.Module):
    """The encoder with a linear reader a fact on the mean embedding; only the encoder is kept."""

    def __init__(self, encoder: CLIPTextModel) -> None:
        super().__init__()
        self.encoder = encoder
        self.readers = nn.ModuleDict({fact: nn.Linear(WIDTH, classes) for fact, classes in FACTS.items()})

    def forward(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        pooled = self.encoder(tokens).last_hidden_state.mean(1)
        return [reader(pooled) for reader in self.readers.values()]


def tokenize(tokenizer: CLIPTokenizer, texts: list[str], length: int = MAX_TOKENS) -> torch.Tensor:
    return tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids


def _moved(encoder: CLIPTextModel, before: CLIPTextModel, tokens: torch.Tensor) -> torch.Tensor:
    """How far the embeddings of ``tokens`` are from what they were: the mean square, of which 1 is all."""
    if not len(tokens):
        return torch.zeros((), device=tokens.device)
    with torch.no_grad():
        was = before(tokens).last_hidden_state
    return (encoder(tokens).last_hidden_state - was).square().mean() / was.square().mean()


def compose_some(seeds: random.Random, count: int) -> list[Piece]:
    """Pieces of the seeds that a corpus may take."""
    return [compose(seeds.randrange(HELD_OUT_SEEDS, 1000 * HELD_OUT_SEEDS), SECONDS) for _ in range(count)]


def train(out: Path, steps: int, batch: int, rate: float, device: torch.device, start: Path | None = None) -> None:
    """Train tokenizer and encoder; writes ``out/tokenizer`` and ``out/text_encoder``.

    ``start``: the folder of a checkpoint whose tokenizer stays and whose encoder learns more.
    """
    rng = random.Random("text encoder")
    if (out / "state.pt").exists():  # weights that are trained know their tokens by number
        tokenizer = CLIPTokenizer.from_pretrained(out / "tokenizer")
    elif start:
        tokenizer = CLIPTokenizer.from_pretrained(start / "tokenizer")
        tokenizer.save_pretrained(out / "tokenizer")
    else:
        captions = [caption(piece, rng) for piece in compose_some(rng, 12_000) for _ in range(3)]
        tokenizer = train_tokenizer(captions, out / "tokenizer")
    torch.manual_seed(0)
    before = CLIPTextModel.from_pretrained(start / "text_encoder", dtype=torch.float32).to(device) if start else None
    known = vocabulary(start) if start else frozenset()
    model = FactReader(copy.deepcopy(before) if before else build_text_encoder(tokenizer)).to(device)
    state = TrainingState(out, model, torch.optim.AdamW(model.parameters(), rate, weight_decay=0.01), decay=0.99)
    rng = random.Random(f"text encoder {state.step}")
    while state.step < steps:
        chosen = compose_some(rng, batch)
        tokens = tokenize(tokenizer, [caption(piece, rng) for piece in chosen]).to(device)
        truth = torch.tensor([facts(piece) for piece in chosen], device=device)
        set_rate(state.optimizer, rate, state.step, state.step / steps, warmup=50)
        with half_precision(device):
            outputs = model(tokens)
        loss = sum(F.cross_entropy(o.float(), truth[:, i]) for i, o in enumerate(outputs))
        if before:
            old = torch.tensor([piece.sounds <= known for piece in chosen], device=device)
            loss = loss + KEPT * _moved(model.encoder, before, tokens[old])
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        state.optimizer.step()
        right = [(o.argmax(1) == truth[:, i]).float().mean().item() for i, o in enumerate(outputs)]
        state.update(loss=loss.item(), **dict(zip(FACTS, right)))
        if state.step % 50 == 0:
            print(f"text step {state.step}: loss {loss.item():.3f}, right "
                  + ", ".join(f"{k} {v:.2f}" for k, v in zip(FACTS, right)), flush=True)
            state.save()
    state.save()
    model.load_state_dict(state.average)
    model.encoder.eval().save_pretrained(out / "text_encoder")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train riffusion-mini's tokenizer and text encoder.")
    parser.add_argument("--out", type=Path, default=Path("data/text"))
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--start", type=Path, metavar="CHECKPOINT", help="go on from this checkpoint's encoder")
    args = parser.parse_args()
    train(args.out, args.steps, args.batch, args.rate, torch.device(args.device), args.start)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
