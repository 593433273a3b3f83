"""The commented YAML of `loramix init`: its keys, defaults and comments are those of the models."""

from __future__ import annotations

import textwrap

import yaml
from pydantic import BaseModel

from loramix.config.models import Config, EvaluationConfig, GateConfig, SkillConfig, TrainConfig

WIDTH = 98

_HEAD = """\
# A loramix run: skills on one frozen base, and the gate that chooses among them.
#   loramix train THIS_FILE          trains the skills, then the gate
#   loramix route "some prompt"      shows which skills a prompt gets
# An unknown key is an error. Relative paths start at the folder of this file.
"""

_SKILLS = """
skills:
  sentiment:                       # a name: a-z, 0-9, _ and -
    description: tells how the writer feels
    data: {builtin: sentiment, limit: 2000}
  math:
    description: works out arithmetic, percentages and equations
    data: {builtin: math_brief, limit: 2000}   # math: in people's own words, for 30,000 rows

  # Your own data: take the # off, and name your file and its columns.
  # support:
  #   description: answers questions about orders
  #   data: {path: data/support.jsonl}      # .jsonl, .json, .csv, .tsv or .parquet
  #   dev: {path: data/support_dev.jsonl}   # optional
  #   prompt: "{question}"
  #   completion: "{answers[0]}"            # the first of a list
  #   lora: {r: 16, alpha: 32, target_modules: [q_proj, v_proj]}
"""

_BLENDS = """\
# Requests that need several skills at once. A blend of skills that never saw such a request
# answers half of it; from a few hundred rows they learn to work together.
# Write them under `blends`, such as
#   summary_and_tone:
#     skills: {summarization: 0.5, sentiment: 0.5}   # a row's own column `skills` wins
#     data: {path: data/both.jsonl}                  # or {builtin: summary_and_tone}
#     prompt: "{text}"
#     completion: "{summary} Tone: {tone}"
blends: {}
"""


def template_yaml() -> str:
    """A YAML that `load_config` accepts, with every key explained."""
    top = Config.model_fields
    return "\n".join(
        [
            _HEAD,
            *_key("base", "pocket", top["base"].description, ""),
            *_key("library", "library", top["library"].description, ""),
            "",
            "# A skill's keys:",
            *(
                line
                for name, field in SkillConfig.model_fields.items()
                for line in textwrap.wrap(
                    f"{name:<12} {field.description}",
                    WIDTH - 4,
                    initial_indent="#   ",
                    subsequent_indent=f"#   {'':<13}",
                )
            ),
            _SKILLS,
            _BLENDS,
            *_section("train", TrainConfig),
            "",
            *_section("gate", GateConfig),
            "",
            *_section("evaluation", EvaluationConfig),
            "",
        ]
    )


def _section(title: str, model: type[BaseModel]) -> list[str]:
    lines = [f"{title}:"]
    for name, field in model.model_fields.items():
        lines += _key(name, field.default, field.description, "  ")
    return lines


def _key(name: str, value: object, description: str | None, indent: str) -> list[str]:
    """`name: value  # description`, the comment wrapped in its own column."""
    scalar = yaml.safe_dump(value, default_flow_style=True).splitlines()[0]
    head = f"{indent}{name}: {scalar}"
    comment = textwrap.wrap(description or "", WIDTH - 37)
    return [f"{head if i == 0 else '':<35}# {part}" for i, part in enumerate(comment)] or [head]
