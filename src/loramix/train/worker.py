"""A process that trains some skills of a run for another one, which starts `main`.

Its standard input holds an `Order`, and stays open as long as the other process wants the work:
where it ends, be it that the other one was stopped or killed, a checkpoint is kept and the
worker ends too. Each line of its standard output says where it is, one JSON object. What it
makes lies in the folder of its run, where the other process looks for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pickle
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import torch

from loramix.base import load_base, weights_hash
from loramix.config import TrainConfig
from loramix.errors import LoramixError
from loramix.train.jobs import TrainProgress
from loramix.train.run import Run
from loramix.train.shares import Share
from loramix.train.trainer import StopRequest


@dataclass(frozen=True)
class Order:
    """What a worker is told to do.

    Attributes:
        base: the folder of the base.
        dtype: of its weights, as `load_base` takes it.
        base_hash: of these weights in the memory of the process that orders.
        key: of the run, as that process knows it.
        share: what the worker trains.
        config: how they are trained.
        folder: of the run.
        threads: that torch may use.
        memory_limit: bytes that the run may take; None is what the machine has free.
        save_seconds: time between checkpoints.
    """

    base: Path
    dtype: torch.dtype
    base_hash: str
    key: str
    share: Share
    config: TrainConfig
    folder: Path
    threads: int
    memory_limit: int | None
    save_seconds: float


def main() -> None:
    """Trains what the order says; exit code 3 where the base in its folder is another by now."""
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # whatever prints meanwhile is no message
    order: Order = pickle.load(sys.stdin.buffer)
    stop = StopRequest()
    threading.Thread(target=_watch, args=(stop,), daemon=True).start()
    torch.set_num_threads(order.threads)
    base = load_base(str(order.base), device="cpu", dtype=order.dtype)

    def tell(progress: TrainProgress) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more; the checkpoint matters
            messages.write(json.dumps(dataclasses.asdict(progress)) + "\n")

    run = Run(
        base,
        order.share,
        order.config,
        order.folder,
        progress=tell,
        memory_limit=order.memory_limit,
        save_seconds=order.save_seconds,
    )
    if weights_hash(base.model) != order.base_hash or run.key(order.base_hash) != order.key:
        sys.stderr.write("the base in its folder is not the one that is trained on\n")
        sys.exit(3)
    try:
        run.facts(stop, order.base_hash)
    except LoramixError as error:
        sys.stderr.write(f"{error.what}\n")
        sys.exit(error.exit_code)


def _watch(stop: StopRequest) -> None:
    """Wants to stop where the input ends."""
    while os.read(0, 1024):  # a buffered read would hold a lock when the process ends
        pass
    stop.wanted = True
