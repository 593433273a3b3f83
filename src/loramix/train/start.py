"""The weights of a skill before its first step: new ones, or those that it goes on from."""

from __future__ import annotations

from loramix.adapter import Adapter, LoraModule, init_adapter
from loramix.base import Base
from loramix.errors import AdapterMismatchError
from loramix.train.jobs import SkillJob


def first_weights(base: Base, job: SkillJob, seed: int) -> Adapter:
    """What `job` starts with.

    Args:
        base: that it is trained on.
        job: the skill; with `start` it goes on from those weights.
        seed: of new weights.

    Raises:
        AdapterError: no layer of the base matches `target_modules`.
        AdapterMismatchError: `start` has other layers, ranks or scalings than `lora` says.
    """
    new = init_adapter(base, job.lora, seed)
    if job.start is None:
        return new
    wanted, given = (
        {path: _form(module) for path, module in adapter.modules.items()}
        for adapter in (new, job.start)
    )
    unlike = sorted(path for path in {*wanted, *given} if wanted.get(path) != given.get(path))
    if unlike:
        path = unlike[0]
        raise AdapterMismatchError(
            f"The skill '{job.name}' cannot go on from that adapter, which is another LoRA.",
            given=f"{path}: {given.get(path, 'not there')}",
            expected=wanted.get(path, "not there"),
            hint="train it with the adapter's own LoRA settings, or start anew",
        )
    return Adapter({path: job.start.modules[path] for path in new.modules}, new.config)


def _form(module: LoraModule) -> str:
    """What must agree for weights to fit."""
    a, b = list(module.A.shape), list(module.B.shape)
    return f"A {a}, B {b}, scaling {module.scaling:g}"
