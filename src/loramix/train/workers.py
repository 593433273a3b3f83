"""The processes that train the shares of one run, see `shares`.

The first share is trained here, each other one by a `worker`, into a folder where its result is
found.
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

from loramix.errors import Interrupted
from loramix.storage import storage_errors
from loramix.train.jobs import Progress, TrainProgress
from loramix.train.trainer import StopRequest
from loramix.train.worker import Order

LOG = "worker.log"

_PATIENCE = 60.0
"""Seconds that a worker has for its checkpoint when it is to stop."""

log = logging.getLogger(__name__)


class Workers:
    """The processes that train all shares but the first.

    As a context: it starts them, and however it is left they have ended then; Interrupted then says
    where all of them are. While it is in force torch uses this process's share of the threads.

    Args:
        orders: place of a share → what its process is to do; the first is trained here, and those
            that are missing are done.
        begun: of each share how many steps are done, and how many there are; that of this process
            first.
        threads: that torch may use here meanwhile.
        stop: whether the user wants to stop.
        progress: is told where all of them are, in the thread of the caller.
    """

    def __init__(
        self,
        orders: Mapping[int, Order],
        begun: Sequence[tuple[int, int]],
        threads: int,
        stop: StopRequest,
        progress: Progress | None,
    ) -> None:
        self._orders, self._threads = orders, threads
        self._stop, self._progress = stop, progress
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._readers: list[threading.Thread] = []
        self._told: set[int] = set()  # the failed ones of which the user knows
        # where each share is, as it last said
        self._at = [TrainProgress((), done, total, {}, {}, 0, 0.0) for done, total in begun]

    def __enter__(self) -> Workers:
        self._before = torch.get_num_threads()
        try:
            for share, order in self._orders.items():
                self._start(share, order)
        except BaseException:
            self._end(at_once=True)
            raise
        if self._orders:
            torch.set_num_threads(self._threads)
        return self

    def _start(self, share: int, order: Order) -> None:
        with storage_errors("making the folder of the run", order.folder):
            order.folder.mkdir(parents=True, exist_ok=True)
            errors = open(order.folder / LOG, "wb")  # noqa: SIM115 (the process keeps it)
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
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
        self._running[share] = process
        reader = threading.Thread(target=self._talk, args=(share, process, order), daemon=True)
        reader.start()
        self._readers.append(reader)

    def _talk(self, share: int, process: subprocess.Popen[bytes], order: Order) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        # where it has ended, or is to end, before it began
        with contextlib.suppress(OSError, ValueError):
            pickle.dump(order, process.stdin)
            process.stdin.flush()
        for line in process.stdout:
            self._at[share] = TrainProgress(**json.loads(line))

    def teller(self, share: int) -> Progress:
        """What takes where a share that is trained here is, and says where all are."""

        def tell(progress: TrainProgress) -> None:
            self._at[share] = progress
            self._report()

        return tell

    def _report(self) -> None:
        for share, process in self._running.items():
            if process.poll() and share not in self._told and not self._stop.wanted:
                self._told.add(share)
                order = self._orders[share]
                said = (order.folder / LOG).read_text("utf-8", "replace").strip().splitlines()
                log.warning(
                    "The process that trains %s has failed (exit code %s: %s); this one will "
                    "train them in the end.",
                    ", ".join(order.share.names),
                    process.returncode,
                    said[-1] if said else "it said nothing",
                )
        if self._progress is not None:
            self._progress(self.at())

    def at(self) -> TrainProgress:
        """Where all processes are."""
        at = list(self._at)
        return TrainProgress(
            skills=tuple(name for each in at for name in each.skills),
            step=sum(each.step for each in at),
            total=sum(each.total for each in at),
            losses={name: loss for each in at for name, loss in each.losses.items()},
            dev_losses={name: loss for each in at for name, loss in each.dev_losses.items()},
            tokens=sum(each.tokens for each in at),
            seconds=max(each.seconds for each in at),
        )

    def wait(self) -> None:
        """Until all have ended.

        Raises:
            Interrupted: the user wants to stop.
        """
        while any(p.poll() is None for p in self._running.values()):
            if self._stop.wanted:
                raise Interrupted("Stopped.")
            time.sleep(0.2)
            self._report()
        torch.set_num_threads(self._before)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(at_once=kind is not None and issubclass(kind, KeyboardInterrupt))
        if self._orders and isinstance(error, Interrupted):
            at = self.at()
            folder = next(iter(self._orders.values())).folder.parent
            raise Interrupted(
                f"Stopped after step {at.step} of {at.total}.",
                hint=f"run it again to go on from there: checkpoints are in {folder}",
            ) from None

    def _end(self, at_once: bool) -> None:
        torch.set_num_threads(self._before)
        deadline = time.monotonic() + (0.0 if at_once else _PATIENCE)
        try:
            for process in self._running.values():
                with contextlib.suppress(OSError, ValueError):
                    process.stdin.close()  # type: ignore[union-attr]
            for process in self._running.values():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
        finally:  # also where a second Ctrl-C comes while they are waited for
            for process in self._running.values():
                process.kill()
                process.wait()
        for reader in self._readers:
            reader.join()
        for process in self._running.values():
            process.stdout.close()  # type: ignore[union-attr]


def peak_of(pasts: Sequence[Mapping[str, Any]]) -> float:
    """The most memory of the processes of a run, added up, MiB; what files they share counts once.

    Args:
        pasts: of the run of each share, by skill.
    """
    each = [next(iter(past.values())) for past in pasts]
    peaks: dict[int, float] = {}  # one process may have trained several shares
    for past in each:
        peaks[past["process"]] = max(past["peak_rss_mb"], peaks.get(past["process"], 0.0))
    files = {past["process"]: float(past["files_rss_mb"]) for past in each}
    return sum(peaks.values()) - sum(files.values()) + max(files.values())
