"""One LoRA: files ↔ tensors. It can be read, written, made new, and blended.

    adapter_config.json + adapter_model.safetensors  ⇄  Adapter{path → LoraModule(A, B, scaling)}

The words and files are PEFT's; `lora.py` holds the objects, `adapter_files.py` the files,
`peft_config.py` what a config means.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from loramix.adapter_files import CONFIG_FILE, WEIGHTS_FILE, read_adapter, write_adapter
from loramix.base import is_conv1d
from loramix.errors import AdapterError
from loramix.lora import (
    Adapter,
    LoraModule,
    check_fit,
    listed,
    lora_shape,
    model_of,
    targeted,
)
from loramix.peft_config import Config, LoraSettings, plain_config, rank_and_scaling, tidy

if TYPE_CHECKING:
    from loramix.base import Base

__all__ = [
    "CONFIG_FILE",
    "WEIGHTS_FILE",
    "Adapter",
    "LoraModule",
    "LoraSettings",
    "blend_adapter",
    "check_fit",
    "init_adapter",
    "read_adapter",
    "write_adapter",
]


def init_adapter(base: Base | nn.Module, settings: LoraSettings, seed: int = 0) -> Adapter:
    """A new adapter that changes nothing yet: A is random, B is 0.

    A is uniform within ±1/√D_in, as `kaiming_uniform_(a=√5)` in PEFT; float32. Of embeddings, also
    as in PEFT, A is 0 and B normal with variance 1: only the tokens that come up are moved.

    Raises:
        AdapterError: no layer of the base matches `target_modules`.
    """
    model = model_of(base)
    config = settings.to_config()
    layers = targeted(config, model)
    shapes = {path: lora_shape(layer, model) for path, layer in layers.items()}
    unfit = [path for path, shape in shapes.items() if shape is None]
    if unfit or not shapes:
        fit = [path for path, layer in model.named_modules() if lora_shape(layer, model)]
        kinds = Counter(path.rpartition(".")[2] for path in fit)
        raise AdapterError(
            f"target_modules also matches layers that no LoRA fits: {listed(unfit)}."
            if unfit
            else "target_modules matches no layer of the base.",
            given=settings.target_modules,
            expected=", ".join(sorted(kinds)),
            hint="name some of these in target_modules, or all-linear for every linear one",
        )
    config["fan_in_fan_out"] = any(is_conv1d(layer) for layer in layers.values())
    random = torch.Generator().manual_seed(seed)
    modules = {}
    for path, shape in shapes.items():
        if shape is not None:
            rank, scaling = rank_and_scaling(config, path)
            a, b = torch.zeros(rank, shape[0]), torch.zeros(shape[1], rank)
            embedding = type(layers[path]) is nn.Embedding
            if embedding:
                nn.init.normal_(b, generator=random)
            else:
                nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=random)
            modules[path] = LoraModule(a, b, scaling, embedding)
    return Adapter(modules, config)


def blend_adapter(adapters: Sequence[Adapter], weights: Sequence[float]) -> Adapter:
    """One adapter that computes exactly what the mix does, for any ranks and scalings.

    ΔW = Σ g_k s_k B_k A_k = B A with A = [A_1; …; A_K] and B = [g_1 s_1 B_1, …, g_K s_K B_K];
    alpha = r makes its own scaling 1. The rank is the sum of the ranks. Float32, so that
    weights do not round.

    Raises:
        AdapterError: nothing to blend, or not one weight for each adapter.
    """
    if len(adapters) != len(weights) or not all(map(math.isfinite, weights)):
        raise AdapterError(
            "A blend needs one finite weight for each adapter.",
            given=f"{len(adapters)} adapters, weights {list(weights)}",
        )
    parts = [(adapter, g) for adapter, g in zip(adapters, weights, strict=True) if g]
    if not parts:
        raise AdapterError("There is nothing to blend.", expected="at least one weight above 0")
    modules = {}
    for path in dict.fromkeys(path for adapter, _ in parts for path in adapter.modules):
        here = [(adapter.modules[path], g) for adapter, g in parts if path in adapter.modules]
        a = torch.cat([m.A.detach().float() for m, _ in here])
        b = torch.cat([m.B.detach().float() * (g * m.scaling) for m, g in here], dim=1)
        modules[path] = LoraModule(a, b, 1.0, here[0][0].embedding)
    return Adapter(modules, _blend_config([adapter.config for adapter, _ in parts], modules))


def _blend_config(sources: Sequence[Config], modules: Mapping[str, LoraModule]) -> Config:
    ranks = Counter(module.rank for module in modules.values())
    r = ranks.most_common(1)[0][0]
    patterns = {path: module.rank for path, module in modules.items() if module.rank != r}
    config = plain_config(r, r)
    config["rank_pattern"] = patterns
    config["alpha_pattern"] = {path: tidy(rank) for path, rank in patterns.items()}
    # Whole paths always say what is meant; short names only where all sources say the same.
    covers = [{k: source.get(k) for k in _COVERAGE} for source in sources]
    if covers[0]["target_modules"] and all(cover == covers[0] for cover in covers):
        config.update({k: v for k, v in covers[0].items() if v is not None})
    else:
        config["target_modules"] = sorted(modules)
    for key in ("base_model_name_or_path", "fan_in_fan_out"):
        config[key] = sources[0].get(key)
    return config


_COVERAGE = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern")
