"""How every plot of the page looks, and how a drawing becomes a part of it.

Matplotlib draws with stand-in colours; afterwards each becomes a CSS variable of the page, so one
drawing serves light and dark. Text stays text.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable
from typing import Any, ParamSpec

INK, MUTED, GRID = "#0a0b01", "#0a0b02", "#0a0b03"
SYSTEM_COLORS = {"base": "#0a0b04", "skill": "#0a0b05", "routed": "#0a0b06"}
SERIES = [f"#0a0c{number:02x}" for number in range(1, 7)]
_CSS = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    "#0a0b04": "--base",
    "#0a0b05": "--accent",
    "#0a0b06": "--second",
    **{color: f"--series-{number}" for number, color in enumerate(SERIES, 1)},
}
# those of the page, for a plot without one
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.borderpad": 0,
    "figure.constrained_layout.use": True,
}

P = ParamSpec("P")


def styled(draw: Callable[P, str]) -> Callable[P, str]:
    """Draw in our style: matplotlib reads parts of it only when a thing is drawn."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> str:
        import matplotlib

        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return drawn


def canvas(width: float, height: float, columns: int = 1, sharey: bool = False) -> Any:
    """A figure of so many inches, and its axes, or a row of them."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # not pyplot: it would keep every figure, and pick a window system
    figure = Figure(figsize=(width, height))
    FigureCanvasSVG(figure)
    return figure, figure.subplots(1, columns, sharey=sharey)


def as_svg(figure: Any, name: str) -> str:
    """The figure as an `<svg>` element whose ids no other plot of the page has."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'xlink:href="#', f'xlink:href="#{name}-', svg)
    for color, variable in _CSS.items():
        svg = svg.replace(color, f"var({variable})")
    return svg.replace("<svg ", f'<svg class="plot" role="img" aria-label="{name}" ', 1)
