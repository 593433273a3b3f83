"""The skills of one run, shared out among processes.

The products of a small base are too small for several threads: on two cores pocket trains hardly
faster with two than with one, while two processes with a thread each do nearly twice the work.
Skills have disjoint parameters, so that processes have nothing to tell each other. The first
share is trained here, each other one by a `worker`, into a folder where its result is found.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import torch

from loramix.base import Base
from loramix.config import TrainConfig
from loramix.errors import Interrupted, UsageError
from loramix.storage import storage_errors
from loramix.train.batches import pass_cost
from loramix.train.jobs import Progress, SkillJob, TrainProgress
from loramix.train.memory import free_bytes
from loramix.train.trainer import StopRequest
from loramix.train.worker import Order

PART = "part-{}"
LOG = "worker.log"

_SMALL = 64_000_000
"""Parameters of a base up to which a second thread gains little."""

_LONG = 150_000
"""Tokens of a run from which a worker's start, some five seconds, is worth it."""

_ROOM = 2 << 30
"""Bytes that are free for each process; on pocket one takes some 1.4 GB."""

_PATIENCE = 60.0
"""Seconds that a worker has for its checkpoint when it is to stop."""

log = logging.getLogger(__name__)


def share_out(
    base: Base, jobs: Sequence[SkillJob], config: TrainConfig, alone: bool
) -> list[list[SkillJob]]:
    """Which process trains which skills: shares of about equal work, the largest first.

    Args:
        base: that is trained on.
        jobs: the skills of one run.
        config: `workers` says how many processes, or leaves it to the machine.
        alone: whether one process must train them all, since they learn blends or one by one.

    Raises:
        UsageError: several processes were asked for where there can be one only.
    """
    cpu = base.device.type == "cpu"
    possible = cpu and base.path is not None and not alone
    costs = [_cost(job, config) for job in jobs]
    if config.workers == "auto":
        small = sum(p.numel() for p in base.model.parameters()) <= _SMALL
        worth = possible and small and sum(tokens for _, tokens in costs) >= _LONG
        count = min(torch.get_num_threads(), free_bytes(base.device) // _ROOM) if worth else 1
    else:
        count = config.workers
        if count > 1 and not possible:
            raise UsageError(
                "Several processes cannot train this.",
                given=f"workers: {count}",
                expected="skills that are trained in one run without blends, on a CPU, on a "
                "base that lies in a folder",
                hint="set train.workers to 1 or auto",
            )
    shares: list[tuple[float, list[SkillJob]]] = [(0.0, []) for _ in range(min(count, len(jobs)))]
    for (cost, _), job in sorted(zip(costs, jobs, strict=True), key=lambda pair: -pair[0][0]):
        least = min(range(len(shares)), key=lambda i: shares[i][0])
        total, some = shares[least]
        shares[least] = (total + cost, [*some, job])
    return [some for _, some in sorted(shares, key=lambda share: -share[0])]


def _cost(job: SkillJob, config: TrainConfig) -> tuple[float, float]:
    """About what a skill's training costs, in tokens with the fixed cost of passes; its tokens."""
    rows = min(
        config.epochs * len(job.train),
        config.batch_size * config.grad_accum * (config.max_steps or 1 << 60),
    )
    letters = sum(len(str(e.prompt)) + len(e.completion) for e in job.train)
    tokens = rows * letters / 4 / max(1, len(job.train))
    return tokens + pass_cost(torch.device("cpu")) * rows / config.batch_size, tokens


class Workers:
    """The processes that train all shares but the first.

    As a context: it starts them, and however it is left they have ended then; Interrupted then says
    where all of them are. While it is in force torch uses this process's share of the threads.

    Args:
        orders: one for each process.
        threads: that torch may use here meanwhile.
        stop: whether the user wants to stop.
        progress: is told where all of them are, in the thread of the caller.
    """

    def __init__(
        self,
        orders: Sequence[Order],
        threads: int,
        stop: StopRequest,
        progress: Progress | None,
    ) -> None:
        self._orders, self._threads = orders, threads
        self._stop, self._progress = stop, progress
        self._running: list[subprocess.Popen[bytes]] = []
        self._readers: list[threading.Thread] = []
        self._at: dict[int, TrainProgress] = {}  # by place in `orders`; -1 is this process

    def __enter__(self) -> Workers:
        self._before = torch.get_num_threads()
        if self._orders:
            torch.set_num_threads(self._threads)
        try:
            for place, order in enumerate(self._orders):
                self._start(place, order)
        except BaseException:
            self._end(at_once=True)
            raise
        return self

    def _start(self, place: int, order: Order) -> None:
        with storage_errors("making the folder of the run", order.folder):
            order.folder.mkdir(parents=True, exist_ok=True)
            errors = open(order.folder / LOG, "wb")  # noqa: SIM115 (the process keeps it)
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(path for path in map(os.path.abspath, sys.path) if path),
            "OMP_NUM_THREADS": str(order.threads),
        }
        with errors:
            process = subprocess.Popen(
                [sys.executable, "-c", "from loramix.train.worker import main; main()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                cwd=order.folder,  # Python looks for modules where it starts: none lie there
                start_new_session=True,  # Ctrl-C is for this process, which then tells it
            )
        self._running.append(process)
        reader = threading.Thread(target=self._read, args=(place, process), daemon=True)
        reader.start()
        self._readers.append(reader)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has failed at once; its share is ours then
            pickle.dump(order, process.stdin)
            process.stdin.flush()

    def _read(self, place: int, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._at[place] = TrainProgress(**json.loads(line))

    def tell(self, progress: TrainProgress) -> None:
        """Takes where this process is, and says where all are."""
        self._at[-1] = progress
        self._report()

    def _report(self) -> None:
        if self._progress is not None and self._at:
            self._progress(self.at())

    def at(self) -> TrainProgress:
        """Where all processes are that have said so."""
        at = [self._at[place] for place in sorted(self._at.copy())]
        return TrainProgress(
            skills=tuple(name for each in at for name in each.skills),
            step=sum(each.step for each in at),
            total=sum(each.total for each in at),
            losses={name: loss for each in at for name, loss in each.losses.items()},
            dev_losses={name: loss for each in at for name, loss in each.dev_losses.items()},
            tokens=sum(each.tokens for each in at),
            seconds=max((each.seconds for each in at), default=0.0),
        )

    def wait(self) -> None:
        """Until all have ended.

        Raises:
            Interrupted: the user wants to stop.
        """
        while any(p.poll() is None for p in self._running):
            if self._stop.wanted:
                raise Interrupted("Stopped.")
            time.sleep(0.2)
            self._report()
        for process, order in zip(self._running, self._orders, strict=True):
            if process.poll():
                log.warning(
                    "a worker has failed (exit code %s, %s); its skills are trained here",
                    process.returncode,
                    order.folder / LOG,
                )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(at_once=kind is not None and issubclass(kind, KeyboardInterrupt))
        if self._orders and isinstance(error, Interrupted):
            at = self.at()
            raise Interrupted(
                f"Stopped after step {at.step} of {at.total}.",
                hint="run it again to go on from there: checkpoints are in "
                f"{self._orders[0].folder.parent}",
            ) from None

    def _end(self, at_once: bool) -> None:
        torch.set_num_threads(self._before)
        deadline = time.monotonic() + _PATIENCE
        for process in self._running:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()  # type: ignore[union-attr]
        for process in self._running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0 if at_once else max(0.0, deadline - time.monotonic()))
            process.kill()
            process.wait()
        for reader in self._readers:
            reader.join()
        for process in self._running:
            process.stdout.close()  # type: ignore[union-attr]


def peak_of(pasts: Sequence[Mapping[str, Any]]) -> float:
    """The most memory of the processes of a run, added up, MiB; what files they share counts once.

    Args:
        pasts: of the run of each process, by skill.
    """
    each = [next(iter(past.values())) for past in pasts]
    files = [float(past["files_rss_mb"]) for past in each]
    return sum(float(past["peak_rss_mb"]) for past in each) - sum(files) + max(files)
