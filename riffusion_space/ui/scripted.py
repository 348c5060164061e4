"""Components with a half of their own in the browser: as many of a module's .html, .css and .js as there are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from riffusion_space.ui.texts import LANGUAGES

SELECT = str(Path(__file__).with_name("select.js"))  # to be ``shared`` by those that act on what is chosen
TITLE = str(Path(__file__).with_name("title.js"))  # by those that name what was made
_SAY = Path(__file__).with_name("say.js").read_text(encoding="utf-8")


def scripted(module: str, facts: dict[str, Any], value: Any = None, shared: Sequence[str] = (),
             **options: Any) -> gr.HTML:
    """A component out of a module's files.

    Args:
        module: the ``__file__`` of the module.
        facts: what its script finds as ``facts``; they never change.
        value: its value at first.
        shared: the ``__file__`` of modules whose .css and .js go before its own.
        options: those of gr.HTML.
    """
    template, *_ = _files([module], ".html")
    styles, scripts = (_files([*shared, module], suffix) for suffix in (".css", ".js"))
    constants = f"const facts = {json.dumps(facts)};"
    source = "\n".join([template, constants, *scripts])
    # Constants, not gr.HTML's props, which an update of its visibility wipes out.
    script = "\n".join([constants, speaking(source), *scripts])
    # Not a class of its own: Gradio writes a .pyi file beside each one that it meets.
    return gr.HTML(value, html_template=template, css_template="\n".join(styles), apply_default_css=False,
                   js_on_load=script, **options)


def speaking(source: str) -> str:
    """A script that has a component say in the visitor's language what is in ``source``."""
    texts = {language: {text: words for text, words in dictionary.items() if text in source}
             for language, dictionary in LANGUAGES.items()}
    return f"const languages = {json.dumps(texts)};\n{_SAY}"


def _files(modules: Sequence[str], suffix: str) -> list[str]:
    """The texts of the modules' files with this suffix; empty for a module that has none."""
    paths = [Path(module).with_suffix(suffix) for module in modules]
    return [path.read_text(encoding="utf-8") if path.exists() else "" for path in paths]
