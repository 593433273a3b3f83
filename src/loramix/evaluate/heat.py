"""An evaluation as one picture: the matrix as a heat map, composites as bars. SVG or PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loramix.errors import UsageError
from loramix.evaluate.composites import COMPOSITE_SYSTEMS
from loramix.storage import storage_errors

SUFFIXES = (".svg", ".png", ".pdf")
_INCH = 0.62  # of a system's column


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
    """Draw what `loramix.evaluate.result.Evaluation` holds: matrix, composites.

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
    heights = [height for height in (0.45 * tasks + 1.2, 2.4 if kinds else 0) if height > 1.2]
    width = max(6.4, _INCH * systems + 2.2)
    with (
        mpl.rc_context({"svg.fonttype": "none", "font.size": 9}),
        storage_errors("writing the plot", path.parent),
    ):
        figure = Figure(figsize=(width, sum(heights) or 1.0), layout="constrained")
        if heights:
            axes: Any = figure.subplots(
                len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights}
            )
            places = iter(axes[:, 0])
            if tasks:
                _heat_map(next(places), matrix, result["tasks"])
            if kinds:
                _bars(next(places), kinds)
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
