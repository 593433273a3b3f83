"""train_skills: the whole of it, one skill after another or all in one run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from loramix.adapter import Adapter
from loramix.base import Base, weights_hash
from loramix.config import TrainConfig
from loramix.errors import Interrupted, LoramixError, UsageError
from loramix.manifest import validate_name
from loramix.train import checkpoint
from loramix.train.curves import Curve, save_curves
from loramix.train.jobs import BlendJob, Progress, SkillJob, TrainResult
from loramix.train.room import room_of
from loramix.train.run import Run
from loramix.train.shares import Share, share_out
from loramix.train.trainer import StopRequest
from loramix.train.worker import Order
from loramix.train.workers import Workers, peak_of


def train_skills(
    base: Base,
    jobs: Sequence[SkillJob],
    config: TrainConfig,
    out_dir: str | Path,
    together: bool | None = None,
    progress: Progress | None = None,
    *,
    blends: Sequence[BlendJob] = (),
    frozen: Mapping[str, Adapter] | None = None,
    memory_limit: int | None = None,
    save_seconds: float = 30.0,
) -> dict[str, TrainResult]:
    """Trains an adapter for each job on the frozen base.

    One by one, each skill has a run of its own. Together, each forward pass holds the rows that
    each skill would have had in its own run, each row trains its own adapter, and the base's
    work is shared. Both ways see the same rows in the same steps at the same rates. A run of
    several skills may be shared out among processes (`config.workers`), each of which trains
    some of them.

    Called again with the same arguments after it was killed or stopped, it goes on from the
    newest checkpoint in `out_dir`; skills that were done are not trained again.

    Args:
        base: stays as it is, which a hash proves.
        jobs: what to train.
        config: `batch_size` counts rows of each skill in one forward pass.
        out_dir: receives checkpoints, losses.json, losses.png, and each skill's adapter.
        together: all in one run; without it what the config says.
        progress: is told where the run is, about twice a second.
        blends: what these skills learn to do with each other, or with frozen ones; only together.
        frozen: adapters that take part in blends and stay as they are.
        memory_limit: bytes that training may take; without it what the machine has free.
        save_seconds: time between checkpoints.

    Returns:
        name → result, in the order of the jobs.

    Raises:
        Interrupted: Ctrl-C; a checkpoint was kept.
        ResourceError: too little memory, said before the start with the `max_length` that fits.
        DataError: a job without examples that fit.
        BaseError: the base's weights are int8.
        LoramixError: the loss is no number any more.
        StorageError: the disk does not let us.
    """
    base.require_full_weights("Training")
    as_one = config.together if together is None else together
    fixed = dict(frozen or {})
    _check_jobs(jobs, as_one)
    _check_blends(jobs, blends, fixed, as_one)
    folder = Path(out_dir).absolute()
    before = weights_hash(base.model)
    whole = Share(jobs, blends, fixed)
    shares = share_out(base, whole, config, as_one, checkpoint.shares_of(folder))
    if len(shares) == 1:  # what a run says of too little memory fits one process then
        config = config.model_copy(update={"workers": 1})
    if not as_one:
        groups = [(Share([job]), job.config or config, folder / job.name) for job in jobs]
    elif len(shares) > 1:
        parts = [folder / checkpoint.PART.format(i) for i in range(1, len(shares) + 1)]
        groups = [(share, config, part) for share, part in zip(shares, parts, strict=True)]
    else:
        groups = [(whole, config, folder)]
    results: dict[str, TrainResult] = {}
    pasts: list[dict[str, Any]] = []
    stop = StopRequest()
    checkpoint.claim(folder)
    if as_one:
        checkpoint.share(folder, [share.names for share in shares])
    again = f"run it again to go on from there: checkpoints are in {folder}"
    try:
        with stop.listening():
            # all of them first, so that data that does not fit is said before any is trained
            runs = [
                Run(
                    base,
                    *group,
                    progress=progress,
                    memory_limit=memory_limit,
                    save_seconds=save_seconds,
                )
                for group in groups
            ]
            if len(shares) > 1:
                pasts = _side_by_side(base, runs, before, stop, progress, save_seconds)
            else:
                pasts = [run.facts(stop, before) for run in runs]
    except KeyboardInterrupt:
        raise Interrupted("Stopped at once.", hint=again) from None
    if stop.wanted:
        raise Interrupted("Stopped when all was trained.", hint=again)
    if weights_hash(base.model) != before:
        raise LoramixError("The base has changed in training, which it never may: a fault of ours.")
    for run, past in zip(runs, pasts, strict=True):
        results |= run.results(past, before)
    if len(shares) > 1:
        total = peak_of(pasts)
        results = {
            name: dataclasses.replace(result, peak_rss_mb=total) for name, result in results.items()
        }
    save_curves({name: Curve.of(past) for each in pasts for name, past in each.items()}, folder)
    return {job.name: results[job.name] for job in jobs}


def _side_by_side(
    base: Base,
    runs: Sequence[Run],
    base_hash: str,
    stop: StopRequest,
    progress: Progress | None,
    save_seconds: float,
) -> list[dict[str, Any]]:
    """The pasts of runs of which a process each trains one, this process the first."""
    assert base.path is not None
    limit = runs[0].memory_limit
    each = int(room_of(base.device, limit) / len(runs))
    threads = max(1, torch.get_num_threads() // len(runs))
    orders = {
        share: Order(
            base=base.path.absolute(),
            dtype=base.dtype,
            base_hash=base_hash,
            key=run.key(base_hash),
            share=run.share,
            config=run.config,
            folder=run.folder,
            threads=threads,
            memory_limit=each,
            save_seconds=save_seconds,
        )
        for share, run in enumerate(runs)
        if share and checkpoint.finished(run.folder, run.key(base_hash)) is None
    }
    begun = [
        (
            run.steps
            if share and share not in orders
            else checkpoint.reached(run.folder, run.key(base_hash)),
            run.steps,
        )
        for share, run in enumerate(runs)
    ]
    workers = Workers(orders, begun, threads, stop, progress)
    for share, run in enumerate(runs):
        run.progress = workers.teller(share)
    with workers:
        runs[0].memory_limit = each
        pasts = [runs[0].facts(stop, base_hash)]
        workers.wait()
        # what a worker has done is found, and what none has done is done now
        for run in runs[1:]:
            run.memory_limit = limit
            pasts.append(run.facts(stop, base_hash))
    return pasts


def _check_jobs(jobs: Sequence[SkillJob], together: bool) -> None:
    names = [validate_name(job.name) for job in jobs]
    if not jobs or len(set(names)) != len(names):
        raise UsageError(
            "Training needs skills of different names.", given=", ".join(names) or "no skills"
        )
    own = [job.name for job in jobs if job.config is not None]
    if together and own and len(jobs) > 1:
        raise UsageError(
            "A skill with settings of its own cannot be trained in one run with others.",
            given=", ".join(own),
            hint="train one by one (train.together: false), or remove these settings",
        )


def _check_blends(
    jobs: Sequence[SkillJob],
    blends: Sequence[BlendJob],
    frozen: Mapping[str, Adapter],
    together: bool,
) -> None:
    if blends and not together:
        raise UsageError(
            "Skills that are trained one by one cannot learn to blend.",
            given=", ".join(blend.name for blend in blends),
            hint="train them in one run (train.together: true)",
        )
    taken = [*(job.name for job in jobs), *frozen, *(validate_name(b.name) for b in blends)]
    if len(set(taken)) != len(taken):
        raise UsageError(
            "Skills, frozen skills and blends need different names.", given=", ".join(taken)
        )
    trained = {job.name for job in jobs}
    for blend in blends:
        for example in (*blend.train, *blend.dev):
            mix = example.mix or {}
            if not mix.keys() <= trained | frozen.keys() or not mix.keys() & trained:
                raise UsageError(
                    f"An example of the blend '{blend.name}' cannot be learned.",
                    given=f"the mix {dict(mix)}",
                    expected=f"weights over {', '.join((*trained, *frozen))}, with one at least "
                    f"that is trained ({', '.join(trained)})",
                )
