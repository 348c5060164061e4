import pytest
import torch

from riffusion_space.prompts import MAX_KEPT, check_prompt, embed_prompts, parse_weights


@pytest.fixture(scope="module")
def checkpoint(tiny_pipe):
    return tiny_pipe.checkpoint


def as_pairs(prompt):
    return [(run.text, run.weight) for run in parse_weights(prompt)]


def test_weight_syntax():
    assert as_pairs("bells") == [("bells", 1.0)]
    assert as_pairs("(bells)") == [("bells", 1.1)]
    assert as_pairs("a [b] (c:1.3)") == [("a ", 1.0), ("b", 0.9091), (" ", 1.0), ("c", 1.3)]
    assert as_pairs("((a:2) b)") == [("a", 2.2), (" b", 1.1)]
    assert as_pairs(r"\(a\) (b") == [("(a) (b", 1.0)]
    assert as_pairs("3:4 time") == [("3:4 time", 1.0)]
    assert as_pairs("") == []


def test_brackets_never_overflow_the_stack():
    assert "".join(text for text, _ in as_pairs("(" * 900 + "a" + ")" * 900)).count("a") == 1


def test_plain_prompt_is_what_the_encoder_says(checkpoint):
    tokens = checkpoint.tokenizer("church bells", padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.inference_mode():
        expected = checkpoint.text_encoder(tokens).last_hidden_state
    assert torch.equal(embed_prompts(checkpoint, ["church bells"]), expected)


def test_long_and_short_prompts_get_one_length(checkpoint):
    long = " ".join(["loud bells and soft rain"] * 30)
    embeddings = embed_prompts(checkpoint, [long, "", "flute"])
    assert embeddings.shape[0] == 3 and embeddings.shape[1] % 77 == 0 and embeddings.shape[1] > 77
    # What stands after the 75th token still counts.
    other = embed_prompts(checkpoint, [long + " trumpet", "", "flute"])
    assert not torch.equal(embeddings[0], other[0])
    assert torch.equal(embeddings[1:], other[1:, : embeddings.shape[1]])


def test_weights_move_away_from_the_empty_prompt(checkpoint):
    plain, heavy, gone, empty = embed_prompts(checkpoint, ["bells", "(bells:1.5)", "(bells:0)", ""])
    word = (plain - empty).abs().sum(1) > 1e-6
    word[0] = False
    first = int(word.nonzero()[0])
    torch.testing.assert_close(heavy[first] - empty[first], 1.5 * (plain[first] - empty[first]))
    torch.testing.assert_close(gone[first], empty[first])


@pytest.mark.parametrize("text, complaint", [
    (None, "to be text, got NoneType"), ("x" * 2001, "2000 characters"),
    ("(a:99)", "weights from"), ("bells\0", "control characters"), ("bells\ud800", "control characters"),
])
def test_bad_prompts_are_refused(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        check_prompt("prompt", text)


def test_embeddings_are_kept_until_the_encoder_changes(checkpoint):
    calls, asked = [], ["a sound that nobody asked for yet", ""]
    hook = checkpoint.text_encoder.register_forward_hook(lambda *_: calls.append(1))
    weight = next(checkpoint.text_encoder.parameters())
    try:
        first, encoded = embed_prompts(checkpoint, asked), len(calls)
        assert torch.equal(embed_prompts(checkpoint, asked), first) and len(calls) == encoded
        with torch.no_grad():
            weight.mul_(2)
        assert not torch.equal(embed_prompts(checkpoint, asked), first)
        with torch.no_grad():
            weight.div_(2)
        assert torch.equal(embed_prompts(checkpoint, asked), first)
        for number in range(MAX_KEPT + 5):
            embed_prompts(checkpoint, [f"prompt {number}"])
        encoded = len(calls)
        embed_prompts(checkpoint, ["prompt 0"])
        assert len(calls) == encoded + 1  # the oldest were given up
    finally:
        hook.remove()
