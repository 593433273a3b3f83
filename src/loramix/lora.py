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
    """The LoRA of one linear layer, or of the token embeddings: ΔW = scaling · B A.

    An embedding is a linear layer that reads one-hot tokens, so that a column of A belongs to a
    token and there are D_in of them. Its weight [D_in, D_out] lies the other way round: it is ΔWᵀ
    that is added to it.

    Attributes:
        A: [r, D_in]
        B: [D_out, r]
        scaling: α/r, or α/√r with rsLoRA.
        embedding: whether it is that of the token embeddings.
    """

    A: torch.Tensor
    B: torch.Tensor
    scaling: float
    embedding: bool = False

    @property
    def rank(self) -> int:
        """Rank r."""
        return self.A.shape[0]

    def delta(self, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        """ΔW = scaling · B A, [D_out, D_in]."""
        return (self.B.to(dtype) @ self.A.to(dtype)) * self.scaling


@dataclass(frozen=True, eq=False)
class Adapter:
    """One LoRA over some linear layers of a base, and maybe over its token embeddings.

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


def lora_shape(layer: nn.Module, model: nn.Module) -> tuple[int, int] | None:
    """(D_in, D_out) of a layer that a LoRA can adapt; None of any other.

    Beside the linear layers these are the embeddings that read the tokens. Not those of a kind of
    its own, such as Gemma 3's, which scales what it has read.
    """
    if type(layer) is nn.Embedding:
        reads_tokens = getattr(model, "get_input_embeddings", lambda: None)() is layer
        return (layer.num_embeddings, layer.embedding_dim) if reads_tokens else None
    return linear_shape(layer)


def check_fit(adapter: Adapter, base: Base | nn.Module) -> None:
    """Checks that every layer of the adapter is one of the base, of the same kind and shape.

    Raises:
        AdapterMismatchError: names the layers that are not there, or the shape that differs.
        UnsupportedAdapterError: a layer is neither linear nor the embedding of the tokens.
    """
    model = model_of(base)
    layers = dict(model.named_modules())
    report_keys([], [path for path in adapter.modules if path not in layers])
    for path, module in adapter.modules.items():
        shape = lora_shape(layers[path], model)
        if shape is None or module.embedding != (type(layers[path]) is nn.Embedding):
            raise UnsupportedAdapterError(
                f"{path} is no {'embedding of tokens' if module.embedding else 'linear layer'}.",
                given=type(layers[path]).__name__,
                expected="Embedding (the one that reads the tokens)"
                if module.embedding
                else "Linear or Conv1D",
            )
        if (module.A.shape[1], module.B.shape[0]) != shape:
            raise AdapterMismatchError(
                f"The shapes of {path} do not fit the base.",
                given=f"lora_A {list(module.A.shape)}, lora_B {list(module.B.shape)}",
                expected=f"lora_A [r, {shape[0]}], lora_B [{shape[1]}, r]",
                hint="the adapter was trained for another base.",
            )


def embedded_paths(adapters: Mapping[str, Adapter]) -> set[str]:
    """The token embeddings among what some adapters adapt."""
    return {
        path
        for adapter in adapters.values()
        for path, module in adapter.modules.items()
        if module.embedding
    }


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
