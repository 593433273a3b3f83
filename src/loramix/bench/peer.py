"""Peers in interpreters of their own.

Each peer has a virtual environment, since its requirements contradict ours; `benches/peers.py`
makes them. There a worker holds the model and answers each line on its stdin with one JSON
object: what it wrote in how many seconds (see `workers/serve.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from loramix.bench.measure import MissingPeer, Timed

_SERVE = Path(__file__).parent / "workers" / "serve.py"
_PATIENCE = 900.0
"""Seconds after which a worker that does not answer is ended."""


def peer_python(peers: Path, name: str) -> Path:
    """The interpreter of a peer's environment. Raises MissingPeer where there is none."""
    python = peers / name / "bin" / "python"
    if not python.exists():
        raise MissingPeer(f"not installed: no {python}; python benches/peers.py {name}")
    return python.absolute()


class Worker:
    """A worker that has its model loaded; each call is a round.

    Args:
        python: the interpreter.
        name: of the worker, a module in `workers/`.
        job: what it is to do; see there.
        environment: variables that it gets besides ours.

    Raises:
        MissingPeer: it does not start, with the last thing that it said.
    """

    def __init__(self, python: Path, name: str, job: Mapping[str, Any], **environment: str) -> None:
        self.name = name
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [str(python), "-u", str(_SERVE), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        try:
            self.ready = self.ask(json.dumps(job))
        except BaseException:
            self.close()
            raise

    def __call__(self) -> Timed:
        answer = self.ask("round")
        return Timed(answer["tokens"], answer["seconds"])

    def ask(self, line: str) -> dict[str, Any]:
        """The answer to a line. Raises MissingPeer if the worker ends or fails instead."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Timer(_PATIENCE, process.kill)
        late.start()
        try:
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = b""
        finally:
            late.cancel()
        said: dict[str, Any] = json.loads(answer) if answer else {"error": self._last_words()}
        if "error" in said:
            raise MissingPeer(f"does not run: {said['error']}")
        return said

    def _last_words(self) -> str:
        self._process.wait()
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"ended with code {self._process.returncode}"

    def close(self) -> None:
        """End the process."""
        process = self._process
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # it may have children
            process.wait()
        self._said.close()


@contextlib.contextmanager
def worker(python: Path, name: str, job: Mapping[str, Any], **environment: str) -> Iterator[Worker]:
    """A worker that is ended at the end; arguments and errors as for `Worker`."""
    made = Worker(python, name, job, **environment)
    try:
        yield made
    finally:
        made.close()
