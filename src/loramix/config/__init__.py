"""The YAML that describes a whole run, and its checks.

models.py     Config and its parts; the fields' descriptions are the help text
document.py   YAML text → data, and the line of each key
problems.py   what pydantic found wrong → one message with line numbers
template.py   the commented YAML of `loramix init`
"""

from __future__ import annotations

from loramix.config.load import load_config
from loramix.config.models import (
    BlendConfig,
    Config,
    EvaluationConfig,
    GateConfig,
    SkillConfig,
    SkillTraining,
    TrainConfig,
)
from loramix.config.template import template_yaml

__all__ = [
    "BlendConfig",
    "Config",
    "EvaluationConfig",
    "GateConfig",
    "SkillConfig",
    "SkillTraining",
    "TrainConfig",
    "load_config",
    "template_yaml",
]
