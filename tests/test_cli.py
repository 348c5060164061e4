import re
import resource
import subprocess
import sys

import pytest
from conftest import make_music
from PIL import Image

from riffusion_space import cli
from riffusion_space.audio import read_audio, write_audio
from riffusion_space.clip import read_settings

TASKS = ("text2audio", "audio2audio", "interpolate", "inpaint", "extend", "arrange", "morph")


def run(*arguments, timeout=300):
    return subprocess.run([sys.executable, "-m", "riffusion_space", *map(str, arguments)], capture_output=True,
                          text=True, timeout=timeout)


def children_s():
    """Seconds that programs which have ended have computed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture
def call(capsys):
    """The same in this process, which saves the imports: exit code, and what it says on stdout and stderr."""

    def called(*arguments):
        try:
            code = cli.main(list(map(str, arguments)))
        except SystemExit as left:  # as argparse does
            code = left.code
        return code, *capsys.readouterr()

    return called


@pytest.fixture(scope="module")
def tiny(tiny_folder):
    return ("--checkpoint", tiny_folder, "--device", "cpu", "--steps", 2)


def test_text2audio_writes_the_same_bytes_twice(tmp_path, tiny, call):
    arguments = ("text2audio", "church bells", "--seed", 7, *tiny, "-o")
    done = run(*arguments, tmp_path / "one.wav")
    for code, out, err in ((done.returncode, done.stdout, done.stderr), call(*arguments, tmp_path / "two.wav")):
        assert code == 0, err
        assert out == "" and "Step 2 of 2" in err and "seed 7" in err
    assert (tmp_path / "one.wav").read_bytes() == (tmp_path / "two.wav").read_bytes()
    assert read_settings(tmp_path / "one.wav")["prompt"] == "church bells"


def test_audio2audio_and_interpolate(tmp_path, tiny, call):
    song = write_audio(make_music(2.5), tmp_path / "song.ogg")
    code, _, err = call("audio2audio", song, "flute", "--strength", 0.5, "-o", tmp_path / "flute.mp3", *tiny)
    assert code == 0, err
    assert read_audio(tmp_path / "flute.mp3").duration_s == pytest.approx(2.5, abs=0.1)
    code, _, err = call("interpolate", "rain", "wind", "--clips", 2, "-o", tmp_path / "walk.png", *tiny)
    assert code == 0, err
    assert Image.open(tmp_path / "walk.png").size == (1024, 512)


def test_inpaint_and_extend(tmp_path, tiny, call):
    song = write_audio(make_music(2.5), tmp_path / "song.flac")
    code, _, err = call("inpaint", song, "flute", "--region", "0.5-1", "--region", "1.2-2:200-2000", "-o",
                        tmp_path / "in.flac", *tiny)
    assert code == 0, err
    given, made = read_audio(song).samples, read_audio(tmp_path / "in.flac").samples
    assert (made[:, :22050] == given[:, :22050]).all() and (made[:, 88200:] == given[:, 88200:]).all()
    assert read_settings(tmp_path / "in.flac")["regions"] == [[0.5, 1], [1.2, 2, 200, 2000]]
    code, _, err = call("extend", song, "flute", "--seconds", 1, "--side", "left",
                        "-o", tmp_path / "longer.flac", *tiny)
    assert code == 0, err
    assert (read_audio(tmp_path / "longer.flac").samples[:, 44100:] == given).all()


def test_arrange_and_one_section_anew(tmp_path, tiny, call):
    piece = tmp_path / "piece.yaml"
    piece.write_text("bpm: 240\nseed: 3\nsections:\n- {prompt: rain, bars: 1}\n- {bars: 2, transition: cut, seed: 5}\n")
    code, _, err = call("arrange", piece, "-o", tmp_path / "piece.flac", *tiny)
    assert code == 0, err
    made = read_audio(tmp_path / "piece.flac").samples
    assert made.shape == (1, 3 * 44_100) and "seed 3" in err
    code, _, err = call("arrange", piece, "--audio", tmp_path / "piece.flac", "--anew", 1, "--seed", 4,
                        "-o", tmp_path / "anew.flac", *tiny)
    assert code == 0, err
    assert (read_audio(tmp_path / "anew.flac").samples[:, 44_100:] == made[:, 44_100:]).all()
    assert read_settings(tmp_path / "anew.flac")["seed"] == 4


def test_codec_both_ways(tmp_path, call):
    song = write_audio(make_music(2.0), tmp_path / "song.flac")
    assert call("audio2image", song, "-o", tmp_path / "song.png")[0] == 0
    assert call("image2audio", tmp_path / "song.png", "-o", tmp_path / "back.wav")[0] == 0
    assert read_audio(tmp_path / "back.wav").duration_s == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("arguments, complaint", [
    (("text2audio", "(rain:99)", "-o", "x.wav"), "prompt"),
    (("arrange", "piece.yaml", "-o", "x.wav"), "there is no 'piece.yaml'"),
    (("arrange", "README.md", "-o", "x.wav"), "a YAML file of sections"),
    (("arrange", "assets/examples/night-drive.yaml", "--anew", "2", "-o", "x.wav"), "one without the other"),
    (("morph", "README.md", "README.md", "-o", "x.wav"), "an audio file such as"),
    (("text2audio", "rain", "-o", "x.txt"), "--output to end in"),
    (("text2audio", "rain", "-o", "no/such/folder/x.wav"), "folder that exists"),
    (("text2audio", "rain", "--steps", "0", "-o", "x.wav"), "steps"),
    (("text2audio", "rain", "--steps", "many", "-o", "x.wav"), "--steps"),
    (("audio2audio", "missing.mp3", "flute", "-o", "x.wav"), "missing.mp3"),
    (("interpolate", "rain", "-o", "x.wav"), "prompt_b or seed_b"),
    (("inpaint", "README.md", "flute", "--region", "1.5", "-o", "x.wav"), "such as 1.5-3.0"),
    (("inpaint", "README.md", "flute", "--region", "3-1.5", "-o", "x.wav"), "at least 0.1 s"),
    (("inpaint", "assets/examples/rock-beat.mp3", "flute", "--region", "1-99", "-o", "x.wav"), "inside the sound"),
    (("inpaint", "README.md", "flute", "-o", "x.wav"), "--region"),
    (("extend", "README.md", "flute", "-o", "x.wav"), "an audio file such as"),
    (("extend", "README.md", "flute", "--seconds", "nan", "-o", "x.wav"), "seconds from 0.1"),
    (("extend", "README.md", "flute", "--seconds", "3", "--side", "up", "-o", "x.wav"), "right or left"),
    (("image2audio", "missing.png", "-o", "x.wav"), "missing.png"),
    (("text2audio", "rain", "-o", "x.wav", "--checkpoint", "no/such@@"), "no/such@@"),
    (("text2audio", "rain", "-o", "x.wav", "--device", "gpu"), "a device that this machine has"),
    (("sing", "rain"), "sing"),
])
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, complaint, tiny, call):
    needs_model = arguments[0] in TASKS and "--checkpoint" not in arguments
    model = tiny[: 2 if "--device" in arguments else 4] if needs_model else ()
    code, _, err = call(*arguments, *model)
    assert code == 2 and complaint in err
    assert re.search(r"error: .+", err.strip().splitlines()[-1])


def test_bad_input_ends_the_program_without_a_traceback(tiny):
    done = run("text2audio", "rain", "--steps", "0", "-o", "x.wav", *tiny[:4])
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert re.fullmatch(r"error: .*steps.*", done.stderr.strip().splitlines()[-1])


def test_what_the_system_refuses_is_a_sentence_and_exit_code_1(monkeypatch, capsys, tmp_path):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cli, "_run", full)
    assert cli.main(["image2audio", "a.png", "-o", str(tmp_path / "x.wav")]) == 1
    assert capsys.readouterr().err == f"error: No space left on device: {tmp_path / 'x.wav'}\n"


@pytest.mark.parametrize("said, told", [((), "interrupted\n"), (("go on so",), "interrupted: go on so\n")])
def test_an_interruption_says_how_to_go_on_where_it_knows(monkeypatch, capsys, said, told):
    def interrupted(*arguments):
        raise KeyboardInterrupt(*said)

    monkeypatch.setattr(cli, "_train", interrupted)
    assert cli.main(["train", "music", "-o", "out"]) == 130
    assert capsys.readouterr().err == told


def test_help_is_quick_and_names_every_task():
    before = children_s()
    done = run("--help")
    assert done.returncode == 0 and children_s() - before < 1.5
    for task in (*TASKS, "image2audio", "audio2image"):
        assert task in done.stdout


def test_importing_the_package_is_quick_and_loads_nothing_heavy():
    code = "import sys, riffusion_space; assert not {'torch', 'gradio', 'diffusers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
