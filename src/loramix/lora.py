"""One LoRA in memory, and how it fits a base."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import nn

from loramix.base import Int8Linear, is_conv1d
from loramix.errors import AdapterMismatchError, UnsupportedAdapterError
from loramix.peft_config import ALL_LINEAR, Config, is_target

if TYPE_CHECKING:
    from loramix.base import Base


@dataclass(frozen=True, eq=False)
class LoraModule:
    """The LoRA of one linear layer: ΔW = scaling · B A.

    Attributes:
        A: [r, D_in]
        B: [D_out, r]
        scaling: α/r, or α/√r with rsLoRA.
    """

    A: torch.Tensor
    B: torch.Tensor
    scaling: float

    @property
    def rank(self) -> int:
        """Rank r."""
        return self.A.shape[0]

    def delta(self, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        """ΔW = scaling · B A, [D_out, D_in]."""
        return (self.B.to(dtype) @ self.A.to(dtype)) * self.scaling


@dataclass(frozen=True, eq=False)
class Adapter:
    """One LoRA over some linear layers of a base.

    Attributes:
        modules: path inside the base (`model.layers.0.self_attn.q_proj`) → its LoRA.
        config: what `adapter_config.json` says, in PEFT's words.
    """

    modules: Mapping[str, LoraModule]
    config: Config

    @property
    def rank(self) -> int:
        """The largest rank of any module."""
        return max((module.rank for module in self.modules.values()), default=0)

    @property
    def num_parameters(self) -> int:
        """Numbers in all A and B."""
        return sum(t.numel() for m in self.modules.values() for t in (m.A, m.B))

    @property
    def nbytes(self) -> int:
        """Bytes of all A and B."""
        return sum(t.nbytes for m in self.modules.values() for t in (m.A, m.B))


class _Conv1D(Protocol):
    """GPT-2's linear layer: `transformers.pytorch_utils.Conv1D`, weight [D_in, D_out]."""

    nx: int
    nf: int


def linear_shape(module: nn.Module) -> tuple[int, int] | None:
    """(D_in, D_out) of a linear layer, None for any other module."""
    if isinstance(module, nn.Linear | Int8Linear):
        return module.in_features, module.out_features
    if is_conv1d(module):
        layer: _Conv1D = module  # type: ignore[assignment]
        return layer.nx, layer.nf
    return None


def check_fit(adapter: Adapter, base: Base | nn.Module) -> None:
    """Checks that every layer of the adapter is a linear layer of the base, of the same shape.

    Raises:
        AdapterMismatchError: names the layers that are not there, or the shape that differs.
    """
    layers = dict(model_of(base).named_modules())
    report_keys([], [path for path in adapter.modules if path not in layers])
    for path, module in adapter.modules.items():
        shape = linear_shape(layers[path])
        if shape is None:
            raise UnsupportedAdapterError(
                f"{path} is no linear layer.",
                given=type(layers[path]).__name__,
                expected="Linear or Conv1D",
            )
        if (module.A.shape[1], module.B.shape[0]) != shape:
            raise AdapterMismatchError(
                f"The shapes of {path} do not fit the base.",
                given=f"lora_A {list(module.A.shape)}, lora_B {list(module.B.shape)}",
                expected=f"lora_A [r, {shape[0]}], lora_B [{shape[1]}, r]",
                hint="the adapter was trained for another base.",
            )


def model_of(base: Base | nn.Module) -> nn.Module:
    return base if isinstance(base, nn.Module) else base.model


def is_all_linear(targets: object) -> bool:
    return isinstance(targets, str) and targets.lower() == ALL_LINEAR


def targeted(config: Config, model: nn.Module) -> dict[str, nn.Module]:
    """The layers of `model` that the config covers, in the model's order."""
    if is_all_linear(config.get("target_modules")):
        head = getattr(model, "get_output_embeddings", lambda: None)()
        return {
            path: module
            for path, module in model.named_modules()
            if linear_shape(module) and module is not head
        }
    return {path: m for path, m in model.named_modules() if path and is_target(config, path)}


def report_keys(missing: Iterable[str], surplus: Iterable[str]) -> None:
    lists = {"missing": sorted(missing), "surplus": sorted(surplus)}
    if any(lists.values()):
        said = [f"{kind}: {listed(keys)}" for kind, keys in lists.items() if keys]
        raise AdapterMismatchError(
            "The adapter's keys do not fit.",
            given="; ".join(said),
            expected="one lora_A and one lora_B for each layer that the config targets",
            hint="check that the adapter is complete and was trained for this base.",
        )


def listed(keys: Sequence[str], most: int = 12) -> str:
    rest = len(keys) - most
    return ", ".join(keys[:most]) + (f" and {rest} more" if rest > 0 else "")
