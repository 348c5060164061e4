"""The Space's entry: ``python app.py`` serves the page at port 7860."""

from __future__ import annotations

import os

import spaces  # noqa: F401  ZeroGPU wants to be first

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio: the page works offline and says nothing

from riffusion_space.config import Config
from riffusion_space.ui.loading import PipelineLoader
from riffusion_space.ui.page import build_app
from riffusion_space.ui.texts import I18N
from riffusion_space.ui.theme import MARK, STYLE, theme
from riffusion_space.ui.tools import serve_tools


def main() -> None:
    config = Config.from_environment()
    loader = PipelineLoader(config)
    app = build_app(loader, config)
    serve_tools(config)
    if os.environ.get("SPACES_ZERO_GPU"):  # what is on the GPU when the page is launched is kept for its processes
        loader.load()  # in this thread: only here does ZeroGPU pretend that there is a GPU
    # Gradio heeds GRADIO_SERVER_NAME and GRADIO_SERVER_PORT, which a Space sets; else the first free port from 7860.
    app.launch(
        # Gradio counts a thread for whoever waits, though waiting takes none.
        max_threads=40 + config.max_queue + 2 * config.max_listeners,
        max_file_size=f"{config.max_upload_mb}mb",
        theme=theme(),
        css_paths=STYLE,
        favicon_path=MARK,
        i18n=I18N,
        footer_links=["api", "settings"],
        run_history=False,
        mcp_server=True,
        ssr_mode=False,
        show_error=True,
        prevent_thread_lock=True,
    )
    loader.start()  # after the page is up, so that it comes at once
    app.block_thread()


if __name__ == "__main__":
    main()
