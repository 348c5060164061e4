"""The tasks as tools, as a real MCP client meets them over streamable HTTP at the real server."""

from __future__ import annotations

import asyncio
import io
import json
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote

import app_server
import httpx
import pytest
import soundfile
from conftest import make_music
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, Tool
from test_schema import CONVERSIONS, STREAM, TASKS

from riffusion_space.audio import write_audio
from riffusion_space.checkpoints import EMBEDDED_DIR
from riffusion_space.ui.tools import described

QUICK = {"steps": 2, "guidance": 1}


@pytest.fixture(scope="module")
def server():
    return app_server.start()


def talk(server: app_server.AppServer, conversation, headers: dict[str, str] | None = None):
    """What ``conversation``, a coroutine function of a session, returns."""

    async def connected():
        async with (
            httpx.AsyncClient(headers=headers, timeout=120) as http,
            streamable_http_client(f"{server.url}/gradio_api/mcp/", http_client=http) as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return await conversation(session)

    return asyncio.run(connected())


def use(server: app_server.AppServer, tool: str, headers: dict[str, str] | None = None, **arguments) -> CallToolResult:
    return talk(server, lambda session: session.call_tool(tool, arguments), headers)


def texts(result: CallToolResult) -> list[str]:
    assert not result.isError, result.content[0].text
    return [content.text for content in result.content]


def refusal(server: app_server.AppServer, tool: str, **arguments) -> str:
    result = use(server, tool, **arguments)
    assert result.isError and len(result.content) == 1
    text = result.content[0].text
    assert "Traceback" not in text and "\n" not in text and len(text) < 300 and text.endswith(".")
    return text


def heard(url: str) -> tuple[int, int]:
    """Samples and channels of the sound at a URL."""
    with urllib.request.urlopen(url, timeout=30) as response:
        samples, rate = soundfile.read(io.BytesIO(response.read()), always_2d=True)
    assert rate == 44_100
    return samples.shape


def upload(server: app_server.AppServer, path: Path) -> str:
    """The URL of a file that is now the server's."""
    reply = httpx.post(f"{server.url}/gradio_api/upload", files={"files": (path.name, path.read_bytes())}).json()
    return f"{server.url}/gradio_api/file={quote(reply[0])}"


@pytest.fixture(scope="module")
def tools(server) -> dict[str, Tool]:
    return {tool.name: tool for tool in talk(server, lambda session: session.list_tools()).tools}


def test_a_tool_for_each_task_and_nothing_else(server, tools):
    assert set(tools) == {*TASKS, *CONVERSIONS, STREAM}

    async def rest(session):
        return ((await session.list_resources()).resources, (await session.list_prompts()).prompts)

    assert talk(server, rest) == ([], [])


def test_tools_say_what_a_language_model_needs(tools):
    text2audio = tools["text2audio"].inputSchema
    assert text2audio["required"] == ["prompt"] and text2audio["additionalProperties"] is False
    assert text2audio["properties"]["duration_s"] == {
        "type": "number", "description": "length in seconds, from 1.", "default": 5.11, "minimum": 1, "maximum": 180}
    assert text2audio["properties"]["negative_prompt"]["default"] == ""
    assert tools["image2audio"].inputSchema["properties"]["seed"]["default"] == 0
    assert tools["inpaint"].inputSchema["properties"]["regions"]["items"] == {
        "type": "array", "items": {"type": "number"}}
    for tool in tools.values():
        assert tool.description.count("Returns: ") == 1 and len(tool.description) < 600
    assert "A file goes in as a URL" in tools["audio2audio"].description
    assert tools["audio2audio"].inputSchema["properties"]["audio"]["format"] == "uri"


def test_makes_sound_from_words(server):
    sound, picture, settings = texts(use(server, "text2audio", prompt="harp", seed=3, duration_s=1.5, **QUICK))
    assert heard(sound) == (66_150, 1)
    assert urllib.request.urlopen(picture, timeout=30).read(8) == b"\x89PNG\r\n\x1a\n"
    assert json.loads(settings)["seed"] == 3 and json.loads(settings)["duration_s"] == 1.5


def test_tells_progress_in_words_and_null_is_left_out(server):
    told = []

    async def conversation(session):
        async def progressed(progress, total, message):
            told.append(message)

        return await session.call_tool("text2audio", {"prompt": "harp", "seed": None, "scheduler": None,
                                                      "duration_s": 1, **QUICK}, progress_callback=progressed)

    sound, _, settings = texts(talk(server, conversation))
    assert heard(sound) == (44_100, 1)
    assert "45% Step 1 of 2" in told
    own = json.loads((EMBEDDED_DIR / "riffusion.json").read_text())
    assert json.loads(settings)["scheduler"] == own["few_steps"]["scheduler"]


def test_restyles_an_upload_and_its_own_result(server, tmp_path):
    song = write_audio(make_music(1.2, channels=2), tmp_path / "my song.flac")
    first = texts(use(server, "audio2audio", audio=upload(server, song), prompt="flute", **QUICK))
    assert heard(first[0]) == (52_920, 2) and json.loads(first[2])["audio"] == "my song.flac"
    second = texts(use(server, "audio2audio", audio=first[0], prompt="harp", **QUICK))
    assert heard(second[0]) == (52_920, 2)


def test_inpaints(server, tmp_path):
    song = upload(server, write_audio(make_music(2), tmp_path / "song.flac"))
    sound, _, settings = texts(use(server, "inpaint", audio=song, prompt="flute", regions=[[0.5, 1]], **QUICK))
    assert heard(sound) == (88_200, 1) and json.loads(settings)["regions"] == [[0.5, 1]]


def test_converts_both_ways(server, tmp_path):
    song = upload(server, write_audio(make_music(1), tmp_path / "song.flac"))
    png, _ = texts(use(server, "audio2image", audio=song))
    sound, _ = texts(use(server, "image2audio", image=png))
    assert heard(sound) == (44_100, 1)


def test_urls_are_those_of_the_proxy_in_front(server):
    proxied = {"x-forwarded-host": "music.example", "x-forwarded-proto": "https"}
    sound, *_ = texts(use(server, "text2audio", proxied, prompt="harp", duration_s=1, **QUICK))
    assert sound.startswith("https://music.example/gradio_api/file=/")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "Expected prompt, got nothing."),
        ({"prompt": "(funk:99)"}, "Expected weights from -10 to 10 in prompt, got 99."),
        ({"prompt": "funk", "steps": 0}, "Expected steps from 1 to 100, got 0."),
        ({"prompt": "funk", "seed": 2**32}, "Expected seed from 0 to 4294967295, got 4294967296."),
        ({"prompt": "funk", "steps": "many"}, "Expected steps to be a whole number, got 'many'."),
        ({"prompt": ["funk"]}, "Expected prompt to be a text, got ['funk']."),
        ({"prompt": "funk", "scheduler": "magic"}, "Expected scheduler out of recommended, dpm++"),
        ({"prompt": "funk", "tempo": 120}, "got 'tempo'."),
    ],
)
def test_refuses_settings_in_a_sentence(server, arguments, sentence):
    assert sentence in refusal(server, "text2audio", **arguments)


def test_error_is_the_same_sentence_to_clients_that_ask_for_progress(server):
    async def conversation(session):
        async def progressed(*_):
            pass

        return await session.call_tool("text2audio", {"prompt": "(funk:99)"}, progress_callback=progressed)

    result = talk(server, conversation)
    assert result.isError and result.content[0].text == refusal(server, "text2audio", prompt="(funk:99)")


def test_sections_go_in_as_json(server, tools):
    assert tools["arrange"].inputSchema["required"] == ["sections"]
    section = tools["arrange"].inputSchema["properties"]["sections"]["items"]["properties"]
    assert section["energy"]["enum"][0] == "very low"
    sections = [{"prompt": "harp", "bars": 1}, {"bars": 1, "transition": "cut"}]
    sound, _, settings = texts(use(server, "arrange", sections=sections, bpm=240, seed=3, **QUICK))
    assert heard(sound) == (88_200, 1) and json.loads(settings)["sections"][1]["transition"] == "cut"
    assert "energy of section 1 out of" in refusal(server, "arrange", sections=[{"energy": "wild"}])


@pytest.mark.parametrize(
    ("regions", "sentence"),
    [
        ([], "Expected regions to be a list of at least one (start, end), got []."),
        ([[1]], "Expected a region as (start, end) or (start, end, low Hz, high Hz), got [1]."),
        ([[1, 0.5]], "Expected a region of at least 0.1 s, got 1 to 0.5 s."),
        ([[1, 9]], "Expected a region inside the sound of 2.00 s, got 1 to 9 s."),
        ([["a", "b"]], "Expected regions as its description says: 'a' is not of type 'number'."),
        ([[0, 1, 0, 20_000]], "Expected a band at least 50 Hz wide within 0 to 10000 Hz, got 0 to 20000 Hz."),
        ("all", "Expected regions to be a list, got 'all'."),
    ],
)
def test_refuses_regions_in_a_sentence(server, tmp_path, regions, sentence):
    song = upload(server, write_audio(make_music(2), tmp_path / "song.wav"))
    assert refusal(server, "inpaint", audio=song, prompt="flute", regions=regions) == sentence


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x.wav", "http://localhost:9/x.wav", "http://10.0.0.1/x.wav",
                                 "http://169.254.169.254/latest/meta-data", "http://[::1]/x.wav", "http://0.0.0.0/x"])
def test_fetches_nothing_from_private_networks(server, url):
    assert "a URL on the public internet" in refusal(server, "audio2audio", audio=url, prompt="flute")


def test_its_own_urls_reach_nothing_but_uploads_and_results(server, tmp_path):
    secret = write_audio(make_music(1), tmp_path / "secret.wav")
    assert server.files not in secret.parents
    inside = quote(str(server.files.resolve()))
    for path in (secret, app_server.ROOT / "app.py", f"{inside}/../log.txt", f"{inside}/%2e%2e/log.txt", inside,
                 "http://127.0.0.1:9/x.wav", "https://example.com/x.wav"):
        url = f"{server.url}/gradio_api/file={path}"
        assert "Expected a file of this server" in refusal(server, "audio2audio", audio=url, prompt="flute")
    for page in ("", "/config", "/gradio_api/info"):
        assert "public internet" in refusal(server, "audio2audio", audio=server.url + page, prompt="flute")


@pytest.mark.parametrize("audio", ["/etc/passwd", "file:///etc/passwd", "song.wav", ""])
def test_takes_no_paths(server, audio):
    assert "Expected audio to be an http(s) URL" in refusal(server, "audio2audio", audio=audio, prompt="flute")


def test_file_that_is_no_sound(server, tmp_path):
    (tmp_path / "song.wav").write_text("these are words")
    assert "is none or is damaged" in refusal(
        server, "audio2audio", audio=upload(server, tmp_path / "song.wav"), prompt="flute")


def test_browser_gets_a_page_at_the_address(server):
    assert b"MCP" in urllib.request.urlopen(f"{server.url}/gradio_api/mcp/", timeout=10).read()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{server.url}/gradio_api/mcp/else", timeout=10)


def test_docstrings_are_read_over_several_lines():
    def task(a: int, b: int) -> None:
        """Do
        it.

        Args:
            a: first, and
                more: of it.
            b: second.

        Returns:
            Both.
        """

    assert described(task) == ("Do it.", {"a": "first, and more: of it.", "b": "second."}, "Both.")
