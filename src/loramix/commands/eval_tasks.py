"""What `loramix eval` measures on: builtin tasks, files, datasets of the hub, the skills of a YAML.

Everything here is read and checked before a base is loaded.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loramix.config import BlendConfig, Config, SkillConfig
from loramix.data import DataSource, Example
from loramix.data.files import READERS
from loramix.data.load import COMPLETION, PROMPT, load_examples, load_train_dev
from loramix.errors import DataError, UsageError, nearest
from loramix.evaluate import EvalTask, Metric, both_right, check_metric, find_metric, own_metric
from loramix.mix import Mix
from loramix.pocket.tasks import BUILTIN, COMPOSITES, Task, task_of

COMPOSITES_WORD = "composites"
HUB = "hub:"
ALL = "*"
"""In metrics by task: the metric of all other tasks."""


@dataclass(frozen=True)
class Wanted:
    """What is measured.

    Attributes:
        tasks: `max_new_tokens` is 0 where it is to follow from the answers.
        composites: whether those of the package are measured too.
        blends: task → the mix that the YAML trains for it.
        templated: whether the templates of `Reading` made any of the tasks.
    """

    tasks: list[EvalTask]
    composites: bool = False
    blends: Mapping[str, Mix] = field(default_factory=dict)
    templated: bool = False


@dataclass(frozen=True)
class Reading:
    """How tasks are read.

    Attributes:
        skills: those of the library, each with the builtin task that its card tells of.
        limit: examples a task.
        seed: of drawing them.
        metrics: task → metric; `ALL` for the others.
        prompt, completion: templates of files and datasets.
        max_new_tokens: of an answer; 0 lets it follow from the task.
    """

    skills: Mapping[str, str]
    limit: int
    seed: int = 0
    metrics: Mapping[str, str] = field(default_factory=dict)
    prompt: str = PROMPT
    completion: str = COMPLETION
    max_new_tokens: int = 0

    def metric(self, task: str, otherwise: str = "auto") -> str:
        """The name of a task's metric."""
        return self.metrics.get(task, self.metrics.get(ALL, otherwise))


def parse_metrics(texts: Sequence[str]) -> dict[str, str]:
    """`f1` is for all tasks, `math=number` for one; several with commas.

    Raises:
        UsageError: there is no such metric.
    """
    found = {}
    for text in texts:
        for part in filter(None, map(str.strip, text.split(","))):
            task, _, name = part.rpartition("=")
            check_metric(name.strip())
            found[task.strip() or ALL] = name.strip()
    return found


def read_tasks(items: Sequence[str], reading: Reading, settings: Config | None = None) -> Wanted:
    """The tasks that are named, or, where none is, all that there are.

    Args:
        items: `composites`; a builtin task; a skill of the YAML; a file; `ORG/DATASET[:CONFIG]`
            or `hub:DATASET`, with `@SPLIT`. `NAME=` before it names the task, and by that the skill
            that was trained for it.
        reading: how.
        settings: of the YAML.

    Raises:
        UsageError: no such task, two of one name, or a metric that does not fit.
        DataError: a source that cannot be read, is empty or lacks a column.
    """
    names = _split(items)
    wanted = names or _all(reading, settings)
    tasks: dict[str, EvalTask] = {}
    for item in wanted:
        if item == COMPOSITES_WORD:
            continue
        task = _task(item, reading, settings)
        if task.name in tasks:
            raise UsageError(
                f"Two tasks have the name {task.name!r}.",
                given=f"--tasks {','.join(wanted)}",
                hint=f"name one of them: --tasks other={item.partition('=')[2] or item}",
            )
        tasks[task.name] = task
    known = [*tasks, ALL]
    for name in reading.metrics:
        if name not in known:
            near = nearest(name, tasks)
            raise UsageError(
                f"A metric is given for {name!r}, which is not measured.",
                given=f"--metric {name}={reading.metrics[name]}",
                expected=", ".join(tasks) or "a task",
                hint=f"did you mean {near!r}?" if near else "name one of these tasks",
            )
    blends = {} if settings is None else {
        name: Mix.of(blend.skills) for name, blend in settings.blends.items() if name in tasks
    }  # fmt: skip
    own = () if settings is None else {*settings.skills, *settings.blends}
    templated = any(not task.builtin and name not in own for name, task in tasks.items())
    return Wanted([*tasks.values()], COMPOSITES_WORD in wanted, blends, templated)


def check_flags(
    wanted: Wanted, *, templates: bool, metrics: Sequence[str], perplexity: bool,
    max_new_tokens: int, cache: Path | None, use_cache: bool,
) -> None:  # fmt: skip
    """Raises UsageError for a flag that would change nothing."""
    if templates and not wanted.templated:
        raise UsageError(
            "--prompt and --completion make examples of files and datasets, and no task is one.",
            given=f"tasks {', '.join(task.name for task in wanted.tasks) or 'composites'}",
            expected="--tasks FILE or --tasks ORG/DATASET",
            hint="leave the templates out: builtin tasks have theirs, skills of a YAML its own",
        )
    alone = {
        "--metric": bool(metrics),
        "--perplexity": perplexity,
        "--max-new-tokens": bool(max_new_tokens),
    }
    for flag, given in alone.items():
        if given and not wanted.tasks:
            raise UsageError(
                f"{flag} changes nothing: composites are scored by both parts of their answers.",
                given=f"{flag} with composites alone",
                hint=f"leave {flag} out, or name another task in --tasks",
            )
    if cache is not None and not use_cache:
        raise UsageError(
            "--cache names a file for answers, and --no-cache keeps none.",
            given=f"--cache {cache} --no-cache",
            hint="leave one of them out",
        )


def _split(items: Sequence[str]) -> list[str]:
    names: list[str] = []
    for item in items:
        whole = Path(item).expanduser()  # a file may have commas in its name
        parts = [item] if whole.is_file() else item.split(",")
        names += [part.strip() for part in parts if part.strip()]
    if items and not names:
        raise UsageError(
            "No task is named.", given=f"--tasks {','.join(items)!r}",
            expected=", ".join([COMPOSITES_WORD, *BUILTIN]), hint="leave --tasks out for all",
        )  # fmt: skip
    return list(dict.fromkeys(names))


def _all(reading: Reading, settings: Config | None) -> list[str]:
    """All skills of the YAML; or the builtin tasks and composites whose skills are there."""
    if settings is not None:
        return [*settings.skills, *settings.blends]
    found = {name: task_of(name, told) for name, told in reading.skills.items()}
    learned = {name: task.name for name, task in found.items() if task is not None}
    names = [name if name == task else f"{name}={task}" for name, task in learned.items()]
    if all(skill in reading.skills for kind in COMPOSITES.values() for skill in kind.skills):
        names.append(COMPOSITES_WORD)
    if not names:
        raise UsageError(
            "Nothing says what to measure on: no skill has learned a builtin task.",
            given=f"skills {', '.join(reading.skills) or 'none'}",
            expected=f"skills such as {', '.join(BUILTIN)}, or tasks that are named",
            hint="give data of a skill, --tasks SKILL=FILE, or the YAML that it was trained with",
        )
    return names


def _task(item: str, reading: Reading, settings: Config | None) -> EvalTask:
    if settings is not None and item in settings.skills:
        return _of_skill(item, settings.skills[item], settings, reading)
    if settings is not None and item in settings.blends:
        return _of_blend(item, settings.blends[item], settings, reading)
    name, named, place = item.partition("=")
    if not named or Path(item).expanduser().is_file():
        name, place = "", item
    source = _source(place)
    if source is None:
        choice = [COMPOSITES_WORD, *BUILTIN, *([] if settings is None else settings.skills)]
        near = nearest(place, choice)
        raise UsageError(
            f"There is no builtin task {place!r}.",
            given=f"--tasks {item}",
            expected=f"{', '.join(choice)}; a file ({', '.join(READERS)}); ORG/DATASET@SPLIT",
            hint=f"did you mean {near!r}?" if near else "name some of them, with commas",
        )
    name = name.strip() or source.builtin or _name_of(place)
    if source.builtin is not None:
        return _of_builtin(name, source, reading)
    faults: list[DataError] = []
    try:
        examples = load_examples(
            source, reading.prompt, reading.completion, split="test", seed=reading.seed,
            faults=faults,
        )  # fmt: skip
    except DataError as error:
        raise _as_called(error, place) from error
    metric = find_metric(reading.metric(name), name, examples)  # of all rows, whatever the limit
    return EvalTask(
        name, _draw(examples, reading.limit, reading.seed), metric, reading.max_new_tokens,
        _skill(name, reading), str(source), _reasons(faults),
    )  # fmt: skip


def _source(place: str) -> DataSource | None:
    if place in BUILTIN:
        return DataSource(builtin=place)
    path = Path(place).expanduser()
    if place.startswith(HUB) or (
        re.fullmatch(r"[\w.-]+/[\w.-]+(:[\w.-]+)?(@.+)?", place)
        and not path.exists()
        and path.suffix.lower() not in READERS
    ):
        where, _, split = place.removeprefix(HUB).partition("@")
        dataset, _, config = where.partition(":")
        return DataSource(hub=dataset, name=config or None, split=split or None)
    if path.suffix.lower() in READERS or path.exists():
        return DataSource(path=path)
    folder, _, split = place.rpartition("@")
    if folder and Path(folder).expanduser().is_dir():
        return DataSource(path=Path(folder), split=split)
    return None


def _of_builtin(name: str, source: DataSource, reading: Reading) -> EvalTask:
    task = BUILTIN[str(source.builtin)]
    most = min(reading.limit, source.limit or reading.limit)
    examples = task.examples("test", most, reading.seed)
    return EvalTask(
        name,
        examples,
        _builtin_metric(task, reading.metric(name), name, examples),
        task.max_new_tokens if reading.max_new_tokens == 0 else reading.max_new_tokens,
        _skill(name, reading),
        f"{source}, test",
        builtin=task.name,
    )


def _builtin_metric(task: Task, asked: str, name: str, examples: Sequence[Example]) -> Metric:
    """The task's own score; for programs the same thing by its name, which tells why one failed."""
    if asked != "auto":
        return find_metric(asked, name, examples)
    if all("tests" in example.meta for example in examples):
        return find_metric("tests", name, examples)
    return own_metric(task.score_many)


def _of_skill(name: str, skill: SkillConfig, settings: Config, reading: Reading) -> EvalTask:
    """What `train` scores too: `test`, a builtin task's test split, or what was held out."""
    length = reading.max_new_tokens or settings.evaluation.max_new_tokens
    templates, seed = (skill.prompt, skill.completion), settings.train.seed
    if skill.test is None and skill.data.builtin in BUILTIN:
        test = skill.data.model_copy(update={"split": None, "limit": None})
        task = BUILTIN[str(skill.data.builtin)]
        held = load_examples(test, *templates, limit=reading.limit, split="test", seed=seed)
        metric = _builtin_metric(task, reading.metric(name, skill.metric), name, held)
        return EvalTask(
            name, held, metric, task.max_new_tokens, name, f"{skill.data}, test", builtin=task.name
        )
    if skill.test is None:
        held, source = _held_out(skill, settings)
    else:
        held = load_examples(skill.test, *templates, split="test", seed=seed)
        source = str(skill.test)
    metric = find_metric(reading.metric(name, skill.metric), name, held)
    held = _draw(held, reading.limit, seed)
    return EvalTask(name, held, metric, length, name, source)


def _of_blend(name: str, blend: BlendConfig, settings: Config, reading: Reading) -> EvalTask:
    length = reading.max_new_tokens or settings.evaluation.max_new_tokens
    asked = reading.metric(name, blend.metric)
    kind = COMPOSITES.get(blend.data.builtin or "")
    if kind is None or asked != "auto":
        held, source = _held_out(blend, settings)
        metric = find_metric(asked, name, held)
        held = _draw(held, reading.limit, settings.train.seed)
        return EvalTask(name, held, metric, length, None, source)

    def both(examples: Sequence[Example], texts: Sequence[str]) -> list[float]:
        return both_right(kind.score_parts(examples, texts))

    held = kind.answerable("test", reading.limit, settings.train.seed)
    return EvalTask(
        name, held, own_metric(both), kind.max_new_tokens, None, f"{blend.data}, test"
    )  # fmt: skip


def _held_out(part: SkillConfig | BlendConfig, settings: Config) -> tuple[list[Example], str]:
    """The very rows that `train` holds out."""
    train_on, dev = load_train_dev(
        part.data, part.dev, part.prompt, part.completion,
        dev_fraction=settings.train.dev_fraction, seed=settings.train.seed,
    )  # fmt: skip
    held = dev or train_on
    if part.dev is not None:
        return list(held), str(part.dev)
    return list(held), f"{part.data}, {'held-out rows' if dev else 'its training data'}"


def _as_called(error: DataError, place: str) -> DataError:
    """The same fault, with what the command line can do about it instead of a YAML."""
    hint = error.hint
    if ": no such file" in error.what:
        hint = f"check the path in --tasks {place}; a relative one starts at {Path.cwd()}"
    elif ": no column " in error.what:
        hint = "name the file's columns: --prompt '{COLUMN}' --completion '{COLUMN}'"
    elif error.what.startswith("A template "):
        hint = f"in --prompt or --completion, {error.hint}"
    return DataError(error.what, given=error.given, expected=error.expected, hint=hint)


def _draw(examples: list[Example], limit: int, seed: int) -> list[Example]:
    """At most `limit` of them, in their order."""
    if len(examples) <= limit:
        return examples
    return [examples[i] for i in sorted(random.Random(seed).sample(range(len(examples)), limit))]


def _skill(name: str, reading: Reading) -> str | None:
    if name not in reading.skills and name in BUILTIN:
        name = BUILTIN[name].skill
    return name if name in reading.skills else None


def _name_of(place: str) -> str:
    """A task's name from where its data is: `data/Film Reviews.jsonl` → `film-reviews`."""
    stem = Path(place.removeprefix(HUB).partition("@")[0].partition(":")[0]).stem
    return re.sub(r"[^a-z0-9_]+", "-", stem.lower()).strip("-") or "task"


def _reasons(faults: Sequence[DataError]) -> dict[str, int]:
    """reason → rows, without the places of the rows."""
    return dict(Counter(re.sub(r"^.*?, (line|row) \d+: ", "", fault.what) for fault in faults))
