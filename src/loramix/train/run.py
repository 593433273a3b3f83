"""train_skills: the whole of it, one skill after another or all in one run."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import logging
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from loramix import __version__
from loramix.adapter import Adapter, read_adapter, write_adapter
from loramix.base import Base, device_failed, encode_example, weights_hash
from loramix.config import TrainConfig
from loramix.data.batches import TokenRow, encode_examples
from loramix.data.example import Example
from loramix.errors import Interrupted, LoramixError, ResourceError, UsageError
from loramix.manifest import validate_name
from loramix.mixed import MixedModel
from loramix.train import checkpoint
from loramix.train.batches import grid, pass_cost
from loramix.train.curves import Curve, save_curves
from loramix.train.history import SkillHistory
from loramix.train.jobs import BlendJob, Progress, SkillJob, TrainResult
from loramix.train.memory import check_memory, measure, peak_rss_mb, room_of
from loramix.train.module import TrainModule
from loramix.train.schedule import Schedule, plan, plan_blend, seed_of
from loramix.train.start import first_weights
from loramix.train.trainer import SkillTrainer, Steps, StopRequest

MOST_DEV = 200
"""Dev examples looked at while training: enough to see a loss fall, few enough to be cheap."""

log = logging.getLogger(__name__)


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
    work is shared. Both ways see the same rows in the same steps at the same rates.

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
    folder = Path(out_dir)
    before = weights_hash(base.model)
    results: dict[str, TrainResult] = {}
    stop = StopRequest()
    if as_one:
        groups = [(jobs, config, folder)]
    else:
        groups = [([job], job.config or config, folder / job.name) for job in jobs]
    checkpoint.claim(folder)
    again = f"run it again to go on from the latest checkpoint in {folder}"
    try:
        with stop.listening():
            # all of them first, so that data that does not fit is said before the first is trained
            runs = [
                _Run(base, *group, blends, fixed, progress, memory_limit, save_seconds)
                for group in groups
            ]
            curves: dict[str, Curve] = {}
            for run in runs:
                facts = run.facts(stop, before)
                results |= run.results(facts, before)
                curves |= {name: Curve.of(past) for name, past in facts.items()}
    except KeyboardInterrupt:
        raise Interrupted("Stopped at once.", hint=again) from None
    if stop.wanted:
        raise Interrupted("Stopped when all was trained.", hint=again)
    if weights_hash(base.model) != before:
        raise LoramixError("The base has changed in training, which it never may: a fault of ours.")
    save_curves(curves, folder)
    return results


def fast_in_bf16(device: torch.device) -> bool:
    """Whether a device multiplies in bfloat16 natively, which is hardly ever slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device.type != "cpu":
        return False
    # Newer releases of torch tell; where none does, float32 is the safe choice.
    questions = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, bool)() for name in questions)


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


class _Run:
    """One run: one or several skills that share their forward passes, and their blends."""

    def __init__(
        self,
        base: Base,
        jobs: Sequence[SkillJob],
        config: TrainConfig,
        folder: Path,
        blends: Sequence[BlendJob],
        frozen: Mapping[str, Adapter],
        progress: Progress | None,
        memory_limit: int | None,
        save_seconds: float,
    ) -> None:
        self.base, self.jobs, self.config, self.folder = base, jobs, config, folder
        self._frozen = frozen
        self._progress, self._limit, self._save_seconds = progress, memory_limit, save_seconds
        length = min(config.max_length or base.max_length, base.max_length)
        self._schedules: list[Schedule] = []
        self._dev: dict[str, Sequence[TokenRow]] = {}
        for job in jobs:
            rows = self._encode(job.train, length, job.name)
            self._schedules.append(plan(job.name, rows, config))
        spans = {schedule.name: len(schedule) for schedule in self._schedules}
        self._blended: set[str] = set()
        for blend in blends:
            rows = self._encode(blend.train, length, blend.name)
            self._schedules.append(plan_blend(blend.name, rows, config, spans))
            self._blended.update(*(row.mix or {} for row in rows))
        lessons: list[SkillJob | BlendJob] = [*jobs, *blends]
        for lesson in lessons:
            few = list(lesson.dev)
            if len(few) > MOST_DEV:
                few = random.Random(config.seed).sample(few, MOST_DEV)
            dev = self._encode(few, length, f"{lesson.name} (dev)") if few else []
            self._dev[lesson.name] = dev

    def _encode(self, examples: Sequence[Example], length: int, name: str) -> list[TokenRow]:
        def encode(example: Example) -> tuple[list[int], list[int]]:
            return encode_example(self.base, example.prompt, example.completion)

        return encode_examples(examples, encode, length, name=name).rows

    def facts(self, stop: StopRequest, base_hash: str) -> dict[str, Any]:
        """Trains, or reads what this very run has made before; the past of each lesson."""
        key = self._key(base_hash)
        facts = checkpoint.finished(self.folder, key)
        if facts is None:
            facts = self._train(stop, key)
            checkpoint.finish(self.folder, facts)
        return facts

    def results(self, facts: Mapping[str, Any], base_hash: str) -> dict[str, TrainResult]:
        """The trained skills."""
        return {
            job.name: _result(facts[job.name], read_adapter(self._place(job), self.base), base_hash)
            for job in self.jobs
        }

    def _place(self, job: SkillJob) -> Path:
        return self.folder / checkpoint.ADAPTERS / job.name

    def _key(self, base_hash: str) -> str:
        data = hashlib.sha256()
        for rows in [*(s.rows for s in self._schedules), *self._dev.values()]:
            data.update(repr([(row.input_ids, row.labels, row.mix) for row in rows]).encode())
        given = [job.start for job in self.jobs if job.start is not None]
        for adapter in (*self._frozen.values(), *given):
            for path, module in sorted(adapter.modules.items()):
                data.update(path.encode())
                for matrix in (module.A, module.B):
                    data.update(matrix.detach().float().cpu().numpy().tobytes())
        return checkpoint.key_of(
            {
                "version": __version__,
                "base": base_hash,
                "config": self.config.model_dump(exclude={"together"}),
                "skills": {job.name: job.lora.to_config() for job in self.jobs},
                "data": data.hexdigest(),
            }
        )

    def _train(self, stop: StopRequest, key: str) -> dict[str, Any]:
        while True:
            resume = checkpoint.open_run(self.folder, key)
            try:
                return self._attempt(stop, resume)
            except RuntimeError as error:
                if self.base.device.type == "cpu" and "can't allocate memory" in str(error):
                    raise ResourceError(
                        "The memory ran out in training.",
                        hint="use a smaller batch_size or max_length, or gradient_checkpointing",
                    ) from error
                if self.base.device.type == "cpu" or not device_failed(error):
                    raise
                failed = error
            # Out of the except block, whose traceback would keep the device's memory in use.
            failed.__traceback__ = None
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.base.to_cpu(failed)

    def _attempt(self, stop: StopRequest, resume: Path | None) -> dict[str, Any]:
        base, config = self.base, self.config
        mixed = MixedModel(base.model)
        for job in self.jobs:
            first = first_weights(base, job, seed_of(job.name, config.seed))
            mixed.add(job.name, first, trainable=True)
        for name, adapter in self._frozen.items():
            mixed.add(name, adapter)
        wants_bf16 = fast_in_bf16(base.model.device) if config.bf16 == "auto" else config.bf16
        module = TrainModule(
            mixed,
            bf16=wants_bf16,
            checkpointing=config.gradient_checkpointing,
            longest=max(len(row) for s in self._schedules for row in s.rows),
            pad_id=base.pad_id,
        )
        try:
            self._check_memory(module)
            histories = self._histories(mixed)
            half = wants_bf16 or base.model.dtype != torch.float32
            shapes = grid(module.device, half, base.max_length)
            steps = Steps(self._schedules, histories, base.pad_id, pass_cost(module.device), shapes)
            trainer = SkillTrainer(
                module,
                steps,
                self._dev,
                self.folder,
                lrs=dict.fromkeys(histories, config.lr),
                eval_every=config.eval_every,
                save_seconds=self._save_seconds,
                seed=config.seed,
                pad_id=base.pad_id,
                stop=stop,
                progress=self._progress,
            )
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
            if stop.wanted:
                raise Interrupted(
                    f"Stopped after step {trainer.state.global_step} of {len(steps)}.",
                    hint=f"run it again to go on from there: a checkpoint is in {self.folder}",
                )
            trainer.flush()
            for job in self.jobs:
                if job.name not in self._blended:
                    histories[job.name].restore_best()
                write_adapter(_on_cpu(mixed.adapter(job.name)), self._place(job))
            return {
                name: {
                    **history.state(),
                    "seconds": trainer.elapsed,
                    "peak_rss_mb": peak_rss_mb(),
                }
                for name, history in histories.items()
            }
        finally:
            module.close()

    def _histories(self, mixed: MixedModel) -> dict[str, SkillHistory]:
        """The past of each lesson, still empty."""
        own = {job.name: mixed.parameters_of(job.name) for job in self.jobs}
        return {
            s.name: SkillHistory(
                s.name,
                own.get(s.name, []),
                self.config.patience if s.name in own and s.name not in self._blended else 0,
            )
            for s in self._schedules
        }

    def _check_memory(self, module: TrainModule) -> None:
        module.train()
        need = measure(module, self.config.gradient_checkpointing)
        ways = [] if self.config.gradient_checkpointing else ["gradient_checkpointing: true"]
        ways += ["together: false"] if len(self.jobs) > 1 else []
        room = room_of(module.device, self._limit)
        peak = check_memory(need, self._schedules, room, pass_cost(module.device), more_ways=ways)
        log.info("training will need about %.0f MiB of %.0f free", peak / 2**20, room / 2**20)


def _on_cpu(adapter: Adapter) -> Adapter:
    modules = {
        path: dataclasses.replace(module, A=module.A.cpu(), B=module.B.cpu())
        for path, module in adapter.modules.items()
    }
    return Adapter(modules, adapter.config)


def _result(facts: dict[str, Any], adapter: Adapter, base_hash: str) -> TrainResult:
    return TrainResult(
        adapter=adapter,
        losses=tuple(facts["losses"]),
        dev_losses=tuple((int(step), float(loss)) for step, loss in facts["dev_losses"]),
        best_step=facts["best_step"],
        stopped_early=facts["stopped"],
        steps=len(facts["losses"]),
        tokens=facts["tokens"],
        seconds=facts["seconds"],
        peak_rss_mb=facts["peak_rss_mb"],
        base_hash=base_hash,
    )
