"""The public interface in a short form: what tests/schema.json holds, and the tables of API.md.

``python tests/api_schema.py`` writes both anew, out of what the running app says of itself.
"""

from __future__ import annotations

import json
import re
import urllib.request
from typing import Any

import app_server

SNAPSHOT = app_server.ROOT / "tests" / "schema.json"
REFERENCE = app_server.ROOT / "API.md"


def fetch(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as response:
        return json.load(response)


def read_schema(server: str) -> dict[str, Any]:
    """Names, types, defaults and ranges of each endpoint's parameters, and the kinds of its results."""
    endpoints = fetch(f"{server}/gradio_api/info")["named_endpoints"]
    tools = {tool["name"]: tool for tool in fetch(f"{server}/gradio_api/mcp/schema")}
    schema = {}
    for name, endpoint in endpoints.items():
        told = tools[name[1:]]["inputSchema"]["properties"]  # the ranges are there alone
        parameters = {}
        for parameter in endpoint["parameters"]:
            of_tool = told[parameter["parameter_name"]]
            shown = parameters[parameter["parameter_name"]] = {"type": _kind(parameter["type"])}
            if parameter["parameter_has_default"]:
                shown["default"] = parameter["parameter_default"]
            if "minimum" in of_tool:
                shown["range"] = [of_tool["minimum"], of_tool["maximum"]]
        returns = [output["component"].lower() for output in endpoint["returns"]]
        schema[name] = {"parameters": parameters, "returns": returns}
    return schema


def read_tables(server: str) -> dict[str, str]:
    """A table in Markdown of the parameters of each endpoint, with what its docstring says of them."""
    schema = read_schema(server)
    tables = {}
    for tool in fetch(f"{server}/gradio_api/mcp/schema"):
        rows = ["| name | type | default | meaning |", "|---|---|---|---|"]
        for name, parameter in schema[f"/{tool['name']}"]["parameters"].items():
            kind = parameter["type"] + ("" if "range" not in parameter else ", {:g} to {:.10g}".format(
                *parameter["range"]))
            default = "required"
            if "default" in parameter:
                default = "left out" if parameter["default"] is None else f"`{json.dumps(parameter['default'])}`"
            meaning = tool["inputSchema"]["properties"][name]["description"]
            rows.append(f"| `{name}` | {kind} | {default} | {meaning} |")
        tables[tool["name"]] = "\n".join(rows)
    return tables


def with_tables(reference: str, tables: dict[str, str]) -> str:
    """API.md with the tables in their places. KeyError for an endpoint that it has no place for."""
    places = re.findall(r"<!-- parameters of (\w+) -->", reference)
    if sorted(places) != sorted(tables):
        raise KeyError(f"API.md has places for {places}, the app has {list(tables)}")
    return re.sub(r"(<!-- parameters of (\w+) -->\n).*?(<!-- end -->)",
                  lambda place: f"{place[1]}{tables[place[2]]}\n{place[3]}", reference, flags=re.DOTALL)


def _kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    if schema.get("title") == "FileData":
        return "file"
    if schema["type"] == "array":
        return f"list of {_kind(schema['items'])}"
    return schema["type"]


def main() -> None:
    server = app_server.start().url
    text = json.dumps(read_schema(server), indent=2)
    text = re.sub(r"[\[{]\s+[^][{}]+\s+[\]}]", lambda innermost: " ".join(innermost[0].split()), text)  # a line each
    SNAPSHOT.write_text(f"{text}\n", encoding="utf-8")
    text = REFERENCE.read_text(encoding="utf-8")
    REFERENCE.write_text(with_tables(text, read_tables(server)), encoding="utf-8")


if __name__ == "__main__":
    main()
