"""The public interface: what it was, what API.md says of it, and the same in Python and on the command line."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json

import api_schema
import app_server
import pytest

from riffusion_space import RiffusionPipeline
from riffusion_space.arguments import WHOLE, limits
from riffusion_space.cli import build_parser
from riffusion_space.config import Config
from riffusion_space.streaming import StreamRequest

TASKS = ("text2audio", "audio2audio", "interpolate", "inpaint", "extend", "arrange", "morph")
CONVERSIONS = ("image2audio", "audio2image")
STREAM = "stream"
OF_COMMAND_LINE = {"help", "output", "checkpoint", "device", "lora"}
LEFT_OUT = ("recommended", "none")  # choices that stand for None
REGENERATE = "if that is meant, run: python tests/api_schema.py"


@pytest.fixture(scope="module")
def server():
    return app_server.start().url


@pytest.fixture(scope="module")
def schema(server):
    return api_schema.read_schema(server)


def test_schema_is_that_of_the_snapshot(schema):
    assert schema == json.loads(api_schema.SNAPSHOT.read_text(encoding="utf-8")), REGENERATE


def test_tables_of_api_md_are_those_of_the_endpoints(server):
    text = api_schema.REFERENCE.read_text(encoding="utf-8")
    assert text == api_schema.with_tables(text, api_schema.read_tables(server)), REGENERATE


def test_tables_show_what_changed():
    reference = "# API\n<!-- parameters of a -->\n| old |\n<!-- end -->\nmore"
    assert api_schema.with_tables(reference, {"a": "| new |"}) == reference.replace("old", "new")
    with pytest.raises(KeyError, match="has places"):
        api_schema.with_tables(reference, {"a": "", "b": ""})


def test_nothing_but_the_tasks_is_public(server):
    info = api_schema.fetch(f"{server}/gradio_api/info")
    assert set(info["named_endpoints"]) == {f"/{name}" for name in (*TASKS, *CONVERSIONS, STREAM)}
    assert not info["unnamed_endpoints"]
    paths = api_schema.fetch(f"{server}/gradio_api/openapi.json")["paths"]
    called = {path.partition("/call/v2/")[2].strip("/") for path in paths} - {""}
    assert {path.partition("/")[0] for path in called} == {*TASKS, *CONVERSIONS, STREAM}
    # The page itself has to be able to call its wiring; clients are not told of it.
    wiring = [fn for fn in api_schema.fetch(f"{server}/config")["dependencies"] if fn["api_visibility"] != "public"]
    assert len(wiring) > 20 and {fn["api_visibility"] for fn in wiring} == {"private"}


@pytest.mark.parametrize("task", TASKS)
def test_names_and_defaults_are_those_of_python_and_the_command_line(schema, task):
    of_endpoint = {name: None if parameter.get("default") in LEFT_OUT else parameter.get("default", "required")
                   for name, parameter in schema[f"/{task}"]["parameters"].items()}
    of_endpoint.pop("seed_file", None)  # a seed_image of one's own, which a Dropdown cannot take
    of_python = {name: "required" if parameter.default is inspect.Parameter.empty else parameter.default
                 for name, parameter in inspect.signature(getattr(RiffusionPipeline, task)).parameters.items()
                 if name not in ("self", "progress", "cancel")}
    assert of_endpoint == of_python
    assert list(of_endpoint) == list(of_python)
    if task == "arrange":  # a file says what options leave out
        of_python = {name: default if default == "required" else "" if default == "" else None
                     for name, default in of_python.items()}
    assert options(task) == of_python


def test_a_stream_takes_what_it_takes_in_python(schema):
    of_endpoint = {name: None if parameter.get("default") in LEFT_OUT else parameter.get("default", "required")
                   for name, parameter in schema[f"/{STREAM}"]["parameters"].items()}
    of_endpoint.pop("seed_file")
    assert of_endpoint == {
        **{field.name: "required" if field.default is dataclasses.MISSING else field.default
           for field in dataclasses.fields(StreamRequest)}, "seed": None, "state": None}


def options(task: str) -> dict[str, object]:
    """Names and defaults on the command line."""
    (tasks,) = (action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    return {action.dest: "required" if action.required else action.default
            for action in tasks.choices[task]._actions if action.dest not in OF_COMMAND_LINE}


def test_conversions_are_those_of_the_command_line(schema):
    for task in CONVERSIONS:
        assert options(task) == {name: parameter.get("default", "required")
                                 for name, parameter in schema[f"/{task}"]["parameters"].items()}


def test_ranges_are_those_that_are_checked(schema):
    allowed = limits(Config())
    for endpoint in schema.values():
        for name, parameter in endpoint["parameters"].items():
            assert parameter.get("range") == (list(allowed[name]) if name in allowed else None)
            assert (parameter["type"] == "integer") == (name in WHOLE)


def test_every_parameter_is_described(server):
    for tool in api_schema.fetch(f"{server}/gradio_api/mcp/schema"):
        for name, parameter in tool["inputSchema"]["properties"].items():
            assert parameter.get("description", "").endswith("."), (tool["name"], name)


@pytest.mark.parametrize("task", TASKS)
def test_docstring_of_the_method_names_every_argument(task):
    method = getattr(RiffusionPipeline, task)
    text = inspect.getdoc(method).partition("Args:")[2]
    for name in inspect.signature(method).parameters:
        assert name == "self" or name in text


def test_audio_comes_first(schema):
    assert {name: endpoint["returns"][0] for name, endpoint in schema.items()} == {
        **{f"/{task}": "audio" for task in (*TASKS, "image2audio", STREAM)}, "/audio2image": "file"}
    assert all(schema[f"/{task}"]["returns"][-1] == "json" for task in (*TASKS, STREAM))
