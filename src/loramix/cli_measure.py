"""The command line, continued: the commands that search and measure.

As in `cli.py`, a thin function each, which imports what does the work when it is called.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from loramix import console, render, render_eval
from loramix.commands.options import DeviceOption, DtypeOption, JsonOption, LibraryOption


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
        str,
        typer.Option(
            help="auto (exact), exact, identical, f1, rouge_1, rouge_2, rouge_l, or number."
        ),
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
    config: Annotated[
        Path | None,
        typer.Argument(help="A YAML of `loramix train`: its held-out data are the tasks."),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B",
            help="Builtin tasks; composites (requests that need two skills); FILE; "
            "ORG/DATASET[:CONFIG]\\[@SPLIT] of the hub. SKILL=FILE says whose task it is. "
            "Without it: the builtin tasks that the skills have learned.",
        ),
    ] = None,
    systems: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help="base; skill (each task's own) or skills (all on all); routed (as the library "
            "does) or routers (gate, keywords, centroid, each with top1, topk, blend); mixes; "
            "experts.",
        ),
    ] = "base,skills,routers,mixes,experts",
    mix: Annotated[
        list[str] | None, typer.Option(metavar="RECIPE", help="Measure this mix too; repeatable.")
    ] = None,
    expert: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="Measure what `loramix merge` wrote too, an adapter or a whole model; repeatable.",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="M",
            help="auto, accuracy, macro_f1, exact, identical, f1, rouge_1, rouge_2, rouge_l, "
            "number (the last one), tests (passed by code), perplexity; TASK=M for one task.",
        ),
    ] = None,
    perplexity: Annotated[
        bool, typer.Option("--perplexity", help="Of the right answers, beside every metric.")
    ] = False,
    prompt: Annotated[
        str | None,
        typer.Option(metavar="T", help="Template of a file's prompts. Without it: {prompt}."),
    ] = None,
    completion: Annotated[
        str | None,
        typer.Option(metavar="T", help="Template of its answers. Without it: {completion}."),
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(min=0, help="The most tokens of an answer; 0 follows from the task.")
    ] = 0,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Examples of each task. Without it: the YAML's, or 100."),
    ] = None,
    apart: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A library of the same skills trained without blends, for the naive blend and "
            "the scores before.",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Prompts answered together.")] = 64,
    seed: Annotated[int, typer.Option(help="Of examples and intervals.")] = 0,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the scores into this SVG, PNG or PDF."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write all of it as a page, such as report.html."),
    ] = None,
    also: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Beside the scores: samples, merging (all skills into one), storage, forgetting "
            "(trains for a while); all or none. Without it a report has samples, on a small base "
            "merging and storage, and what an earlier run kept.",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep answers here, so that a run that was stopped goes on. "
            "Without it: loramix/answers.sqlite in the user's cache folder.",
        ),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Compute every answer, and keep none.")
    ] = False,
    library: LibraryOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Score base, skills, routers, mixes and experts on held-out examples of any tasks."""
    began = time.monotonic()  # most of the start is the import of torch
    from loramix.commands import evaluate as work

    console.report(
        lambda: work.evaluate(
            tasks,
            config=config,
            apart=apart,
            systems=systems,
            mixes=mix or (),
            experts=expert or (),
            metrics=metric or (),
            perplexity=perplexity,
            prompt=prompt,
            completion=completion,
            max_new_tokens=max_new_tokens,
            limit=limit,
            batch_size=batch_size,
            seed=seed,
            plot=plot,
            report=report,
            also=also,
            cache=cache,
            use_cache=not no_cache,
            library=library,
            device=device,
            dtype=dtype,
            began=began,
        ),
        as_json,
        render_eval.evaluate,
    )
