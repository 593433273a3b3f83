"""The command line, continued: the commands that search and measure.

As in `cli.py`, a thin function each, which imports what does the work when it is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loramix import console, render
from loramix.commands.options import DeviceOption, JsonOption, LibraryOption


def fit_mix(
    examples: Annotated[
        Path,
        typer.Option(
            "--examples",
            "-e",
            metavar="FILE",
            help="5 to 50 examples of the task: JSONL, CSV or Parquet.",
        ),
    ],
    prompt: Annotated[
        str | None,
        typer.Option(metavar="T", help="Template of the prompt. Without it: {prompt}."),
    ] = None,
    completion: Annotated[
        str | None,
        typer.Option(metavar="T", help="Template of the answer. Without it: {completion}."),
    ] = None,
    method: Annotated[
        str,
        typer.Option(help="gradient (of the weights alone), or search, which needs no gradients."),
    ] = "gradient",
    skills: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only these skills. Without it: all.")
    ] = None,
    metric: Annotated[
        str, typer.Option(help="auto (exact), exact, f1, rouge_l, or number (the last one).")
    ] = "auto",
    save: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Keep the mix in the library, to be used like a skill."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a mix so named.")] = False,
    evaluations: Annotated[int, typer.Option(min=1, help="Mixes to try in each fit.")] = 60,
    seed: Annotated[int, typer.Option(help="Of parting the examples.")] = 0,
    library: LibraryOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Find the mix of skills that does best on a task that none of them was trained for."""
    from loramix.commands import fit_mix as work

    console.report(
        lambda: work.fit_mix(
            examples,
            prompt=prompt,
            completion=completion,
            method=method,
            skills=skills,
            metric=metric,
            save=save,
            replace=replace,
            evaluations=evaluations,
            seed=seed,
            library=library,
            device=device,
        ),
        as_json,
        render.fit_mix,
    )


def evaluate(
    tasks: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help="composites (requests that need two skills), or builtin tasks by name.",
        ),
    ] = "composites",
    apart: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A library of the same skills trained without blends, for the naive blend and "
            "the scores before.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Held-out examples of each task.")] = 60,
    batch_size: Annotated[int, typer.Option(min=1, help="Prompts answered together.")] = 32,
    seed: Annotated[int, typer.Option(help="Of examples and intervals.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the scores into this SVG.")
    ] = None,
    library: LibraryOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Score base, skills, routing and blends on held-out examples of builtin tasks."""
    from loramix.commands import evaluate as work

    console.report(
        lambda: work.evaluate(
            tasks,
            apart=apart,
            limit=limit,
            batch_size=batch_size,
            seed=seed,
            plot=plot,
            library=library,
            device=device,
        ),
        as_json,
        render.evaluate,
    )
