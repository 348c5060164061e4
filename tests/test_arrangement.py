import numpy as np
import pytest

from riffusion_space.arguments import check_arguments
from riffusion_space.arrangement import (
    Arrangement,
    Section,
    as_sections,
    as_settings,
    read_piece,
)
from riffusion_space.config import Config
from riffusion_space.ui.original import EXAMPLES_DIR

BAR_S = 2.0  # at 120 bpm


def arranged(*sections):
    return Arrangement(as_sections(sections), 120.0)


def test_sections_out_of_json_and_back():
    sections = as_sections([{"prompt": "harp"}, {"name": "bridge", "bars": 2, "energy": "low", "seed": 3}])
    assert sections == (Section(prompt="harp"), Section("bridge", 2, "", "low", "crossfade", 3))
    assert as_sections(as_settings(sections)) == sections
    assert "seed" not in as_settings(sections)[0]


@pytest.mark.parametrize("sections, complaint", [
    ([], "list of 1 to 32, got 0"), ("intro", "a list of 1 to 32, got 'intro'"), ([{}] * 33, "got 33"),
    (["intro"], "section 1 to be an object with name, bars"), ([{}, {"tempo": 120}], "section 2 .* got 'tempo'"),
    ([{"energy": "wild"}], "energy of section 1 out of very low, .* got 'wild'"),
    ([{"transition": "jump"}], "transition of section 1 out of cut, .* got 'jump'"),
    ([{"name": " "}], "a name of 1 to 40"), ([{"bars": 0}], "bars of section 1 .* from 1 to 64, got 0"),
    ([{"bars": 2.5}], "bars of section 1"), ([{"bars": True}], "bars of section 1"),
    ([{"prompt": 5}], "prompt of section 1 to be text"), ([{"seed": -1}], "seed of section 1"),
    ([{"bars": 64}, {"bars": 64}], "128 bars at 120 bpm, which is 256.0 s"),
])
def test_bad_sections_are_one_sentence(sections, complaint):
    with pytest.raises(ValueError, match=complaint):
        check_arguments(Config(), sections=sections, bpm=120.0)


@pytest.mark.parametrize("change, complaint", [
    ({"anew": 1}, "one without the other"), ({"audio": "README.md"}, "one without the other"),
    ({"audio": "README.md", "anew": 2}, "anew from 1 to 1"), ({"bpm": None}, "bpm from 40"),
])
def test_bad_changes_are_one_sentence(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        check_arguments(Config(), **{"sections": [{}], "bpm": 120.0, **change})


def test_places_follow_the_transitions():
    piece = arranged({"bars": 2}, {"bars": 2, "transition": "cut"}, {"bars": 4, "transition": "crossfade"},
                     {"bars": 4, "transition": "interpolate"})
    assert piece.edges == [0, 4, 8, 16, 24] and piece.samples(44_100)[-1] == 24 * 44_100
    assert piece.place(np.array([0, 3.99, 4.01])).tolist() == [0, 0, 1]  # at once
    assert piece.place(np.array([7, 8, 9])).tolist() == [1, 1.5, 2]  # over the bar around
    assert piece.place(np.array([16, 18, 20, 24])).tolist() == [2, 2.5, 3, 3]  # through its first half
    assert piece.stops[:3] == [0, 1, 2] and len(piece.stops) > 4 and piece.stops[-1] == 3


def test_ramps_of_short_sections_do_not_meet():
    piece = arranged(*[{"bars": 1, "transition": way} for way in ("cut", "crossfade", "interpolate", "crossfade")])
    place = piece.place(np.linspace(0, 8, 801))
    assert (np.diff(place) >= 0).all()
    assert {0.0, 1.0, 2.0, 3.0} <= set(place.tolist())  # each is all alone for a moment


def test_energy_is_told_once():
    assert Section(prompt="techno", energy="very high").words == "powerful energetic techno"
    assert Section(prompt="Energetic techno", energy="high").words == "Energetic techno"
    assert Section(energy="low").words == "calm" and Section(prompt="harp").words == "harp"


def test_examples_can_be_played():
    files = sorted(EXAMPLES_DIR.glob("*.yaml"))
    assert files
    for file in files:
        check_arguments(Config(), **read_piece(file))


@pytest.mark.parametrize("text, complaint", [
    ("sections: [", "is not YAML"), ("- 1", "to hold sections"), ("bpm: 120", "to hold sections"),
    ("sections: [{}]\nprompt: harp", "got 'prompt'"), (b"\xff\xfe\x00", "is not YAML"),
])
def test_files_that_are_no_piece(tmp_path, text, complaint):
    file = tmp_path / "piece.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=complaint):
        read_piece(file)
    with pytest.raises(ValueError, match="there is no 'other.yaml'"):
        read_piece(tmp_path / "other.yaml")
