"""Token states of the frozen base: its embeddings, or the output of an early layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from loramix.base import device_failed
from loramix.errors import ConfigError

if TYPE_CHECKING:
    from loramix.base import Base

MAX_WIDTH = 512  # wider states are projected down, so that memories stay small
PROJECTED = 256
_DEPTH = {"embeddings": 0.0, "early": 0.25, "middle": 0.5}


class _Enough(Exception):
    """Stops a forward pass once the deepest layer that we read has run."""


class StateReader:
    """Reads token states from a base.

    Args:
        base: the loaded base.
        sources: some of `embeddings`, `early`, `middle`.

    Raises:
        ConfigError: the layers of this base cannot be found.
    """

    def __init__(self, base: Base, sources: Sequence[str]) -> None:
        self._base = base
        self.sources = tuple(dict.fromkeys(sources))
        self._embed: nn.Module = base.model.get_input_embeddings()
        with torch.inference_mode():
            probe = torch.zeros(1, 1, dtype=torch.long, device=base.model.device)
            self._raw_width = int(self._embed.forward(probe).shape[-1])
        self._layers: dict[int, str] = {}
        for source in self.sources:
            if source != "embeddings":
                depth = max(1, int(len(_layer_list(base.model)) * _DEPTH[source]))
                if depth in self._layers:
                    raise ConfigError(
                        f"In this base, {source} and {self._layers[depth]} are the same layer.",
                        given=f"{len(_layer_list(base.model))} layers",
                        hint="name one of the two in gate.features",
                    )
                self._layers[depth] = source
        self._projection = _projection(self._raw_width) if self._raw_width > MAX_WIDTH else None

    @property
    def width(self) -> int:
        """D of the states that `read` gives."""
        return self._raw_width if self._projection is None else PROJECTED

    def read(self, prompts: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """States [b, T, D] float32 on the CPU for each source; the rows are padded at the end.

        Layers run in a turn of the base. Where the accelerator fails, the CPU goes on, with one
        `DeviceWarning`.

        Args:
            prompts: token ids of b prompts, none of them empty.
        """
        if not self.sources:
            return {}
        if not self._layers:
            return self._read_anywhere(prompts)
        states: dict[str, Tensor] = self._base.turn(lambda: self._read_anywhere(prompts))
        return states

    def _read_anywhere(self, prompts: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        try:
            return self._read(prompts)
        except Exception as error:
            if self._base.device.type == "cpu" or not device_failed(error):
                raise
            self._base.to_cpu(error)
            return self._read(prompts)

    @torch.inference_mode()
    def _read(self, prompts: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        longest = max(map(len, prompts))
        ids = torch.zeros(len(prompts), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(prompts):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        # Where the model is now: a failing device may have moved it since.
        device = next(self._base.model.parameters()).device
        ids, mask = ids.to(device), mask.to(device)
        states: dict[str, Tensor] = {}
        if "embeddings" in self.sources:
            states["embeddings"] = self._embed.forward(ids)
        if self._layers:
            hidden = _layer_outputs(self._base.model, ids, mask, sorted(self._layers))
            states |= {self._layers[depth]: output for depth, output in hidden.items()}
        flat = {source: hidden.float().cpu() for source, hidden in states.items()}
        if self._projection is not None:
            flat = {source: hidden @ self._projection for source, hidden in flat.items()}
        return flat


def _projection(width: int) -> Tensor:
    """A fixed random projection [D, 256]: it keeps distances (Johnson & Lindenstrauss, 1984)."""
    generator = torch.Generator().manual_seed(width)
    matrix = torch.randn(width, PROJECTED, generator=generator)
    return matrix / math.sqrt(PROJECTED)


def _layer_list(model: Any) -> nn.ModuleList:
    """The decoder layers: the first list of modules that is as long as the config says."""
    count = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            layers: nn.ModuleList = module
            return layers
    raise ConfigError(
        "The layers of this base cannot be found.",
        given=type(model).__name__,
        hint="use features of the embeddings: gate: {features: auto}",
    )


def _layer_outputs(
    model: nn.Module, ids: Tensor, mask: Tensor, depths: Sequence[int]
) -> dict[int, Tensor]:
    """Outputs [b, T, D] after so many layers; deeper layers never run."""
    seen: dict[int, Tensor] = {}

    def reader(depth: int) -> Any:
        def read(_module: nn.Module, _args: Any, output: Any) -> None:
            seen[depth] = output[0] if isinstance(output, tuple) else output
            if depth == depths[-1]:
                raise _Enough

        return read

    layers = _layer_list(model)
    handles = [layers[depth - 1].register_forward_hook(reader(depth)) for depth in depths]
    try:
        model(input_ids=ids, attention_mask=mask, use_cache=False)
    except _Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return seen
