"""`adapter_config.json`: what PEFT writes there, what it means, and what loramix refuses.

Rules follow PEFT's `check_target_module_exists` (which modules an adapter covers),
`get_pattern_key` (which pattern gives a module its rank or alpha) and `LoraLayer.update_layer`
(the scaling). Nothing here needs torch or peft, so a config is judged in milliseconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from loramix.errors import AdapterError, UnsupportedAdapterError

Config = dict[str, Any]

ALL_LINEAR = "all-linear"

# Setting → the name of the method that it switches on. Anything but null, false or empty refuses.
_REFUSED = {
    "use_dora": "DoRA (use_dora)",
    "alora_invocation_tokens": "aLoRA (alora_invocation_tokens)",
    "trainable_token_indices": "trained tokens (trainable_token_indices)",
    "modules_to_save": "saved heads or other whole modules (modules_to_save)",
    "lora_bias": "trained biases (lora_bias)",
    "use_bdlora": "BD-LoRA (use_bdlora)",
    "use_qalora": "QA-LoRA (use_qalora)",
    "target_parameters": "LoRA on bare parameters (target_parameters)",
    "layer_replication": "replicated layers (layer_replication)",
    "arrow_config": "Arrow routing (arrow_config)",
    "megatron_config": "Megatron layers (megatron_config)",
    "velora_config": "VeLoRA (velora_config)",
    "monteclora_config": "MonteCLoRA (monteclora_config)",
    "kasa_config": "KaSA (kasa_config)",
}
# Most of these write into the base's weights before they train, so that their A and B mean
# nothing on the base as it was. (EVA, Gaussian and orthogonal starts leave the base alone.)
_REFUSED_STARTS = ("pissa", "olora", "corda", "loftq", "lora_ga", "mica")
# All that a plain LoRA config may hold. A setting outside is one of a newer PEFT, and is refused
# when it is switched on, since ignoring it could change what the adapter computes.
_PLAIN = frozenset(
    (
        *("alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "corda_config"),
        *("ensure_weight_tying", "eva_config", "exclude_modules", "fan_in_fan_out"),
        *("inference_mode", "init_lora_weights", "layers_pattern", "layers_to_transform"),
        *("loftq_config", "lora_alpha", "lora_dropout", "lora_ga_config", "megatron_core"),
        *("peft_type", "peft_version", "qalora_group_size", "r", "rank_pattern", "revision"),
        *("runtime_config", "target_modules", "task_type", "use_rslora"),
    )
)


class LoraSettings(BaseModel):
    """How a new LoRA is shaped; the words are PEFT's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    r: int = Field(16, ge=1, le=4096, description="rank of A and B")
    alpha: float = Field(32.0, gt=0, description="scaling is alpha / r, or alpha / sqrt(r)")
    target_modules: tuple[str, ...] | str = Field(
        ("q_proj", "v_proj"),
        description="names of the layers to adapt, or one pattern for their whole paths; "
        "embed_tokens is the token embeddings",
    )
    use_rslora: bool = Field(False, description="scale by alpha / sqrt(r) (rsLoRA)")
    rank_pattern: dict[str, int] = Field(
        default_factory=dict, description="layer pattern → its own rank"
    )
    alpha_pattern: dict[str, float] = Field(
        default_factory=dict, description="layer pattern → its own alpha"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before A while training")

    @field_validator("target_modules")
    @classmethod
    def _not_empty(cls, value: tuple[str, ...] | str) -> tuple[str, ...] | str:
        if not value or not all(value):
            raise ValueError("target_modules is empty; name at least one layer, such as q_proj")
        return value

    @field_validator("rank_pattern")
    @classmethod
    def _positive_ranks(cls, value: dict[str, int]) -> dict[str, int]:
        if any(rank < 1 for rank in value.values()):
            raise ValueError("every rank of rank_pattern must be at least 1")
        return value

    @classmethod
    def of(cls, config: Config) -> LoraSettings:
        """The shape that a config says; what `to_config` wrote comes back."""
        return cls(
            r=config.get("r", 8),
            alpha=config.get("lora_alpha", 8),
            target_modules=config["target_modules"],
            use_rslora=bool(config.get("use_rslora")),
            rank_pattern=config.get("rank_pattern") or {},
            alpha_pattern=config.get("alpha_pattern") or {},
            dropout=config.get("lora_dropout") or 0.0,
        )

    def to_config(self) -> Config:
        """The same as PEFT writes it."""
        targets = self.target_modules
        return {
            **plain_config(self.r, self.alpha),
            "target_modules": targets if isinstance(targets, str) else list(targets),
            "use_rslora": self.use_rslora,
            "rank_pattern": dict(self.rank_pattern),
            "alpha_pattern": dict(self.alpha_pattern),
            "lora_dropout": self.dropout,
        }


def plain_config(r: int, alpha: float) -> Config:
    """A plain LoRA's config with all that PEFT needs, `target_modules` still to be set."""
    return {
        "alpha_pattern": {},
        "base_model_name_or_path": None,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": tidy(alpha),
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": r,
        "rank_pattern": {},
        "target_modules": None,
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }


def tidy(number: float) -> float:
    """32 for 32.0: other tools read alpha as an integer where it is one."""
    return int(number) if number == int(number) else number


def check_config(config: Config) -> Config:
    """Checks that a config is one of a plain LoRA for a causal LM.

    Raises:
        UnsupportedAdapterError: names the method that loramix does not run.
        AdapterError: a value that makes no sense.
    """
    _refuse(config)
    problems = [
        (_is_rank(config.get("r", 8)), "r", "a whole number above 0"),
        (_is_number(config.get("lora_alpha", 8)), "lora_alpha", "a number"),
        (_is_number(config.get("lora_dropout") or 0), "lora_dropout", "a number"),
        (_is_pattern(config.get("rank_pattern"), _is_rank), "rank_pattern", "pattern → rank"),
        (_is_pattern(config.get("alpha_pattern"), _is_number), "alpha_pattern", "pattern → alpha"),
        (_is_targets(config.get("target_modules")), "target_modules", "names, or one pattern"),
        (_is_targets(config.get("exclude_modules")), "exclude_modules", "names, or one pattern"),
        (_is_targets(config.get("layers_pattern")), "layers_pattern", "names, or one pattern"),
        (_is_layers(config.get("layers_to_transform")), "layers_to_transform", "layer numbers"),
    ]
    for good, key, expected in problems:
        if not good:
            raise AdapterError(
                f"The adapter's {key} makes no sense.",
                given=repr(config.get(key)),
                expected=expected,
            )
    return config


def _refuse(config: Config) -> None:
    peft_type = config.get("peft_type")
    if peft_type != "LORA":
        raise _unsupported(f"method {peft_type}" if peft_type else "a config without peft_type")
    for key, method in _REFUSED.items():
        # `[]` switches aLoRA and trained tokens on in name only; `{}` is a BD-LoRA of defaults.
        value = config.get(key)
        if value or (key == "use_bdlora" and value is not None and value is not False):
            raise _unsupported(method)
    if config.get("bias", "none") not in (None, "none"):
        raise _unsupported(f"trained biases (bias: {config['bias']})")
    start = config.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower().startswith(_REFUSED_STARTS):
        raise _unsupported(
            f"a start that is no plain LoRA's (init_lora_weights: {start})",
            "Save it as a plain LoRA: PEFT's save_pretrained takes "
            "path_initial_model_for_weight_conversion.",
        )
    if config.get("task_type") not in (None, "CAUSAL_LM"):
        raise _unsupported(f"an adapter for another task (task_type: {config['task_type']})")
    for key in sorted(config.keys() - _PLAIN - _REFUSED.keys()):
        if config[key]:
            raise _unsupported(f"the unknown setting {key}: {config[key]!r}")


def _unsupported(method: str, hint: str | None = None) -> UnsupportedAdapterError:
    return UnsupportedAdapterError(
        f"loramix does not run this adapter: it uses {method}.",
        expected="a plain LoRA for a causal language model, as PEFT saves it",
        hint=hint or "Train it again as a plain LoRA, or merge it into the base with PEFT.",
    )


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # JSON has integers of any size
        return False


def _is_rank(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_pattern(value: object, good: Any) -> bool:
    return value is None or (
        isinstance(value, dict)
        and all(_is_regex(_module_pattern(key)) and good(entry) for key, entry in value.items())
    )


def _is_targets(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(entry, str) and entry for entry in value)
    return value is None or (isinstance(value, str) and _is_regex(value))


def _is_layers(value: object) -> bool:
    numbers = value if isinstance(value, list) else [value]
    return value is None or all(isinstance(n, int) and not isinstance(n, bool) for n in numbers)


def _is_regex(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


def is_target(config: Config, path: str) -> bool:
    """Whether an adapter of this config covers the module at `path`.

    A list matches whole names at the end of the path, a string is a pattern for all of it;
    `exclude_modules` takes away, `layers_to_transform` keeps some layers (lists only). The
    rule is PEFT's. `all-linear` has to be resolved against a base first.
    """
    exclude, targets = config.get("exclude_modules"), config.get("target_modules")
    if exclude and _matches(exclude, path):
        return False
    if not targets or not _matches(targets, path):
        return False
    layers = config.get("layers_to_transform")
    if layers is None or layers == [] or isinstance(targets, str) or path in targets:
        return True
    index = _layer_of(path, config.get("layers_pattern"))
    return index is not None and (index == layers if isinstance(layers, int) else index in layers)


def _matches(names: list[str] | str, path: str) -> bool:
    if isinstance(names, str):
        return re.fullmatch(names, path) is not None
    return any(path == name or path.endswith(f".{name}") for name in names)


def _layer_of(path: str, layers_pattern: list[str] | str | None) -> int | None:
    """The first number in the path, or the one that follows the pattern's name."""
    if not layers_pattern:
        found = re.match(r".*?\.[^.]*\.(?P<index>\d+)\.", path)
        return int(found["index"]) if found else None
    for pattern in [layers_pattern] if isinstance(layers_pattern, str) else layers_pattern:
        found = re.match(rf"(?:^|.*?\.){pattern}\.(?P<index>\d+)\.", path)
        if found:
            return int(found["index"])
    return None


def rank_and_scaling(config: Config, path: str) -> tuple[int, float]:
    """Rank and scaling of one module: s = alpha / r, or alpha / sqrt(r) with rsLoRA.

    Source: LoRA (arXiv 2106.09685) and rsLoRA (arXiv 2312.03732). `rank_pattern` and
    `alpha_pattern` replace r and alpha for the modules that they match, first match first.
    """
    r = _by_pattern(config.get("rank_pattern"), path, config.get("r", 8))
    alpha = _by_pattern(config.get("alpha_pattern"), path, config.get("lora_alpha", 8))
    return int(r), alpha / (math.sqrt(r) if config.get("use_rslora") else r)


def _by_pattern(patterns: Mapping[str, float] | None, path: str, default: float) -> float:
    for pattern, value in (patterns or {}).items():
        if re.match(_module_pattern(pattern), path):
            return value
    return default


def _module_pattern(pattern: str) -> str:
    return rf"(.*\.)?({pattern})$"
