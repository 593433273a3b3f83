"""The tasks of the pocket base, made by generators with a seed.

task.py           what a task is
messages.py       reviews, e-mails, support messages, app comments
phrasing.py       requests around a text
sentiment.py, summarization.py, math.py, code.py (with programs.py), qa.py: the five skills;
                  math and code have a brief form too, with fewer wordings
composites.py     requests that need two skills
none.py           requests that need none
"""

from __future__ import annotations

from loramix.pocket.tasks import code, math, qa, sentiment, summarization
from loramix.pocket.tasks.composites import COMPOSITES
from loramix.pocket.tasks.none import NONE
from loramix.pocket.tasks.task import Composite, Task

TASKS: dict[str, Task] = {
    task.name: task for task in (sentiment.TASK, summarization.TASK, math.TASK, code.TASK, qa.TASK)
}
# the same skills, math and code in fewer wordings, which minutes of training are enough for
BRIEF: dict[str, Task] = {**TASKS, "math": math.BRIEF, "code": code.BRIEF}
BUILTIN: dict[str, Task] = {**TASKS, **{task.name: task for task in BRIEF.values()}}
"""All that can be named as data: `builtin: math`, `builtin: math_brief`."""


def task_of(skill: str, told: str = "") -> Task | None:
    """The builtin task that a skill has learned: the one its card tells of, or that of its name."""
    return BUILTIN.get(told) or TASKS.get(skill)


__all__ = ["BRIEF", "BUILTIN", "COMPOSITES", "NONE", "TASKS", "Composite", "Task", "task_of"]
