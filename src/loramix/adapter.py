"""One LoRA: files ↔ tensors. It can be read, checked, written, made new, and blended.

    adapter_config.json + adapter_model.safetensors  ⇄  Adapter{path → LoraModule(A, B, scaling)}

The files are PEFT's, in both directions. Adapters come from strangers: only safetensors are
opened, and every key, shape and value is checked before anything is used.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from loramix.errors import (
    AdapterError,
    AdapterMismatchError,
    StorageError,
    UnsupportedAdapterError,
)
from loramix.peft_config import (
    ALL_LINEAR,
    Config,
    LoraSettings,
    check_config,
    is_target,
    plain_config,
    rank_and_scaling,
    tidy,
)

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

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
_PICKLE_FILE = "adapter_model.bin"
_PREFIX = "base_model.model."
_SIDES = {".lora_A.weight": "a", ".lora_B.weight": "b"}
_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


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


def read_adapter(folder: str | os.PathLike[str], base: Base | nn.Module | None = None) -> Adapter:
    """Reads and checks the adapter in a folder.

    Args:
        folder: holds `adapter_config.json` and `adapter_model.safetensors`.
        base: the model that it was trained for; with it, keys and shapes are checked too.

    Returns:
        The adapter, its tensors on the CPU in the dtype of the file.

    Raises:
        UnsupportedAdapterError: DoRA and other kinds that are no plain LoRA, and pickles.
        AdapterMismatchError: keys are missing or surplus, shapes or values do not fit.
        AdapterError: the folder, the config or the file cannot be read.
    """
    folder = Path(folder)
    config = check_config(_read_config(folder))
    pairs = _pair_up(_read_tensors(folder), folder)
    model = None if base is None else _model_of(base)
    _check_keys(config, pairs, model)
    modules = {}
    for path, (a, b) in sorted(pairs.items()):
        rank, scaling = rank_and_scaling(config, path)
        _check_tensors(path, a, b, rank)
        modules[path] = LoraModule(a, b, scaling)
    adapter = Adapter(modules, config)
    if model is not None:
        check_fit(adapter, model)
    return adapter


def _read_config(folder: Path) -> Config:
    file = folder / CONFIG_FILE
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AdapterError(
            "This is not the folder of an adapter.",
            given=folder,
            expected=f"a folder with {CONFIG_FILE} and {WEIGHTS_FILE}",
        ) from None
    except (OSError, ValueError) as error:
        raise AdapterError(f"{CONFIG_FILE} cannot be read: {error}.", given=file) from None
    if not isinstance(config, dict):
        raise AdapterError(f"{CONFIG_FILE} is not a JSON object.", given=file)
    return config


def _read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    file = folder / WEIGHTS_FILE
    if not file.is_file():
        if (folder / _PICKLE_FILE).exists():
            raise UnsupportedAdapterError(
                f"loramix does not open pickled weights ({_PICKLE_FILE}): they can run any code.",
                given=folder / _PICKLE_FILE,
                expected=WEIGHTS_FILE,
                hint="Load the adapter with PEFT where you trust it, and save it again: "
                "PEFT writes safetensors by default.",
            )
        raise AdapterError(
            "The adapter's weights are missing.", given=folder, expected=WEIGHTS_FILE
        )
    try:
        return load_file(file)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise AdapterError(f"{WEIGHTS_FILE} cannot be read: {error}.", given=file) from None


def _pair_up(
    tensors: Mapping[str, torch.Tensor], folder: Path
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Sorts keys such as `base_model.model.PATH.lora_A.weight` into path → (A, B)."""
    halves: dict[str, dict[str, torch.Tensor]] = {}
    surplus = []
    for key, tensor in tensors.items():
        ending = next((e for e in _SIDES if key.endswith(e)), None)
        if ending is None or not key.startswith(_PREFIX):
            _refuse_key(key)
            surplus.append(key)
        else:
            path = key.removeprefix(_PREFIX).removesuffix(ending)
            halves.setdefault(path, {})[_SIDES[ending]] = tensor
    missing = [
        f"{_PREFIX}{path}{ending}"
        for path, sides in halves.items()
        for ending, side in _SIDES.items()
        if side not in sides
    ]
    _report_keys(missing, surplus)
    if not halves:
        raise AdapterMismatchError("The adapter holds no weights.", given=folder / WEIGHTS_FILE)
    return {path: (sides["a"], sides["b"]) for path, sides in halves.items()}


def _refuse_key(key: str) -> None:
    """Says what a key belongs to, where it is of a known kind that is no plain LoRA."""
    kinds = {
        "lora_magnitude_vector": "DoRA",
        "lora_embedding_": "LoRA on embeddings",
        "lora_A.bias": "trained biases",
        "lora_B.bias": "trained biases",
        "token_adapter": "trained tokens",
        "trainable_tokens": "trained tokens",
        "modules_to_save": "saved heads or other whole modules",
        "embed_tokens": "resized or saved embeddings",
        "wte": "resized or saved embeddings",
        "embed_in": "resized or saved embeddings",
        "base_layer": "saved weights of the base",
        "lm_head": "a saved or resized head",
        "embed_out": "a saved or resized head",
    }
    for part, kind in kinds.items():
        if part in key:
            raise UnsupportedAdapterError(
                f"loramix does not run this adapter: it holds {kind}.",
                given=key,
                expected="only lora_A and lora_B of linear layers",
                hint="Train it again as a plain LoRA, or merge it into the base with PEFT.",
            )


def _report_keys(missing: Iterable[str], surplus: Iterable[str]) -> None:
    lists = {"missing": sorted(missing), "surplus": sorted(surplus)}
    if any(lists.values()):
        said = [f"{kind}: {_listed(keys)}" for kind, keys in lists.items() if keys]
        raise AdapterMismatchError(
            "The adapter's keys do not fit.",
            given="; ".join(said),
            expected="one lora_A and one lora_B for each layer that the config targets",
            hint="Check that the adapter is complete and was trained for this base.",
        )


def _listed(keys: Sequence[str], most: int = 12) -> str:
    rest = len(keys) - most
    return ", ".join(keys[:most]) + (f" and {rest} more" if rest > 0 else "")


def _check_keys(config: Config, paths: Iterable[str], model: nn.Module | None) -> None:
    """Compares the layers in the file with those that the config targets in the base."""
    found, targets = set(paths), config.get("target_modules")
    if model is None:
        wanted = {p for p in found if _is_all_linear(targets) or is_target(config, p)}
    else:
        wanted = set(_targeted(config, model))
    if not targets:  # PEFT fills these in from the kind of base; the file then says it all
        wanted = found if model is None else found & dict(model.named_modules()).keys()
    _report_keys(wanted - found, found - wanted)


def _check_tensors(path: str, a: torch.Tensor, b: torch.Tensor, rank: int) -> None:
    for name, tensor in (("lora_A", a), ("lora_B", b)):
        if tensor.dtype not in _DTYPES:
            raise AdapterMismatchError(
                f"{path}.{name} is of a type that loramix does not run.",
                given=tensor.dtype,
                expected=", ".join(map(str, _DTYPES)),
            )
        if not torch.isfinite(tensor).all():
            raise AdapterMismatchError(
                f"{path}.{name} holds NaN or infinite weights.",
                hint="The training diverged; train again with a smaller learning rate.",
            )
    if a.dim() != 2 or b.dim() != 2 or a.shape[0] != rank or b.shape[1] != rank:
        raise AdapterMismatchError(
            f"The shapes of {path} do not fit the config.",
            given=f"lora_A {list(a.shape)}, lora_B {list(b.shape)}",
            expected=f"lora_A [{rank}, D_in], lora_B [D_out, {rank}]",
        )


class _Conv1D(Protocol):
    """GPT-2's linear layer: `transformers.pytorch_utils.Conv1D`, weight [D_in, D_out]."""

    nx: int
    nf: int


def linear_shape(module: nn.Module) -> tuple[int, int] | None:
    """(D_in, D_out) of a linear layer, None for any other module."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if _is_conv1d(module):
        layer: _Conv1D = module  # type: ignore[assignment]
        return layer.nx, layer.nf
    return None


def _is_conv1d(module: nn.Module) -> bool:
    # By name: importing transformers for one class would cost a second at every start.
    return type(module).__name__ == "Conv1D" and hasattr(module, "nx") and hasattr(module, "nf")


def check_fit(adapter: Adapter, base: Base | nn.Module) -> None:
    """Checks that every layer of the adapter is a linear layer of the base, of the same shape.

    Raises:
        AdapterMismatchError: names the layers that are not there, or the shape that differs.
    """
    layers = dict(_model_of(base).named_modules())
    _report_keys([], [path for path in adapter.modules if path not in layers])
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
                hint="The adapter was trained for another base.",
            )


def _model_of(base: Base | nn.Module) -> nn.Module:
    return base if isinstance(base, nn.Module) else base.model


def _is_all_linear(targets: object) -> bool:
    return isinstance(targets, str) and targets.lower() == ALL_LINEAR


def _targeted(config: Config, model: nn.Module) -> dict[str, nn.Module]:
    """The layers of `model` that the config covers, in the model's order."""
    if _is_all_linear(config.get("target_modules")):
        head = getattr(model, "get_output_embeddings", lambda: None)()
        return {
            path: module
            for path, module in model.named_modules()
            if linear_shape(module) and module is not head
        }
    return {path: m for path, m in model.named_modules() if path and is_target(config, path)}


def write_adapter(adapter: Adapter, folder: str | os.PathLike[str]) -> None:
    """Writes an adapter as PEFT does; each file is whole or absent.

    Raises:
        AdapterError: the config does not say what the tensors are.
        StorageError: the disk is full or does not let us write.
    """
    tensors = {}
    for path, module in adapter.modules.items():
        rank, scaling = rank_and_scaling(adapter.config, path)
        if rank != module.rank or not math.isclose(scaling, module.scaling, rel_tol=1e-6):
            raise AdapterError(
                f"The adapter's config does not describe {path}.",
                given=f"rank {module.rank}, scaling {module.scaling:g}",
                expected=f"rank {rank}, scaling {scaling:g}",
            )
        tensors[f"{_PREFIX}{path}.lora_A.weight"] = module.A.detach().cpu().contiguous()
        tensors[f"{_PREFIX}{path}.lora_B.weight"] = module.B.detach().cpu().contiguous()
    folder = Path(folder)
    config = json.dumps(adapter.config, indent=2, sort_keys=True, ensure_ascii=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / WEIGHTS_FILE, save(tensors, metadata={"format": "pt"}))
        _write(folder / CONFIG_FILE, f"{config}\n".encode())
    except OSError as error:
        raise StorageError(
            f"The adapter could not be written: {error.strerror or error}.",
            given=folder,
            hint="Free some space there, or choose another folder.",
        ) from None


def _write(file: Path, content: bytes) -> None:
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def init_adapter(base: Base | nn.Module, settings: LoraSettings, seed: int = 0) -> Adapter:
    """A new adapter that changes nothing yet: A is random, B is 0.

    A is uniform within ±1/√D_in, as `kaiming_uniform_(a=√5)` in PEFT; float32.

    Raises:
        AdapterError: no layer of the base matches `target_modules`.
    """
    model = _model_of(base)
    config = settings.to_config()
    layers = _targeted(config, model)
    shapes = {path: linear_shape(layer) for path, layer in layers.items()}
    unfit = [path for path, shape in shapes.items() if shape is None]
    if unfit or not shapes:
        kinds = Counter(p.rpartition(".")[2] for p, m in model.named_modules() if linear_shape(m))
        raise AdapterError(
            f"target_modules also matches layers that are not linear: {_listed(unfit)}."
            if unfit
            else "target_modules matches no layer of the base.",
            given=settings.target_modules,
            expected=", ".join(sorted(kinds)),
        )
    config["fan_in_fan_out"] = any(_is_conv1d(layer) for layer in layers.values())
    random = torch.Generator().manual_seed(seed)
    modules = {}
    for path, shape in shapes.items():
        if shape is not None:
            rank, scaling = rank_and_scaling(config, path)
            a = torch.empty(rank, shape[0])
            nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=random)
            modules[path] = LoraModule(a, torch.zeros(shape[1], rank), scaling)
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
        modules[path] = LoraModule(a, b, 1.0)
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
