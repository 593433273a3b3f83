"""losses.json and losses.png: how the losses fell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loramix.storage import storage_errors
from loramix.train.checkpoint import write_json

_SMOOTH = 20  # steps of the running mean that is drawn


@dataclass(frozen=True)
class Curve:
    """The losses of one lesson, a skill's or a blend's.

    Attributes:
        losses: of each step, nats a token.
        dev_losses: (step, loss) of each look at the dev examples.
        best_step: the step with the lowest of them.
    """

    losses: tuple[float, ...]
    dev_losses: tuple[tuple[int, float], ...]
    best_step: int

    @classmethod
    def of(cls, past: Mapping[str, Any]) -> Curve:
        """That of a history's `state`."""
        looks = tuple((int(step), float(loss)) for step, loss in past["dev_losses"])
        return cls(tuple(past["losses"]), looks, int(past["best_step"]))


def save_curves(results: Mapping[str, Curve], folder: Path) -> None:
    """Writes both files.

    Raises:
        StorageError: the disk does not let us.
    """
    curves = {
        name: {"train": result.losses, "dev": result.dev_losses, "best_step": result.best_step}
        for name, result in results.items()
    }
    write_json(folder / "losses.json", curves)
    with storage_errors("drawing the losses", folder):
        _draw(results, folder / "losses.png")


def _draw(results: Mapping[str, Curve], file: Path) -> None:
    # Without pyplot: it would keep figures alive, and look for a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    figure = Figure(figsize=(8, 4.5))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.09, 0.12, 0.88, 0.8))
    for number, (name, result) in enumerate(results.items()):
        colour = f"C{number % 10}"
        smooth = _running_mean(result.losses)
        axes.plot(range(1, len(smooth) + 1), smooth, color=colour, label=name)
        if result.dev_losses:
            steps, losses = zip(*result.dev_losses, strict=True)
            axes.plot(steps, losses, "o--", color=colour, markersize=3, linewidth=0.8)
    axes.set(xlabel="step", ylabel="loss (nats a token)", yscale="log")
    axes.set_title("solid: training, running mean; dashed: dev")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())  # the default would start a formula parser
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=100)


def _running_mean(values: tuple[float, ...]) -> list[float]:
    """The mean of the last `_SMOOTH` values at each point."""
    means: list[float] = []
    total = 0.0
    for i, value in enumerate(values):
        total += value - (values[i - _SMOOTH] if i >= _SMOOTH else 0.0)
        means.append(total / min(i + 1, _SMOOTH))
    return means
