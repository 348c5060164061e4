"""The tasks as tools of the Model Context Protocol (MCP), for programs that talk to language models.

Gradio makes a tool of every public endpoint. Its own server gives several results as one text in Python's notation,
knows no ranges, and tells progress without words; what is here gives each result as a content of its own, the sound's
URL first, and says in one sentence what is wrong with bad input.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import gradio.mcp
from gradio.mcp import GradioMCPServer
from gradio.processing_utils import add_root_url
from gradio.route_utils import API_PREFIX, get_root_url
from gradio.utils import get_upload_folder
from gradio_client import handle_file
from gradio_client.utils import StatusUpdate, is_file_obj_with_meta
from jsonschema import Draft202012Validator, ValidationError
from mcp import types

from riffusion_space.arguments import limits
from riffusion_space.config import Config

_INSTRUCTIONS = (
    "Makes music by painting spectrograms: from words, out of recordings, or between two prompts. Prompts name "
    "instruments, genres, moods and a tempo. A call may take from seconds on a GPU to minutes on a CPU."
)
_FILES = (
    "A file goes in as a URL: a public http(s) address, or the URL of a result or upload of this server. A local file "
    "is uploaded first, with the tool upload_file_to_gradio if there is one."
)
_RESULTS = "Every file comes back as a URL, settings as JSON."
_FILE_ROUTE = f"{API_PREFIX}/file="
_KINDS = {"integer": "a whole number", "number": "a number", "string": "a text", "array": "a list"}


def serve_tools(config: Config) -> None:
    """Have ``launch(mcp_server=True)`` start :class:`TaskTools` with the limits of ``config``."""
    # launch() has no parameter for it: it looks the class up by this name.
    gradio.mcp.GradioMCPServer = partial(TaskTools, config)


def described(function: Callable[..., Any]) -> tuple[str, dict[str, str], str]:
    """A docstring's summary, what it says of each argument, and of what is returned.

    Unlike Gradio's reading of it, an argument may take several lines.
    """
    summary, _, rest = (inspect.getdoc(function) or "").partition("\n\nArgs:\n")
    arguments, _, returns = rest.partition("\n\nReturns:\n")
    texts: dict[str, str] = {}
    for line in arguments.splitlines():
        if found := re.match(r" {4}(\w+): (.*)", line):
            name, texts[name] = found[1], found[2]
        else:
            texts[name] += f" {line.strip()}"
    return " ".join(summary.split()), texts, " ".join(returns.split())


class TaskTools(GradioMCPServer):
    """One tool for each public endpoint, with the endpoint's parameters."""

    def __init__(self, config: Config, blocks: gradio.Blocks) -> None:
        self._limits = limits(config)
        super().__init__(blocks)

    def create_mcp_server(self) -> Any:
        """Gradio's server, with arguments checked and errors reworded around its calls."""
        server = super().create_mcp_server()
        server.instructions = _INSTRUCTIONS
        call = server.request_handlers[types.CallToolRequest]

        async def call_checked(request: types.CallToolRequest) -> types.ServerResult:
            name, given = request.params.name, request.params.arguments or {}
            if name in self.tool_to_endpoint:
                schema, _ = self.get_input_schema(name)
                required = schema.get("required", ())
                # Language models say null for what they leave out.
                given = {key: value for key, value in given.items() if value is not None or key in required}
                if error := next(Draft202012Validator(schema).iter_errors(given), None):
                    return _refusal(_wrong(error))
            request.params.arguments = given
            result = await call(request)
            if result.root.isError:
                return _refusal(_reworded(result.root.content[0].text))
            return result

        server.request_handlers[types.CallToolRequest] = call_checked
        return server

    def get_fn_description(self, block_fn: Any, tool_name: str) -> tuple[str, dict[str, str]]:
        """What a tool does, takes and gives, for a language model; and each argument's description."""
        summary, parameters, returns = described(block_fn.fn)
        _, files = self.get_input_schema(tool_name)
        return " ".join([summary, *([_FILES] if files else []), f"Returns: {returns}", _RESULTS]), parameters

    def get_input_schema(
        self, tool_name: str, parameters: dict[str, str] | None = None
    ) -> tuple[dict[str, Any], list[list[str | int]]]:
        """JSON schema of a tool's arguments with their ranges and defaults, and where in it the files are."""
        schema, files = super().get_input_schema(tool_name, parameters)
        endpoint = self.api_info["named_endpoints"][self.tool_to_endpoint[tool_name]]
        for parameter in endpoint["parameters"]:
            name = parameter["parameter_name"]
            kind = schema["properties"][name]
            if [name] in files:
                kind = {"type": "string", "format": "uri", **_of(kind, "description")}
            if name in self._limits:
                kind["minimum"], kind["maximum"] = self._limits[name]
            if parameter["parameter_has_default"] and parameter["parameter_default"] is not None:
                kind["default"] = parameter["parameter_default"]  # Gradio leaves out 0 and ""
            schema["properties"][name] = kind
        return {**schema, "additionalProperties": False}, files

    def convert_strings_to_filedata(self, value: Any, filedata_positions: list[list[str | int]]) -> Any:
        """URLs to files; those of this server's own files are read where they lie.

        Gradio fetches other URLs, and refuses those that lead into the server's own network. That is right, but on a
        laptop it refuses every result of the server itself.
        """
        own = {name: self._own_file(text) for name, text in value.items() if [name] in filedata_positions}
        files = {name: handle_file(path) for name, path in own.items() if path is not None}
        rest = {name: item for name, item in value.items() if name not in files}
        for name, item in rest.items():
            if [name] in filedata_positions and not item.startswith(("http://", "https://", "data:")):
                raise ValueError(f"Expected {name} to be an http(s) URL, got {item!r}.")
        return {**super().convert_strings_to_filedata(rest, filedata_positions), **files}

    def _own_file(self, url: str) -> Path | None:
        """The file in Gradio's cache that a URL of this server's file route names; None for any other URL.

        Raises:
            ValueError: it names no file there, or one that is elsewhere.
        """
        request = self.mcp_server.request_context.request
        roots = {self.local_url, get_root_url(request, self.get_route_path(request), self.root_path)}
        hosts = {urlsplit(root).netloc for root in roots if root}
        parts = urlsplit(url)
        _, route, name = parts.path.partition(_FILE_ROUTE)
        if parts.netloc not in hosts or not route:
            return None
        path = Path(unquote(name)).resolve()
        # Nothing but what the file route itself would hand out.
        if Path(get_upload_folder()).resolve() not in path.parents or not path.is_file():
            raise ValueError(f"Expected a file of this server, but there is no {path.name!r}.")
        return path

    async def _execute_tool_without_progress(self, job: Any) -> list[Any]:
        (outputs,) = await super()._execute_tool_without_progress(job)
        return list(outputs)

    @staticmethod
    def _format_progress_message(update: StatusUpdate) -> str | None:
        """What is going on, in words; Gradio's own tells only of what is counted in items."""
        for unit in update.progress_data or ():
            if unit.progress is not None:
                return f"{unit.progress:.0%} {unit.desc or ''}".strip()
        return GradioMCPServer._format_progress_message(update)

    def postprocess_output_data(self, data: Any, root_url: str) -> list[types.TextContent]:
        """A text for each output: a file's URL, or JSON."""
        texts = (output["url"] if is_file_obj_with_meta(output) else json.dumps(output, ensure_ascii=False)
                 for output in add_root_url(data, root_url, None))
        return [types.TextContent(type="text", text=text) for text in texts]


def _of(mapping: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: mapping[name] for name in names if name in mapping}


def _refusal(text: str) -> types.ServerResult:
    return types.ServerResult(types.CallToolResult(content=[types.TextContent(type="text", text=text)], isError=True))


def _wrong(error: ValidationError) -> str:
    """A sentence for arguments that the schema does not allow."""
    schema, value = error.schema, error.instance
    name = error.absolute_path[0] if error.absolute_path else ""
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in value)
        return f"Expected {missing}, got nothing."
    if error.validator == "additionalProperties":
        extra = next(key for key in value if key not in schema["properties"])
        return f"Expected arguments out of {', '.join(schema['properties'])}, got {extra!r}."
    if error.validator == "enum":
        place = " of ".join(f"section {part + 1}" if isinstance(part, int) else str(part)
                            for part in reversed([part for part in error.absolute_path if part != "sections"])) or name
        return f"Expected {place} out of {', '.join(error.validator_value)}, got {value!r}."
    if error.validator in ("minimum", "maximum"):
        return f"Expected {name} from {schema['minimum']:g} to {schema['maximum']:.10g}, got {value!r}."
    if error.validator == "type" and len(error.absolute_path) == 1:
        return f"Expected {name} to be {_KINDS[error.validator_value]}, got {value!r}."
    return f"Expected {name} as its description says: {error.message}."


def _reworded(text: str) -> str:
    """An error's text without Gradio's title, and as a sentence on what was expected."""
    text = text.removeprefix("Error: ")
    if found := re.fullmatch(r"Hostname (\S+) failed validation", text):
        return f"Expected a URL on the public internet, or of a file of this server, got one on {found[1]}."
    return text
