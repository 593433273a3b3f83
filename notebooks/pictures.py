"""The pictures of the notebooks: losses, mixes, heat maps and scores, each one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogLocator

# One colour a skill in every picture, told apart by colour-blind readers too (Okabe and Ito 2008).
COLORS = {
    "sentiment": "#0072b2",
    "summarization": "#e69f00",
    "math": "#cc79a7",
    "code": "#009e73",
    "qa": "#56b4e9",
    "base": "#b3b3b3",
}
DARK = {"sentiment", "code"}  # of these, the ones that want white letters
MORE = ("#d55e00", "#0072b2", "#e69f00", "#009e73", "#cc79a7")

plt.rcParams.update(
    {
        "figure.dpi": 90,
        "figure.constrained_layout.use": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.titlelocation": "left",
        "axes.titlesize": 11,
        "font.size": 10,
        "legend.frameon": False,
    }
)


def losses(curves: Mapping[str, Sequence[float]], window: int = 20) -> None:
    """Training losses, name → loss of each step, as running means over `window` steps."""
    _, axes = plt.subplots(figsize=(7.5, 3.2))
    for name, values in curves.items():
        width = min(window, len(values))
        mean = np.convolve(values, np.ones(width) / width, "valid")
        axes.plot(np.arange(len(mean)) + width, mean, color=COLORS.get(name), label=name)
    axes.set(title="Loss while training", xlabel="step", ylabel="nats a token", yscale="log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda _value, _: "")
    axes.grid(alpha=0.3)
    axes.legend()
    plt.show()


def mixes(rows: Mapping[str, Mapping[str, float]], title: str) -> None:
    """One bar a prompt, title → weights, split into skills; what is left to 1 is the base's."""
    _, axes = plt.subplots(figsize=(7.5, 0.9 + 0.42 * len(rows)))
    seen = set()
    for place, weights in enumerate(rows.values()):
        left = 0.0
        for name, weight in (weights or {"base": 1.0}).items():
            label = None if name in seen else name
            seen.add(name)
            axes.barh(place, weight, 0.7, left, color=COLORS[name], label=label)
            if weight >= 0.08:
                text = f"{weight:.2f}"
                ink = "white" if name in DARK else "black"
                axes.text(left + weight / 2, place, text, ha="center", va="center", color=ink)
            left += weight
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xticks=[])
    axes.set_title(title, loc="left", pad=22)
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.tick_params(length=0)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=6, borderaxespad=0)
    plt.show()


def heat(
    values: Mapping[str, Mapping[str, float]], title: str, across: str = "", down: str = ""
) -> None:
    """A table of numbers from 0 to 1 as colours: row → column → value."""
    columns = list(next(iter(values.values())))
    table = np.array([[row[name] for name in columns] for row in values.values()])
    _, axes = plt.subplots(figsize=(2.4 + 0.85 * len(columns), 1.3 + 0.45 * len(values)))
    axes.imshow(table, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    for (y, x), value in np.ndenumerate(table):
        color = "white" if value > 0.6 else "black"
        axes.text(x, y, f"{value:.2f}", ha="center", va="center", color=color)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(values)), list(values))
    axes.set(title=title, xlabel=across, ylabel=down)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    plt.show()


def scores(
    groups: Mapping[str, Mapping[str, tuple[float, float, float]]],
    title: str,
    ylabel: str = "score",
) -> None:
    """Bars in groups: group → system → (score, low, high); the lines are 95 % intervals."""
    systems = list(next(iter(groups.values())))
    colors = dict(zip([s for s in systems if s != "base"], MORE, strict=False))
    _, axes = plt.subplots(figsize=(7.5, 3.2))
    width = 0.86 / len(systems)
    for place, system in enumerate(systems):
        at = [x + (place - (len(systems) - 1) / 2) * width for x in range(len(groups))]
        rows = [group[system] for group in groups.values()]
        middle = [row[0] for row in rows]
        color = colors.get(system, COLORS["base"])
        axes.bar(at, middle, width * 0.9, color=color, label=system)
        axes.vlines(at, [r[1] for r in rows], [r[2] for r in rows], color="black", linewidth=1)
        for x, value, (_, _, high) in zip(at, middle, rows, strict=True):
            axes.text(x, high + 0.015, f"{value:.2f}", ha="center", va="bottom", size=8)
    axes.set_xticks(range(len(groups)), list(groups))
    axes.set(ylim=(0, 1.1), yticks=np.linspace(0, 1, 6), ylabel=ylabel)
    axes.set_title(title, loc="left", pad=22)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(systems), borderaxespad=0)
    plt.show()
