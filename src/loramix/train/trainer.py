"""transformers' Trainer around the mixed forward: its loop, its checkpoints, our steps.

One item of its data loader is one optimizer step with all its forward passes, so that gradients
accumulate over exactly the tokens that the loss is the mean of. Each skill has its own parameter
group, learning rate schedule, gradient clipping and early stopping: nothing of one skill reaches
another, except that they share the base's forward pass.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from loramix.data.batches import TokenRow
from loramix.storage import storage_errors
from loramix.train.batches import EXACT, Batch, Grid, build_batches
from loramix.train.checkpoint import COMPLETE, seal
from loramix.train.history import SkillHistory
from loramix.train.jobs import Progress, TrainProgress
from loramix.train.module import TrainModule, per_token
from loramix.train.schedule import Schedule, completion_tokens

WEIGHTS, HISTORY = "adapters.safetensors", "history.json"
MAX_NORM = 1.0  # of one skill's gradient
_FLUSH_SECONDS = 0.5  # between two reports, so that reading losses costs no GPU pauses


@dataclass(frozen=True)
class Step:
    """One optimizer step: its forward passes, and what each skill's loss is the mean of."""

    batches: list[Batch]
    learned: dict[str, int]


class Steps(Dataset[Step]):
    """The steps of a run. Batches are built when asked for, so a stopped skill leaves them.

    Args:
        schedules: what each skill learns in each step.
        histories: by name; they tell which skills have stopped, and a blend's has no parameters.
        pad_id: fills up rows.
        cost: of a pass, see `split`.
        shapes: what the passes are rounded up to.
    """

    def __init__(
        self,
        schedules: Sequence[Schedule],
        histories: dict[str, SkillHistory],
        pad_id: int,
        cost: int,
        shapes: Grid = EXACT,
    ) -> None:
        self.schedules, self.histories = schedules, histories
        self._pad_id, self._cost, self._shapes = pad_id, cost, shapes

    def __len__(self) -> int:
        return max(map(len, self.schedules))

    @property
    def skills(self) -> list[Schedule]:
        """Those that have parameters of their own."""
        return [s for s in self.schedules if self.histories[s.name].params]

    def active(self, step: int) -> list[Schedule]:
        """The schedules that learn in a step."""
        return [s for s in self.schedules if step < len(s) and not self.histories[s.name].stopped]

    def __getitem__(self, step: int) -> Step:
        active = self.active(step) or self.schedules[:1]
        batches = []
        for micro in range(max(len(s.steps[step]) for s in active if step < len(s))):
            rows = {
                s.name: [s.rows[i] for i in s.steps[step][micro]]
                for s in active
                if step < len(s) and micro < len(s.steps[step])
            }
            batches += build_batches(rows, self._pad_id, self._cost, self._shapes)
        return Step(batches, {s.name: s.learned(step) for s in active if step < len(s)})


class StopRequest:
    """Turns the first Ctrl-C into a wish that the loop sees between two steps.

    The second one stops at once, as Ctrl-C always did.
    """

    wanted = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listens while the block runs, where the process lets us (its main thread only)."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def stop(number: int, frame: Any) -> None:
            self.wanted = True
            signal.signal(signal.SIGINT, before)

        signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


class SkillTrainer(Trainer):
    """Trains the skills of one run.

    Args:
        module: the mixed base; its trainable skills are those of `steps`.
        steps: what to learn.
        dev: skill → its held-out rows.
        folder: where checkpoints go.
        groups: skill → its parameters, as groups for the optimizer with their highest rates.
        eval_every: steps between looks at the dev rows.
        save_seconds: time between checkpoints.
        seed: of dropout.
        pad_id: fills up rows.
        stop: whether the user wants to stop.
        progress: is told where the run is, about twice a second.
    """

    def __init__(
        self,
        module: TrainModule,
        steps: Steps,
        dev: dict[str, Sequence[TokenRow]],
        folder: Path,
        *,
        groups: Mapping[str, Sequence[dict[str, Any]]],
        eval_every: int,
        save_seconds: float,
        seed: int,
        pad_id: int,
        stop: StopRequest,
        progress: Progress | None,
    ) -> None:
        args = TrainingArguments(
            output_dir=str(folder),
            max_steps=len(steps),
            per_device_train_batch_size=1,
            max_grad_norm=0.0,
            logging_strategy="no",
            logging_nan_inf_filter=False,
            eval_strategy="no",
            save_strategy="no",
            save_total_limit=2,
            report_to=[],
            disable_tqdm=True,
            use_cpu=module.device.type == "cpu",
            dataloader_pin_memory=False,
            remove_unused_columns=False,
            seed=seed,
        )
        self.module, self.folder, self.stop = module, folder, stop
        self.steps, self.histories, self._groups = steps, steps.histories, groups
        self.seconds, self._started = 0.0, time.monotonic()
        self._report = progress
        self._pending: list[dict[str, torch.Tensor]] = []
        self._dev = {
            name: _dev_batches(name, rows, pad_id, steps) for name, rows in dev.items() if rows
        }
        keeper = _Keeper(self, eval_every, save_seconds, stop)
        super().__init__(module, args, train_dataset=steps, callbacks=[keeper])
        self.remove_callback(PrinterCallback)  # it would print to stdout

    def get_train_dataloader(self) -> DataLoader[Any]:
        """One step at a time, in this process, and just in time."""
        return DataLoader(self.steps, batch_size=1, collate_fn=_single, num_workers=0)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW over the groups of all skills; no weight decay, as usual for LoRA."""
        groups = [dict(group) for s in self.steps.skills for group in self._groups[s.name]]
        self.optimizer = self.groups = torch.optim.AdamW(groups, weight_decay=0.0, fused=True)
        return self.groups

    def create_scheduler(
        self, num_training_steps: int, optimizer: Any = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Each skill's own warm-up and decay."""
        rates: list[Callable[[int], float]] = [
            s.rate for s in self.steps.skills for _ in self._groups[s.name]
        ]
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(self.groups, rates)
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Forward and backward of all passes of one step.

        The loss of a lesson is the mean over its completion tokens in the whole step; the sum
        over lessons is differentiated: skills have disjoint parameters, a blend has theirs.
        """
        step: Step = inputs["step"]
        model.train()
        total = torch.zeros((), device=self.args.device)
        losses: dict[str, torch.Tensor] = {}
        for batch in step.batches:
            moved = batch.to(self.args.device)
            means = per_token(model(moved), [step.learned[name] for name in batch.names])
            self.accelerator.backward(means.sum())
            for name, mean, tokens in zip(batch.names, means.detach(), batch.tokens, strict=True):
                losses[name] = losses[name] + mean if name in losses else mean
                self.histories[name].tokens += tokens
            total += means.detach().sum()
        self._pending.append(losses)
        return total

    def flush(self) -> None:
        """Reads the losses of the last steps, and says where the run is."""
        for losses in self._pending:
            for name, loss in losses.items():
                self.histories[name].learned(float(loss))
        self._pending.clear()
        if self._report is None:
            return
        past = self.histories
        self._report(
            TrainProgress(
                skills=tuple(s.name for s in self.steps.active(self.state.global_step)),
                step=self.state.global_step,
                total=len(self.steps),
                losses={name: h.losses[-1] for name, h in past.items() if h.losses},
                dev_losses={name: h.dev_losses[-1][1] for name, h in past.items() if h.dev_losses},
                tokens=sum(history.tokens for history in past.values()),
                seconds=self.elapsed,
            )
        )

    @property
    def elapsed(self) -> float:
        """Seconds of training, earlier parts of a resumed run included."""
        return self.seconds + time.monotonic() - self._started

    @torch.no_grad()
    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Mean dev loss of each skill that still learns; may stop skills, and the run."""
        model, step = self.module, self.state.global_step
        metrics: dict[str, float] = {}
        self.control.should_evaluate = False  # else the Trainer looks again when the epoch ends
        model.train(False)
        for schedule in self.steps.active(step - 1):
            if schedule.name not in self._dev:
                continue
            batches, count = self._dev[schedule.name]
            total = 0.0
            for batch in batches:
                if self.stop.wanted:  # the look is left out; the weights are not
                    self.control.should_save = self.control.should_training_stop = True
                    return metrics
                total += float(model(batch.to(self.args.device)).sum())
            self.histories[schedule.name].looked(step, total / max(1, count))
            metrics[f"eval_{schedule.name}_loss"] = total / max(1, count)
        if not self.steps.active(step):
            self.control.should_training_stop = True
        return metrics

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The adapters and their past; the frozen base is not written."""
        self.flush()
        folder = Path(output_dir or self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / COMPLETE).unlink(missing_ok=True)
        tensors: dict[str, torch.Tensor] = {}
        for history in self.histories.values():
            tensors |= history.tensors()
        save_file({key: t.contiguous() for key, t in tensors.items()}, folder / WEIGHTS)
        skills = {name: history.state() for name, history in self.histories.items()}
        text = json.dumps({"seconds": self.elapsed, "skills": skills})
        (folder / HISTORY).write_text(text, encoding="utf-8")

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        folder = self.folder / f"checkpoint-{self.state.global_step}"
        with storage_errors("saving a checkpoint", folder):
            super()._save_checkpoint(*args, **kwargs)
            seal(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        kept = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
        self.seconds = float(kept["seconds"])
        for name, history in self.histories.items():
            history.restore(kept["skills"][name], tensors)


class _Keeper(TrainerCallback):
    """What happens between two steps: clipping, looks at the dev rows, checkpoints, stopping."""

    def __init__(
        self, trainer: SkillTrainer, eval_every: int, save_seconds: float, stop: StopRequest
    ) -> None:
        self._trainer, self._every, self._stop = trainer, eval_every, stop
        self._save_seconds = save_seconds
        self._saved = self._flushed = time.monotonic()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Clips each skill by itself, so that one with large gradients does not slow the rest."""
        for schedule in self._trainer.steps.active(state.global_step):
            if params := self._trainer.histories[schedule.name].params:
                torch.nn.utils.clip_grad_norm_(params, MAX_NORM)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Decides what the Trainer does next."""
        step, now = state.global_step, time.monotonic()
        learning = self._trainer.steps.active(step - 1)
        ends = any(len(schedule) == step for schedule in learning)
        control.should_evaluate = ends or step % self._every == 0
        if control.should_evaluate or now - self._flushed >= _FLUSH_SECONDS:
            self._trainer.flush()
            self._flushed = now
        if self._stop.wanted or now - self._saved >= self._save_seconds:
            control.should_save = True
            self._saved = now
        if self._stop.wanted:
            control.should_evaluate = False
            control.should_training_stop = True


def _single(items: list[Step]) -> dict[str, Step]:
    """The one step of a loader's batch; in a dict, where the Trainer looks for known keys."""
    return {"step": items[0]}


def _dev_batches(
    name: str, rows: Sequence[TokenRow], pad_id: int, steps: Steps
) -> tuple[list[Batch], int]:
    """Dev rows in batches of like length, and how many completion tokens they have."""
    ordered = sorted(rows, key=len)
    size = max(len(s.steps[0][0]) for s in steps.skills) * 2  # no gradients: room for more
    batches = [
        batch
        for i in range(0, len(ordered), size)
        for batch in build_batches({name: ordered[i : i + size]}, pad_id)
    ]
    return batches, sum(map(completion_tokens, rows))
