"""What the browser does around a request: the focus, what waits for its turn, variations, and what is read out.

All of it is in running.js, as ``window.riffusionRun``.
"""

from __future__ import annotations

from riffusion_space.ui.scripted import TITLE, scripted


def build() -> None:
    """Place it, once for the whole page."""
    scripted(__file__, {}, shared=[TITLE], visible="hidden")
