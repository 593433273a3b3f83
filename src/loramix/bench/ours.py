"""The engine as a candidate, and the base that it and the others share."""

from __future__ import annotations

import contextlib
import copy
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from loramix.base import Base, load_base
from loramix.bench.measure import Run, Timed
from loramix.bench.shapes import SHAPES, write_base
from loramix.engine import Engine, Limits, Request
from loramix.errors import UsageError
from loramix.mixed import MixedModel
from loramix.sampling import Sampling

PROMPT = "What is 15% of 240?"
SHAPE = "shape:"


@dataclass
class EndlessBase(Base):
    """A base none of whose tokens ends a completion, so that all candidates write as many."""

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """None."""
        return ()


@contextlib.contextmanager
def base_folder(given: str | None, shape: str) -> Iterator[tuple[str, str]]:
    """The base that was given, or a folder with random weights that goes at the end.

    Args:
        given: a base as `load_base` takes it, or `shape:` and one of `SHAPES`; None for `shape`.
        shape: one of `SHAPES`.

    Returns:
        The base as `load_base` takes it, and what a report calls it.

    Raises:
        UsageError: there is no such shape.
    """
    if given is not None and not given.startswith(SHAPE):
        yield given, given
        return
    name = shape if given is None else given.removeprefix(SHAPE)
    if name not in SHAPES:
        known = ", ".join(SHAPE + known for known in SHAPES)
        raise UsageError("There is no such shape of a base.", given=given, expected=known)
    with tempfile.TemporaryDirectory(prefix="loramix-bench-") as folder:
        yield str(write_base(SHAPES[name], Path(folder) / name)), f"{name}, random weights"


def open_base(id: str, dtype: str) -> EndlessBase:
    """Load a base on the CPU and let it never end; errors as for `load_base`."""
    loaded = load_base(id, "cpu", dtype)
    base = EndlessBase(**{field.name: getattr(loaded, field.name) for field in fields(Base)})
    model: Any = base.model
    model.generation_config.eos_token_id = None
    model.config.eos_token_id = None
    return base


def twin(base: EndlessBase) -> EndlessBase:
    """The same base with modules of its own, for others to change, over the same weights."""
    model = base.model
    shared = {id(part): part for part in (*model.parameters(), *model.buffers())}
    made = copy.copy(base)
    made.model = copy.deepcopy(model, shared)
    return made


def check_room(base: Base, prompt: int, tokens: int) -> None:
    """Raises UsageError where the base's context does not hold what is to be written."""
    if prompt + tokens + 1 > base.max_length:
        raise UsageError(
            "The rows do not fit into the context of the base.",
            given=f"{prompt} tokens of prompt, {tokens} to time",
            expected=f"at most {base.max_length} together",
            hint="ask for fewer --tokens",
        )


def engine_run(
    base: EndlessBase, mixed: MixedModel | None, mixes: Sequence[str], tokens: int
) -> Run:
    """The engine, one row for each mix, timed once every row has its first token.

    Args:
        base: the base.
        mixed: the same with its skills; None where no mix has any.
        mixes: recipes.
        tokens: timed in each row.
    """
    limits = Limits(max_rows=len(mixes), prefix_bytes=0)

    def run() -> Timed:
        engine = Engine(base, mixed, limits=limits)
        for mix in mixes:
            engine.submit(Request(PROMPT, mix, Sampling(tokens + 1)))
        first = 0
        while first < len(mixes):  # short prompts: one step
            first += len(engine.step())
        written, start = 0, time.perf_counter()
        while engine.busy:
            written += len(engine.step())
        seconds = time.perf_counter() - start
        engine.close()
        return Timed(written, seconds)

    return run
