"""One run: one or several skills that share their forward passes, until their adapters stand."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import logging
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from loramix import __version__
from loramix.adapter import Adapter, read_adapter, write_adapter
from loramix.base import Base, device_failed, encode_example
from loramix.config import TrainConfig
from loramix.data.batches import TokenRow, encode_examples
from loramix.data.example import Example
from loramix.errors import Interrupted, ResourceError
from loramix.mixed import MixedModel
from loramix.train import checkpoint
from loramix.train.batches import grid, pass_cost
from loramix.train.history import SkillHistory
from loramix.train.jobs import BlendJob, Progress, SkillJob, TrainResult
from loramix.train.memory import check_memory, measure
from loramix.train.module import TrainModule
from loramix.train.room import files_rss_mb, peak_rss_mb, room_of
from loramix.train.schedule import Schedule, plan, plan_blend, seed_of
from loramix.train.shares import Share
from loramix.train.start import first_weights
from loramix.train.trainer import SkillTrainer, Steps, StopRequest

MOST_DEV = 200
"""Dev examples looked at while training: enough to see a loss fall, few enough to be cheap."""

log = logging.getLogger(__name__)


def fast_in_bf16(device: torch.device) -> bool:
    """Whether a device multiplies in bfloat16 natively, which is hardly ever slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device.type != "cpu":
        return False
    # Newer releases of torch tell; where none does, float32 is the safe choice.
    questions = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, bool)() for name in questions)


class Run:
    """One run: one or several skills that share their forward passes, and their blends.

    Args:
        base: as for `train_skills`, like all that follows.
        share: the skills and their blends.
        config: how they are trained.
        folder: of this run alone.
        progress: is told where the run is.
        memory_limit: bytes that it may take.
        save_seconds: time between checkpoints.

    Attributes:
        share: as given.
        progress, memory_limit: as given; until it begins they may be others.

    Raises:
        DataError: a job without examples that fit.
    """

    def __init__(
        self,
        base: Base,
        share: Share,
        config: TrainConfig,
        folder: Path,
        *,
        progress: Progress | None = None,
        memory_limit: int | None = None,
        save_seconds: float = 30.0,
    ) -> None:
        self.base, self.share, self.config, self.folder = base, share, config, folder
        self._frozen = dict(share.frozen or {})
        self.progress, self.memory_limit, self._save_seconds = progress, memory_limit, save_seconds
        length = min(config.max_length or base.max_length, base.max_length)
        self._schedules: list[Schedule] = []
        self._dev: dict[str, Sequence[TokenRow]] = {}
        for job in share.jobs:
            rows = self._encode(job.train, length, job.name)
            self._schedules.append(plan(job.name, rows, config))
        spans = {schedule.name: len(schedule) for schedule in self._schedules}
        self._blended: set[str] = set()
        for blend in share.blends:
            rows = self._encode(blend.train, length, blend.name)
            self._schedules.append(plan_blend(blend.name, rows, config, spans))
            self._blended.update(*(row.mix or {} for row in rows))
        lessons: list[SkillJob | BlendJob] = [*share.jobs, *share.blends]
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
        key = self.key(base_hash)
        facts = checkpoint.finished(self.folder, key)
        if facts is None:
            facts = self._train(stop, key)
            checkpoint.finish(self.folder, facts)
        return facts

    def results(self, facts: Mapping[str, Any], base_hash: str) -> dict[str, TrainResult]:
        """The trained skills."""
        return {
            job.name: _result(facts[job.name], read_adapter(self._place(job), self.base), base_hash)
            for job in self.share.jobs
        }

    def _place(self, job: SkillJob) -> Path:
        return self.folder / checkpoint.ADAPTERS / job.name

    @property
    def steps(self) -> int:
        """Optimizer steps, if no skill stops early."""
        return max(map(len, self._schedules))

    def key(self, base_hash: str) -> str:
        """sha256 of everything that decides what it computes."""
        data = hashlib.sha256()
        for rows in [*(s.rows for s in self._schedules), *self._dev.values()]:
            data.update(repr([(row.input_ids, row.labels, row.mix) for row in rows]).encode())
        given = [job.start for job in self.share.jobs if job.start is not None]
        for adapter in (*self._frozen.values(), *given):
            for path, module in sorted(adapter.modules.items()):
                data.update(path.encode())
                for matrix in (module.A, module.B):
                    data.update(matrix.detach().float().cpu().numpy().tobytes())
        return checkpoint.key_of(
            {
                "version": __version__,
                "base": base_hash,
                "config": self.config.model_dump(exclude={"together", "workers"}),
                "skills": {job.name: job.lora.to_config() for job in self.share.jobs},
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
        # torch's library reads it at its first product. The machine code for 1024 shapes, which it
        # would keep, takes 90 MB more on pocket and saves no time.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
        mixed = MixedModel(base.model)
        for job in self.share.jobs:
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
            noise_alpha=config.neftune_noise_alpha,
            room=room_of(base.model.device, self.memory_limit),
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
                groups={job.name: self._groups(mixed, job.name) for job in self.share.jobs},
                eval_every=config.eval_every,
                save_seconds=self._save_seconds,
                seed=config.seed,
                pad_id=base.pad_id,
                stop=stop,
                progress=self.progress,
            )
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
            if stop.wanted:
                raise Interrupted(
                    f"Stopped after step {trainer.state.global_step} of {len(steps)}.",
                    hint=f"run it again to go on from there: a checkpoint is in {self.folder}",
                )
            trainer.flush()
            for job in self.share.jobs:
                if job.name not in self._blended:
                    histories[job.name].restore_best()
                write_adapter(_on_cpu(mixed.adapter(job.name)), self._place(job))
            return {
                name: {
                    **history.state(),
                    "seconds": trainer.elapsed,
                    "peak_rss_mb": peak_rss_mb(),
                    "files_rss_mb": files_rss_mb(),
                    "process": os.getpid(),
                }
                for name, history in histories.items()
            }
        finally:
            module.close()

    def _groups(self, mixed: MixedModel, name: str) -> list[dict[str, Any]]:
        """A and B of one skill with their highest rates (LoRA+, arXiv 2402.12354, section 4)."""
        a, b = mixed.factors_of(name)
        rate = self.config.lr
        return [
            {"params": a, "lr": rate},
            {"params": b, "lr": rate * self.config.loraplus_lr_ratio},
        ]

    def _histories(self, mixed: MixedModel) -> dict[str, SkillHistory]:
        """The past of each lesson, still empty."""
        own = {job.name: mixed.parameters_of(job.name) for job in self.share.jobs}
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
        ways += ["together: false"] if len(self.share.jobs) > 1 else []
        ways += ["train.workers: 1"] if self.config.workers != 1 else []
        room = room_of(module.device, self.memory_limit)
        room -= 0 if self.memory_limit is None else module.widened
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
