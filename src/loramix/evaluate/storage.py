"""One base with N adapters against N full models: bytes on disk and in memory, measured.

Files are really written and then weighed, and what is resident is read off fresh processes that
load everything and run it once (`python -m loramix.evaluate.storage JOB`), since what a process
has had it rarely gives back, and weights that no pass has touched may not be in memory at all.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from loramix.adapter import Adapter, read_adapter, write_adapter
from loramix.base import Base
from loramix.errors import ResourceError
from loramix.storage import storage_errors

_PROMPT = "One base and many adapters."


def measure_storage(
    base: Base,
    adapters: Mapping[str, Adapter],
    folder: Path,
    *,
    name: str | None = None,
    dtype: str = "auto",
    loaded: int | None = None,
) -> dict[str, Any]:
    """What N skills take as adapters beside one base, and as N models of their own.

    Args:
        base: from a folder; it is read again in other processes.
        adapters: N of them, of that base.
        folder: for the files; it must not hold any, and is empty afterwards.
        name: of the base, in the result; None is its id.
        dtype: of the weights in memory; see `load_base`.
        loaded: how many full models are held in memory at most; None is N.

    Returns:
        `name`; `n`; `disk` with `base` (bytes of one), `adapters` and `full`: for N = 1, 2, …
        the bytes of the base and N adapters, and of N full models; `resident` with the same two,
        in bytes of a whole process.

    Raises:
        ResourceError: a process that measures did not come to its end.
        StorageError: the disk is full or does not let us write.
    """
    small = [folder / "adapters" / skill for skill in adapters]
    large = [folder / "models" / skill for skill in adapters]
    with storage_errors("writing models to weigh", folder):
        for model, place, adapter in zip(large, small, adapters.values(), strict=True):
            _write_model(base, model)
            write_adapter(adapter, place)
    one = _bytes(large[0])
    most = len(large) if loaded is None else min(loaded, len(large))
    resident = {
        "adapters": _resident({"base": str(large[0]), "adapters": _texts(small), "dtype": dtype}),
        "full": _resident({"models": _texts(large[:most]), "dtype": dtype}),
    }
    found = {
        "name": name or base.id,
        "n": len(large),
        "disk": {
            "base": one,
            "adapters": [one + more for more in accumulate(map(_bytes, small))],
            "full": list(accumulate(map(_bytes, large))),
        },
        "resident": resident,
    }
    for written in ("adapters", "models"):
        shutil.rmtree(folder / written)
    return found


def _write_model(base: Base, folder: Path) -> None:
    """The base as a model of its own, as a fine-tuned copy of it would be."""
    if base.path is not None:
        shutil.copytree(base.path, folder, ignore=shutil.ignore_patterns(".*"))
        return
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _texts(paths: Sequence[Path]) -> list[str]:
    return [str(path) for path in paths]


def _resident(job: Mapping[str, Any]) -> list[int]:
    """What `main` says about a job, in a process of its own."""
    command = [sys.executable, "-m", "loramix.evaluate.storage", json.dumps(job)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        last = (ran.stderr.strip().splitlines() or ["nothing said"])[-1]
        raise ResourceError(
            "Memory could not be measured: the process for that ended early.",
            given=f"exit code {ran.returncode}: {last}",
            hint="free some memory and run it again",
        )
    return [int(figure) for figure in json.loads(ran.stdout.splitlines()[-1])]


def main(job: Mapping[str, Any]) -> list[int]:
    """Bytes resident in this process after each adapter, or each model, was loaded and run.

    Args:
        job: `dtype`; `base` and `adapters`, or `models`: folders.
    """
    import psutil
    import torch

    from loramix.base import load_base
    from loramix.mixed import MixedModel

    process, figures, kept = psutil.Process(), [], []

    def run(one: Base) -> None:
        ids = torch.tensor([one.tokenizer(_PROMPT)["input_ids"]])
        with torch.inference_mode():
            one.model(input_ids=ids)
        figures.append(int(process.memory_info().rss))

    if "models" in job:
        for path in job["models"]:
            kept.append(load_base(path, "cpu", job["dtype"]))
            run(kept[-1])
        return figures
    base = load_base(job["base"], "cpu", job["dtype"])
    mixed = MixedModel(base.model)
    for path in job["adapters"]:
        name = Path(path).name
        mixed.add(name, read_adapter(Path(path), base))
        with mixed.using(torch.ones(1, 1), [name]):  # as requests do: not all skills in one mix
            run(base)
    return figures


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))  # noqa: T201
