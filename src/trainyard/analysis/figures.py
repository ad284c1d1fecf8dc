"""The look of every plot: one style, fonts with the needed characters, and the bytes of a PNG.

The same input gives the same bytes with the same matplotlib and fonts: no time stamp, no user style. Figures are
drawn without pyplot, which has global state and needs a display.
"""

from __future__ import annotations

import functools
import io
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, distinguishable with any colour vision.
COLOURS = {"train": "#0072B2", "val": "#D55E00"}
INK, FAINT = "#222222", "#8A8A8A"
_STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a class may be named $x$
    "font.size": 9,
    **{"axes.titlesize": 10, "axes.titlelocation": "left", "axes.titleweight": "bold"},
    **dict.fromkeys(("axes.labelcolor", "axes.titlecolor", "xtick.labelcolor", "ytick.labelcolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), FAINT),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **{"axes.grid": True, "axes.axisbelow": True, "grid.color": "#E6E6E6", "grid.linewidth": 0.8},
    "lines.linewidth": 1.8,
}
_DPI = 150
LONGEST_NAME = 24  # characters of a class name, beyond which its middle is elided


@contextmanager
def drawing(size_inches: tuple[float, float]) -> Iterator[tuple[Figure, io.BytesIO]]:
    """A figure that is drawn into the buffer when the block ends, in our style regardless of the user's."""
    import matplotlib
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    png = io.BytesIO()
    with style.context("default"), matplotlib.rc_context({**_STYLE, "font.family": list(fonts()[0])}):
        figure = Figure(figsize=size_inches, dpi=_DPI, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
        canvas = FigureCanvasAgg(figure)
        yield figure, png
        canvas.print_png(png, metadata={"Software": None})  # type: ignore[no-untyped-call]


@functools.cache
def fonts() -> tuple[tuple[str, ...], frozenset[int]]:
    """The font families, in order of preference, and all characters that they contain together."""
    from matplotlib import font_manager

    chinese_japanese = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei")
    wanted = ("DejaVu Sans", *chinese_japanese, "Noto Sans", "Arial Unicode MS")
    installed = {font.name for font in font_manager.fontManager.ttflist}
    families = tuple(family for family in wanted if family in installed)
    characters: set[int] = set()
    for family in families:
        characters.update(font_manager.get_font(font_manager.findfont(family)).get_charmap())
    return families, frozenset(characters)


def title(figure: Figure, text: str, more: str = "", *, size: int = 12) -> None:
    """Puts the text on top of the figure, and uncut what `more` says."""
    figure.suptitle(shown(text, 80) + more, x=0.012, ha="left", fontsize=size, color=INK)


def shown(text: str, longest: int, number: int | None = None) -> str:
    """The text as it can be drawn, in one line of at most `longest` characters.

    Characters that no font has are omitted; the text is then prefixed with its number, to stay distinguishable.
    """
    plain = " ".join(unicodedata.normalize("NFC", text).split())
    drawable = "".join(character for character in plain if ord(character) in fonts()[1] and character.isprintable())
    if number is not None and (drawable != plain or not plain):
        drawable = f"{number}: {drawable.strip()}" if drawable.strip() else f"class {number}"
    drawable = drawable.strip()
    if len(drawable) <= longest:
        return drawable
    tail = (longest - 1) // 3  # names of one family often differ at the end
    return f"{drawable[: longest - 1 - tail]}…{drawable[-tail:]}"
