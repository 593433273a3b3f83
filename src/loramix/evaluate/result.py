"""The plain data that an evaluation is: what `loramix eval --json` prints, a report draws from.

result["tasks"]["math"]["routed"]                      a figure
result["matrix"]["scores"][row][column]                the same of all tasks and systems
result["multi_domain"]["systems"]["routed"]["score"]   the mean over the tasks
"""

from __future__ import annotations

from typing import Any, TypedDict


class Cell(TypedDict, total=False):
    """A system on a task.

    score, low, high: the figure of the task's metric and its 95 % interval: Wilson's where each
        example is right or wrong, else a bootstrap over the examples.
    n: examples.
    failed: reason → rows that could not be answered or judged, which count as wrong; and those
        that perplexity leaves out, because prompt and answer together are too long.
    also: other metric → its figure.
    over_base, over_skill: {mean, low, high} of the difference to the base, and to the task's own
        skill, on the same examples (paired); above 0 is better for metrics of which more is.
    tokens: that were written.
    """

    score: float
    low: float
    high: float
    n: int
    failed: dict[str, int]
    also: dict[str, float]
    over_base: dict[str, float]
    over_skill: dict[str, float]
    tokens: int


class SystemRow(TypedDict, total=False):
    """What answers: `base`; a skill by its name; `ROUTER/POLICY`; `mix NAME`; `expert NAME`;
    `model NAME`, a standalone model; `all skills merged`.

    kind: base, skill, routed, mix, expert or model.
    mix: skill → weight, where it is the same for every prompt.
    router, policy: of a routed one.
    path: of an expert or a model.
    usual: true of what the library does with a prompt if nothing else is said.
    """

    kind: str
    mix: dict[str, float]
    router: str
    policy: str
    path: str
    usual: bool


class TaskRow(TypedDict, total=False):
    """A task.

    base, skill, routed: figures of the base, of the task's own skill, and of what the library
        does with a prompt; `skill` is missing where no skill has the task's name.
    intervals: base, skill, routed → [low, high].
    n: examples. metric: its name. higher_is_better: whether more of it is.
    own_skill: the skill's name, or None. source: where the examples are from.
    left_out: reason → rows of the source that are no examples; they are not scored.
    systems: system → Cell.
    """

    base: float
    skill: float
    routed: float
    intervals: dict[str, list[float]]
    n: int
    metric: str
    higher_is_better: bool
    own_skill: str | None
    source: str
    left_out: dict[str, int]
    systems: dict[str, Cell]


class Matrix(TypedDict):
    """All figures at once. `scores`, `low`, `high`: [tasks][systems], None where not measured."""

    tasks: list[str]
    systems: list[str]
    metrics: list[str]
    scores: list[list[float | None]]
    low: list[list[float | None]]
    high: list[list[float | None]]


class MultiDomain(TypedDict):
    """The mean over the tasks that have a skill and a metric from 0 to 1.

    systems: system → {score, low, high}; `skill` is each task's own, `routed` the library's way.
    """

    tasks: list[str]
    systems: dict[str, dict[str, float]]


class Evaluation(TypedDict, total=False):
    """The whole.

    systems, tasks, matrix, multi_domain: see there.
    routing: router → what `evaluate_router` gives: accuracy, ece, calibration, confusion, ….
    composites: requests that need two skills, see `evaluate_composites`; skills.NAME.{before,
        after}: each of their skills alone, in the library trained apart and in this one.
    training, samples, retention, storage, forgetting: what `--report` and `--also` add; see
        `loramix.evaluate.report`.
    failures: [{task, system, reason, rows}], all of them.
    answers: {computed, computed_tokens, rated (likelihoods that were computed), cached, broken};
        cache: its file or None.
    phases: phase → seconds. seconds, library, base, seed, plot: as they say.
    """

    systems: dict[str, SystemRow]
    tasks: dict[str, TaskRow]
    matrix: Matrix
    multi_domain: MultiDomain
    routing: dict[str, Any]
    composites: dict[str, Any]
    skills: dict[str, Any]
    training: dict[str, Any]
    samples: list[dict[str, Any]]
    retention: list[dict[str, Any]]
    storage: dict[str, Any]
    forgetting: dict[str, Any]
    not_measured: list[dict[str, str]]
    failures: list[dict[str, Any]]
    answers: dict[str, Any]
    cache: str | None
    phases: dict[str, float]
    seconds: float
    library: str
    base: str
    seed: int
    apart: str | None
    plot: str | None
