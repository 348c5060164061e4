"""How the page looks: ivory and ebony, with brass where the hand goes."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from gradio.themes.utils import colors, fonts

STYLE = Path(__file__).with_name("style.css")
MARK = Path(__file__).with_name("mark.svg")

_IVORY = colors.Color(
    name="ivory", c50="#fbf8f1", c100="#f4efe3", c200="#e7dfcd", c300="#d3c8b0", c400="#a99d85", c500="#756b57",
    c600="#5d5546", c700="#443e34", c800="#2b2722", c900="#1c1a17", c950="#131210",
)
_BRASS = colors.Color(
    name="brass", c50="#fdf7e7", c100="#f9ebc4", c200="#f2d88d", c300="#e8c05a", c400="#dba935", c500="#c28f1f",
    c600="#9a6d12", c700="#7a550f", c800="#5e4312", c900="#43300f", c950="#261b08",
)


def theme() -> gr.themes.Base:
    """The page's theme; its fonts come with Gradio, so that it needs no network."""
    return gr.themes.Base(
        primary_hue=_BRASS,
        secondary_hue=_BRASS,
        neutral_hue=_IVORY,
        radius_size=gr.themes.sizes.radius_md,
        # Gradio's files of the other weights lack most letters.
        font=(fonts.LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"),
        font_mono=(fonts.LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace"),
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_900",
        body_text_color_dark="*neutral_100",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_800",
        block_border_width="1px",
        block_shadow="none",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_border_width="0px",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="*neutral_300",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_300",
        block_title_text_weight="600",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        input_background_fill="*neutral_50",
        input_background_fill_dark="*neutral_950",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        input_border_color_focus="*primary_500",
        input_border_color_focus_dark="*primary_400",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        button_primary_background_fill="*neutral_900",
        button_primary_background_fill_hover="*neutral_700",
        button_primary_background_fill_dark="*primary_400",
        button_primary_background_fill_hover_dark="*primary_300",
        button_primary_text_color="*neutral_50",
        button_primary_text_color_dark="*neutral_950",
        button_secondary_background_fill="*neutral_100",
        button_secondary_background_fill_hover="*neutral_200",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_large_text_weight="600",
        slider_color="*primary_500",
        slider_color_dark="*primary_400",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
    )
