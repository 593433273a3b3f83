"""An evaluation as one picture: a heat map, the same with intervals, composites. SVG, PNG, PDF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loramix.errors import UsageError
from loramix.evaluate.composites import COMPOSITE_SYSTEMS
from loramix.storage import storage_errors

SUFFIXES = (".svg", ".png", ".pdf")
_INCH = 0.62  # of a system's column
_KINDS = ("base", "skill", "routed", "mix", "expert", "model")
_LINE = 0.2  # inches of a system's line


def check_plot(path: Path) -> None:
    """Raises UsageError where no picture can be drawn to `path`."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder.", expected="a file", hint=f"--plot {path}/eval.svg")
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"No picture is drawn as {path.suffix or 'a file without suffix'}.",
            given=f"--plot {path}",
            expected=", ".join(SUFFIXES),
            hint=f"--plot {path.with_suffix('.svg')}",
        )


def draw_evaluation(result: Mapping[str, Any], path: Path) -> None:
    """Draw what `loramix.evaluate.result.Evaluation` holds: matrix with intervals, composites.

    Raises:
        UsageError: see `check_plot`.
        StorageError: it cannot be written.
    """
    check_plot(path)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    matrix = result.get("matrix") or {"tasks": [], "systems": []}
    kinds = {
        name: row
        for name, row in (result.get("composites") or {}).items()
        if isinstance(row, Mapping) and "n" in row
    }
    tasks, systems = len(matrix["tasks"]), len(matrix["systems"])
    heights = {
        "heat map": 0.45 * tasks + 1.2 if tasks else 0,
        "intervals": _LINE * systems + 1.0 if tasks else 0,
        "composites": 2.4 if kinds else 0,
    }
    shown = {name: height for name, height in heights.items() if height}
    width = max(6.4, _INCH * systems + 2.2, 1.6 * tasks + 2.2)
    with (
        mpl.rc_context({"svg.fonttype": "none", "font.size": 9}),
        storage_errors("writing the plot", path.parent),
    ):
        figure = Figure(figsize=(width, sum(shown.values()) or 1.0), layout="constrained")
        if shown:
            parts = figure.subfigures(
                len(shown), 1, squeeze=False, height_ratios=list(shown.values())
            )
            places = dict(zip(shown, parts[:, 0], strict=True))
            if tasks:
                _heat_map(places["heat map"].subplots(), matrix, result["tasks"])
                _intervals(places["intervals"], matrix, result["systems"])
            if kinds:
                _bars(places["composites"].subplots(), kinds)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=144, metadata={"Date": None} if path.suffix == ".svg" else None)


def _heat_map(axes: Any, matrix: Mapping[str, Any], tasks: Mapping[str, Any]) -> None:
    """Each figure in its cell; a row's colours go from its worst to its best."""
    names, systems = matrix["tasks"], matrix["systems"]
    shades = [_shades(row, tasks[name]["higher_is_better"]) for name, row in
              zip(names, matrix["scores"], strict=True)]  # fmt: skip
    axes.imshow(shades, cmap="Blues", vmin=0, vmax=1.15, aspect="auto")
    for y, row in enumerate(matrix["scores"]):
        for x, score in enumerate(row):
            if score is not None:
                dark = shades[y][x] > 0.65
                text = f"{score:.2f}" if abs(score) < 100 else f"{score:.3g}"
                axes.text(x, y, text, ha="center", va="center", color="white" if dark else "black")
    axes.set_xticks(range(len(systems)), systems, rotation=35, ha="right")
    labels = [f"{name} ({metric})" if metric != "own" else name
              for name, metric in zip(names, matrix["metrics"], strict=True)]  # fmt: skip
    axes.set_yticks(range(len(names)), labels)
    axes.set_title("Every system on every task")


def _intervals(figure: Any, matrix: Mapping[str, Any], systems: Mapping[str, Any]) -> None:
    """A panel a task, a line a system: its figure as a dot, its 95 % interval as a bar."""
    names, tasks = matrix["systems"], matrix["tasks"]
    colors = {kind: f"C{place}" for place, kind in enumerate(_KINDS)}
    panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for axes, task, scores, lows, highs in zip(
        panels, tasks, matrix["scores"], matrix["low"], matrix["high"], strict=True
    ):
        for y, (name, score, low, high) in enumerate(zip(names, scores, lows, highs, strict=True)):
            if score is None:
                continue
            color = colors[systems[name]["kind"]]
            # a bootstrap may leave out the figure itself by a hair
            errors = [[max(0.0, score - low)], [max(0.0, high - score)]]
            axes.errorbar(score, y, xerr=errors, fmt="o", markersize=3.5, color=color, capsize=2)
        axes.set_title(task, fontsize=9)
        axes.grid(axis="x", linewidth=0.4)
        if all(0 <= high <= 1 for high in highs if high is not None):
            axes.set_xlim(-0.04, 1.04)
            axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()  # of all panels, which share it
    figure.supxlabel("with 95 % intervals", fontsize=9)


def _shades(row: Sequence[float | None], higher: bool) -> list[float]:
    """0 to 1 for each figure. Scores are from 0 to 1 already; what has no limit is ranked."""
    known = sorted(score for score in row if score is not None)
    if higher:
        return [float("nan") if score is None else score for score in row]
    most = max(1, len(known) - 1)
    return [float("nan") if s is None else 1 - known.index(s) / most for s in row]


def _bars(axes: Any, kinds: Mapping[str, Mapping[str, Any]]) -> None:
    """A group of bars for each kind of composite, with the intervals."""
    present = [s for s in COMPOSITE_SYSTEMS if any(s in row for row in kinds.values())]
    width = 0.8 / max(1, len(present))
    for number, system in enumerate(present):
        for place, row in enumerate(kinds.values()):
            low, high = row["intervals"][system]
            error = [[max(0.0, row[system] - low)], [max(0.0, high - row[system])]]
            axes.bar(
                place + (number - (len(present) - 1) / 2) * width, row[system], width,
                yerr=error, color=f"C{number}", label=system if place == 0 else None,
                error_kw={"elinewidth": 0.8},
            )  # fmt: skip
    axes.set_xticks(range(len(kinds)), list(kinds))
    axes.set_ylim(0, 1.02)
    axes.set_title("Both parts right")
    axes.legend(ncols=len(present), fontsize=8, frameon=False)
