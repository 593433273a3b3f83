"""`mix` and `mix-1b`: a different two-way blend in each row, against the base and the peers."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from loramix.adapter import write_adapter
from loramix.base import encode_prompt
from loramix.bench.measure import Bar, MissingPeer, Run, alternate
from loramix.bench.ours import (
    PROMPT,
    EndlessBase,
    base_folder,
    check_room,
    engine_run,
    open_base,
    twin,
)
from loramix.bench.peer import peer_python, worker
from loramix.bench.report import OURS, report
from loramix.bench.settings import Filled, Settings
from loramix.bench.shapes import random_adapter
from loramix.bench.theirs import batch_run, peft_run
from loramix.mixed import MixedModel

SKILLS = 8
"""Each of rank 16, on q and v."""
_SHARES = (0.6, 0.4)

Opened = contextlib.AbstractContextManager[Run]


def mix(settings: Settings, bar: Bar) -> dict[str, Any]:
    """31M parameters: against no adapters, PEFT, vLLM, and transformers' own batching."""
    return _measure("mix", "31m", settings.filled(8, 32, 7), bar, ("peft", "vllm", "transformers"))


def mix_1b(settings: Settings, bar: Bar) -> dict[str, Any]:
    """TinyLlama's shape: against no adapters and llama.cpp, whose rows run one by one."""
    return _measure("mix-1b", "tinyllama", settings.filled(8, 16, 3), bar, ("llamacpp",))


def _measure(
    name: str, shape: str, settings: Filled, bar: Bar, peers: Sequence[str]
) -> dict[str, Any]:
    """The blend, the base, and those peers that run."""
    with contextlib.ExitStack() as stack:
        id, shown = stack.enter_context(base_folder(settings.base, shape))
        base = open_base(id, settings.dtype)
        prompt = encode_prompt(base, PROMPT)
        check_room(base, len(prompt), settings.tokens)
        ours = twin(base)
        mixed = MixedModel(ours.model)
        into = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loramix-bench-")))
        folders = []
        for place in range(SKILLS):
            adapter = random_adapter(base, place)
            mixed.add(f"s{place}", adapter)
            folders.append(into / f"s{place}")
            write_adapter(adapter, folders[-1])
        rows = range(settings.rows)
        blends = [((row % SKILLS, _SHARES[0]), ((row + 1) % SKILLS, _SHARES[1])) for row in rows]
        recipes = [",".join(f"s{k}={share}" for k, share in blend) for blend in blends]
        runs: dict[str, Run] = {
            OURS: engine_run(ours, mixed, recipes, settings.tokens),
            "base": engine_run(base, None, ["base"] * settings.rows, settings.tokens),
        }
        job = {
            "model": str(base.path),
            "adapters": [str(folder) for folder in folders],
            "prompt": prompt,
            "tokens": settings.tokens,
            "threads": torch.get_num_threads(),
        }
        openers: dict[str, Callable[[], Opened]] = {
            "peft": lambda: _here(_peft(base, folders, settings)),
            "transformers": lambda: _here(batch_run(twin(base), settings.rows, settings.tokens)),
            "vllm": lambda: _vllm(base, job, settings),
            "llamacpp": lambda: _llamacpp(base, job, blends, into, settings),
        }
        missing: dict[str, str] = {}
        for place, peer in enumerate(peers):
            bar(place, len(peers), f"starting {peer}")
            try:
                runs[peer] = stack.enter_context(openers[peer]())
            except MissingPeer as error:
                missing[peer] = error.what
        rates, failed = alternate(runs, settings.rounds, bar)
        return report(
            name,
            settings,
            rates,
            {key: key for key in ("base", *peers)},
            {**missing, **failed},
            base=shown,
            dtype=dtype_of(base, settings),
        )


def dtype_of(base: EndlessBase, settings: Settings) -> str:
    """What the weights were asked to be, or what `auto` made them."""
    return str(base.dtype).removeprefix("torch.") if settings.dtype == "auto" else settings.dtype


@contextlib.contextmanager
def _here(run: Run) -> Iterator[Run]:
    """A candidate of this process, which needs no end."""
    yield run


def _peft(base: EndlessBase, folders: Sequence[Path], settings: Filled) -> Run:
    names = [f"s{row % SKILLS}" for row in range(settings.rows)]
    try:
        return peft_run(base, folders, names, settings.tokens)
    except (ValueError, TypeError, NotImplementedError) as error:  # layers that it cannot adapt
        raise MissingPeer(f"does not take weights of this dtype: {error}") from error


@contextlib.contextmanager
def _vllm(base: EndlessBase, job: dict[str, Any], settings: Filled) -> Iterator[Run]:
    """One adapter a row, in the base's own dtype."""
    rows = [row % SKILLS for row in range(settings.rows)]
    dtype = str(base.dtype).removeprefix("torch.")
    python = peer_python(settings.peers, "vllm")
    # what its own manual asks for, where its requirements brought it
    openmp = python.parent.parent / "lib" / "libiomp5.so"
    variables = {"LD_PRELOAD": str(openmp)} if openmp.exists() else {}
    with worker(python, "vllm_worker", {**job, "rows": rows, "dtype": dtype}, **variables) as run:
        yield run


@contextlib.contextmanager
def _llamacpp(
    base: EndlessBase,
    job: dict[str, Any],
    blends: Sequence[Sequence[tuple[int, float]]],
    into: Path,
    settings: Filled,
) -> Iterator[Run]:
    """Q8_0, with the same blends."""
    python = peer_python(settings.peers, "llamacpp")
    with worker(python, "gguf_worker", {**job, "into": str(into)}) as writer:
        written = writer.ready
    vocabulary = base.model.config.get_text_config().vocab_size
    theirs = {**job, **written, "rows": blends, "vocabulary": vocabulary}
    with worker(python, "llama_worker", theirs) as run:
        yield run
