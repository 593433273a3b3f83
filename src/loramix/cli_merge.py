"""The command `merge`, which has more options than fit beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loramix import console, render
from loramix.commands.options import DeviceOption, JsonOption, LibraryOption


def merge(
    skills: Annotated[
        list[str],
        typer.Argument(help="Skills of the library, or folders of adapters for its base."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where the expert goes.")],
    weights: Annotated[
        str | None,
        typer.Option(
            help="One a skill, in their order: 2,1,1. Only their ratios count. Without it: even."
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="concat, linear, svd, ties, dare_linear, dare_ties, magnitude_prune, regmean or "
            "regmean_seq. Without it: linear, or with --auto any of them."
        ),
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(help="Of the expert. Without it: the sum of the skills' ranks, up to 64."),
    ] = None,
    density: Annotated[
        float | None,
        typer.Option(
            help="Share of the entries that ties, dare_* and magnitude_prune keep, above 0 and at "
            "most 1. Without it: 0.5."
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(help="What the weights sum to. Without it: 1, or with --auto searched."),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(help="Of what dare_* drop, of the rows that --auto learns, and of intervals."),
    ] = 0,
    full: Annotated[
        bool, typer.Option("--full", help="Write a standalone model instead of an adapter.")
    ] = False,
    auto: Annotated[
        bool,
        typer.Option(
            "--auto",
            help="Search method, scale and density for the best worst-skill retention; the best "
            "one then learns from the skills, on a small base that has prompts of each. Else, and "
            "with --method, its weights are searched.",
        ),
    ] = False,
    seconds: Annotated[float, typer.Option(min=1, help="How long --auto may take.")] = 120.0,
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Which skills are scored before and after: code,math or none. Without it: those "
            "that have learned a builtin task."
        ),
    ] = None,
    examples: Annotated[
        int, typer.Option(min=1, help="Held-out examples that each is scored on.")
    ] = 50,
    force: Annotated[bool, typer.Option("--force", help="Replace a folder that is there.")] = False,
    library: LibraryOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Merge skills into one permanent expert, and say what each of them keeps."""
    from loramix.commands import merging as work

    console.report(
        lambda: work.merge(
            skills,
            out,
            weights=weights,
            method=method,
            rank=rank,
            density=density,
            scale=scale,
            seed=seed,
            full=full,
            auto_seconds=seconds if auto else None,
            tasks=tasks,
            examples=examples,
            force=force,
            library=library,
            device=device,
        ),
        as_json,
        render.merge,
    )
