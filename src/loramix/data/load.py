"""load_examples: every kind of source comes in through this one door."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import cast, get_args

from loramix.data.example import Example
from loramix.data.files import Row, read_rows
from loramix.data.hub import read_dataset
from loramix.data.source import DataSource
from loramix.data.template import render, template_columns
from loramix.errors import DataError, nearest

BUILTIN_ROWS = 2000  # how many examples a builtin task makes where no limit is given
PROMPT, COMPLETION = "{prompt}", "{completion}"  # the templates of data that need none


def load_examples(
    source: DataSource,
    prompt_template: str = PROMPT,
    completion_template: str = COMPLETION,
    *,
    limit: int | None = None,
    split: str = "train",
    seed: int = 0,
    faults: list[DataError] | None = None,
) -> list[Example]:
    """The examples of a source, in its order.

    Args:
        source: a file, a `datasets` dataset, or a builtin task.
        prompt_template: format string over the columns that makes the prompt.
        completion_template: format string over the columns that makes the completion.
        limit: at most so many examples; the smaller of this and the source's own limit holds.
            They are drawn with the seed, because files are often sorted by label.
        split: which split, where the source has splits and names none itself.
        seed: for drawing, and for builtin tasks.
        faults: where it is given, a row that makes no example is left out and told here, as long
            as some row makes one.

    Raises:
        DataError: the source cannot be read, holds no rows, lacks a column that a template
            names, or has an empty prompt or completion; names the line.
    """
    for template in (prompt_template, completion_template):
        try:
            template_columns(template)
        except ValueError as error:
            raise DataError(
                f"A template for {source} that cannot be read: {error}",
                given=template,
                hint="write {column} or {column[0]}; braces that are text are doubled: {{ and }}",
            ) from error
    limits = [n for n in (limit, source.limit) if n is not None]
    most = min(limits) if limits else None
    rows = list(_rows(source, source.split or split, most, seed))
    if not rows:
        raise DataError(
            f"{source}: no rows", hint="check that it is the right file and that it was filled"
        )
    if most is not None and most < len(rows):
        rows = [rows[i] for i in sorted(random.Random(seed).sample(range(len(rows)), most))]
    examples = []
    for row in rows:
        try:
            examples.append(_example(row, prompt_template, completion_template))
        except DataError as error:
            if faults is None:
                raise
            faults.append(error)
    if faults and not examples:
        raise faults[0]
    return examples


def load_train_dev(
    data: DataSource,
    dev: DataSource | None = None,
    prompt_template: str = PROMPT,
    completion_template: str = COMPLETION,
    *,
    dev_fraction: float = 0.1,
    seed: int = 0,
) -> tuple[list[Example], list[Example]]:
    """Training and dev examples of one skill.

    Without a dev source, a builtin task makes its own dev split (its templates and contents are
    held out), and any other source gives up `dev_fraction` of its prompts.
    """
    train = load_examples(data, prompt_template, completion_template, split="train", seed=seed)
    if dev is None and data.builtin is not None:
        most = max(1, round(dev_fraction * len(train)))
        dev = DataSource(builtin=data.builtin, limit=most)
    if dev is None:
        return split_dev(train, dev_fraction, seed)
    return train, load_examples(dev, prompt_template, completion_template, split="dev", seed=seed)


def split_dev(
    examples: Sequence[Example], fraction: float, seed: int
) -> tuple[list[Example], list[Example]]:
    """Train and dev, cut by prompt: one prompt never stands on both sides.

    Both sides keep the order of `examples`. With a fraction above 0 and at least two distinct
    prompts, neither side is empty; with one prompt only, dev is.
    """
    if not 0 <= fraction < 1:
        raise DataError("A dev fraction out of range", given=fraction, expected="0 ≤ fraction < 1")
    prompts = sorted({example.prompt for example in examples})
    if fraction == 0 or len(prompts) < 2:
        return list(examples), []
    count = min(max(1, round(fraction * len(prompts))), len(prompts) - 1)
    held = set(random.Random(seed).sample(prompts, count))
    train = [example for example in examples if example.prompt not in held]
    return train, [example for example in examples if example.prompt in held]


def _rows(source: DataSource, split: str, limit: int | None, seed: int) -> Iterator[Row]:
    if source.builtin is not None:
        return _builtin_rows(source.builtin, split, limit, seed)
    if source.split is None and split == "dev":
        split = "validation"  # as datasets call it
    if source.hub is not None:
        return read_dataset(source.hub, source.name, split)
    path = source.path
    if path is None:
        raise DataError("A data source without path, hub and builtin")
    if path.is_dir():
        return read_dataset(str(path), None, split)
    if not path.exists():
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        near = nearest(path.name, [other.name for other in beside])
        raise DataError(
            f"{path}: no such file",
            expected=None if near is None else f"perhaps '{near}'",
            hint="check the path; a relative one in a YAML starts at the YAML's folder",
        )
    if source.split is not None:
        raise DataError(
            f"{path}: a single file has no splits",
            given=f"split: {source.split}",
            hint="remove `split`, or give the file of that split",
        )
    return read_rows(path)


def _builtin_rows(name: str, split: str, limit: int | None, seed: int) -> Iterator[Row]:
    # The tasks make Examples, so they import this package: they are looked up when asked for.
    from loramix.pocket.tasks import BUILTIN, COMPOSITES
    from loramix.pocket.words import Split

    tasks = {name: task.examples for name, task in BUILTIN.items()}
    tasks |= {name: composite.answerable for name, composite in COMPOSITES.items()}
    if name not in tasks:
        near = nearest(name, tasks)
        raise DataError(
            f"No builtin task '{name}'",
            given=f"tasks {', '.join(tasks)}",
            expected=None if near is None else f"perhaps '{near}'",
            hint="name one of them, or give a `path`",
        )
    if split not in get_args(Split):
        raise DataError(
            f"Builtin task {name}: no split '{split}'", expected=", ".join(get_args(Split))
        )
    try:
        examples = tasks[name](cast(Split, split), limit or BUILTIN_ROWS, seed)
    except ValueError as error:
        raise DataError(str(error), hint="give a smaller `limit`") from error
    for number, example in enumerate(examples, start=1):
        columns = {"prompt": example.prompt, "completion": example.completion}
        where = f"builtin task {name}, {split}, example {number}"
        yield Row({**example.meta, **columns}, where, example.meta)


def _example(row: Row, prompt_template: str, completion_template: str) -> Example:
    example = Example(
        render(prompt_template, row),
        render(completion_template, row),
        row.values if row.meta is None else row.meta,
    )
    for part, text in (("prompt", example.prompt), ("completion", example.completion)):
        if not text.strip():
            raise DataError(
                f"{row.where}: the {part} is empty",
                expected=f"text for the template of the {part}",
                hint="fill in or remove that row",
            )
    return example
