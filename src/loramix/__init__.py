"""One frozen language model, many LoRA skills: train, route, blend and measure them.

    from loramix import Library, MixedModel, load_base

Names load their modules when they are first used, so that `import loramix` and
`loramix --help` cost nothing: no torch, no transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from loramix.adapter import Adapter as Adapter
    from loramix.adapter import LoraSettings as LoraSettings
    from loramix.adapter import blend_adapter as blend_adapter
    from loramix.adapter import init_adapter as init_adapter
    from loramix.adapter import read_adapter as read_adapter
    from loramix.adapter import write_adapter as write_adapter
    from loramix.base import Base as Base
    from loramix.base import load_base as load_base
    from loramix.config import Config as Config
    from loramix.config import load_config as load_config
    from loramix.data import Example as Example
    from loramix.data import load_examples as load_examples
    from loramix.engine import Engine as Engine
    from loramix.engine import Limits as Limits
    from loramix.engine import Request as Request
    from loramix.errors import LoramixError as LoramixError
    from loramix.gate import make_router as make_router
    from loramix.gate import route as route
    from loramix.generate import Completion as Completion
    from loramix.generate import Sampling as Sampling
    from loramix.library import Library as Library
    from loramix.library import Skill as Skill
    from loramix.library import SkillCard as SkillCard
    from loramix.merge import merge_adapters as merge_adapters
    from loramix.mix import Mix as Mix
    from loramix.mix import Policy as Policy
    from loramix.mixed import MixedModel as MixedModel
    from loramix.train import SkillJob as SkillJob
    from loramix.train import TrainResult as TrainResult
    from loramix.train import train_skills as train_skills

_HOMES = {
    "loramix.adapter": (
        "Adapter", "LoraSettings", "blend_adapter", "init_adapter", "read_adapter", "write_adapter",
    ),
    "loramix.base": ("Base", "load_base"),
    "loramix.config": ("Config", "load_config"),
    "loramix.data": ("Example", "load_examples"),
    "loramix.engine": ("Engine", "Limits", "Request"),
    "loramix.errors": ("LoramixError",),
    "loramix.gate": ("make_router", "route"),
    "loramix.generate": ("Completion", "Sampling"),
    "loramix.library": ("Library", "Skill", "SkillCard"),
    "loramix.merge": ("merge_adapters",),
    "loramix.mix": ("Mix", "Policy"),
    "loramix.mixed": ("MixedModel",),
    "loramix.train": ("SkillJob", "TrainResult", "train_skills"),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME_OF)]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'loramix' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
