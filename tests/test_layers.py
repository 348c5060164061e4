import numpy as np
import pytest
import torch

from riffusion_space.arrangement import Arrangement, Section, as_sections
from riffusion_space.layers import blended, even_gains, level_of, on_the_beat, windows

WINDOW = 64
COLUMN_S = 0.08


@pytest.mark.parametrize("bars", [(1,), (3, 1, 8), (4, 4, 2, 4, 2), (16,)])
@pytest.mark.parametrize("transition", ["cut", "crossfade", "interpolate"])
def test_every_column_counts_once(bars, transition):
    piece = Arrangement(as_sections([{"bars": count, "transition": transition} for count in bars]), 120.0)
    width = max(WINDOW, round(piece.edges[-1] / COLUMN_S) + 1)
    place = piece.place((np.arange(width) + 0.5) * COLUMN_S)
    laid = windows(place, piece.stops, WINDOW)
    assert laid.share.shape == (len(laid.starts), WINDOW) and len(laid.stops) == len(laid.starts)
    assert 0 <= min(laid.starts) and max(laid.starts) <= width - WINDOW
    for stop in set(laid.stops):  # the windows of one prompt agree on how much it counts
        seen = torch.full((width,), -1.0)
        for start, share, own in zip(laid.starts, laid.share, laid.stops):
            if own == stop:
                part = seen[start : start + WINDOW]
                assert torch.equal(torch.where(part >= 0, part, share), share)
                seen[start : start + WINDOW] = share
    covered = torch.zeros(width)
    for start, share in zip(laid.starts, laid.share):
        covered[start : start + WINDOW] += share
    assert covered.min() > 0


def test_a_cut_is_on_the_bar_and_prompts_between_are_mixed():
    piece = Arrangement(as_sections([{"bars": 4}, {"bars": 4, "transition": "cut"}]), 120.0)
    laid = windows(piece.place((np.arange(200) + 0.5) * COLUMN_S), piece.stops, WINDOW)
    for start, share, stop in zip(laid.starts, laid.share, laid.stops):
        first = torch.arange(start, start + WINDOW) < 100
        assert torch.equal(share, (first if stop == 0 else ~first).float())
    values = torch.tensor([[0.0], [2.0], [6.0]])
    assert blended(values, [0, 0.5, 1, 1.25, 2]).flatten().tolist() == [0, 1, 2, 3, 6]


def test_a_loop_is_turned_to_its_beat_and_bar():
    columns, beats = 384, 8
    loop = torch.full((512, columns), 255, dtype=torch.uint8)
    for beat in range(beats):
        at = (beat * columns // beats + 29) % columns
        loop[:200, at : at + 10] = 100
        if beat % 4 == 2:  # the first of the bar
            loop[450:, at : at + 10] = 0
    turned = on_the_beat(loop, beats)
    onsets = (turned[0] < 200) & (turned[0].roll(1) > 200)
    assert [int(at) for at in onsets.nonzero()] == [beat * columns // beats for beat in range(beats)]
    basses = (turned[500] < 10) & (turned[500].roll(1) > 10)
    assert [int(at) for at in basses.nonzero()] == [0, columns // 2]
    still = torch.full((512, columns), 120, dtype=torch.uint8)
    assert torch.equal(on_the_beat(still, beats), still)


def test_sections_become_as_loud_as_their_energies():
    sections = as_sections([{"energy": "low"}, {"energy": "very high"}, {"energy": "medium"}])
    place = np.repeat([0.0, 1.0, 2.0], 50)
    mel = torch.ones(512, 150)
    mel[:, 50:100] = 0.7  # the loudest is to be, and is not
    loud = (mel * even_gains(mel, place, sections))[0, [25, 75, 125]]
    decibels = 20 * torch.log10(loud / loud[1])
    torch.testing.assert_close(decibels, torch.tensor([-5.0, 0.0, -2.5]), atol=0.01, rtol=0)
    silence = even_gains(torch.zeros(512, 150), place, sections)
    assert torch.isfinite(silence).all()


def test_a_section_made_anew_takes_its_level_from_the_others():
    sections = (Section(energy="medium"), Section(energy="very high"), Section(energy="medium"))
    samples = np.concatenate([np.full((1, 100), level) for level in (0.1, 0.5, 0.1)], 1).astype(np.float32)
    factor = level_of(1, samples, [0, 100, 200, 300], sections)
    assert 20 * np.log10(0.5 * factor / 0.1) == pytest.approx(2.5, abs=0.01)
    assert level_of(0, samples[:, :100], [0, 100], sections[:1]) is None
