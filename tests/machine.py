"""How fast the machine is, for tests of minutes that hold the clock to a bar."""

from __future__ import annotations

import functools
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from loramix.base import load_base
from loramix.demo import DemoSettings, data
from loramix.pocket.tasks import TASKS
from loramix.train import train_skills

SLOW = 70
"""Rows a second. Two Sapphire Rapids cores at 2.1 GHz train 88, and are done with the demo in
378 s; where all is slower alike, its 480 s are 69 rows a second. Two Zen 3 cores train 41."""


@functools.cache
def rows_a_second() -> float:
    """Rows of the demo that all cores together train in a second, by a try of some seconds."""
    base = load_base("pocket", device="cpu")

    def seconds(count: int) -> float:
        few = DemoSettings()
        few = replace(few, train_examples=dict.fromkeys(TASKS, count), dev_examples=2)
        config = few.train.model_copy(update={"epochs": 1.0, "workers": 1})
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            train_skills(base, data.skill_jobs(few, 0), config, Path(folder) / "out", together=True)
            return time.monotonic() - start

    few, more = 2, 12
    trained = (more - few) * len(TASKS)
    begun = seconds(few)
    return trained / max(1e-3, seconds(more) - begun) * (os.cpu_count() or 1)
