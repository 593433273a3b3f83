"""An adapter's files: `adapter_config.json` and `adapter_model.safetensors`, as PEFT writes them.

Adapters come from strangers: only safetensors are opened, and every key, shape and value is
checked before anything is used.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from loramix.errors import (
    AdapterError,
    AdapterMismatchError,
    StorageError,
    UnsupportedAdapterError,
)
from loramix.lora import (
    Adapter,
    LoraModule,
    check_fit,
    is_all_linear,
    model_of,
    report_keys,
    targeted,
)
from loramix.peft_config import Config, check_config, is_target, rank_and_scaling

if TYPE_CHECKING:
    from loramix.base import Base

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
_PICKLE_FILE = "adapter_model.bin"
_PREFIX = "base_model.model."
_SIDES = {".lora_A.weight": "a", ".lora_B.weight": "b"}
_EMBEDDED = {".lora_embedding_A": "a", ".lora_embedding_B": "b"}
_BESIDE = ".base_layer.weight"
"""PEFT writes the embeddings themselves, too, where a LoRA adapts them."""
_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


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
    tensors = _read_tensors(folder)
    model = None if base is None else model_of(base)
    _take_base_weights(tensors, model)
    pairs = _pair_up(tensors, folder)
    _check_keys(config, pairs, model)
    modules = {}
    for path, (a, b, embedding) in sorted(pairs.items()):
        rank, scaling = rank_and_scaling(config, path)
        _check_tensors(path, a, b, rank)
        modules[path] = LoraModule(a, b, scaling, embedding)
    adapter = Adapter(modules, config)
    if model is not None:
        check_fit(adapter, model)
    return adapter


def _read_config(folder: Path) -> Config:
    file = folder / CONFIG_FILE
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        is_file = folder.exists() and not folder.is_dir()
        raise AdapterError(
            "This is a file, and an adapter is a folder."
            if is_file
            else "This is not the folder of an adapter.",
            given=folder,
            expected=f"a folder with {CONFIG_FILE} and {WEIGHTS_FILE}",
            hint="give the folder that PEFT's `save_pretrained` wrote",
        ) from None
    except (OSError, ValueError, RecursionError) as error:
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
                hint="load the adapter with PEFT where you trust it, and save it again: "
                "PEFT writes safetensors by default.",
            )
        raise AdapterError(
            "The adapter's weights are missing.", given=folder, expected=WEIGHTS_FILE
        )
    try:
        # Read, not mapped: a file that is cut while its tensors are in use would end the process.
        return load(file.read_bytes())
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise AdapterError(f"{WEIGHTS_FILE} cannot be read: {error}.", given=file) from None


def _take_base_weights(tensors: dict[str, torch.Tensor], model: nn.Module | None) -> None:
    """Takes out weights of the base that lie beside their LoRA; others than its own stay.

    Without a base they are taken for its own: whoever runs the adapter reads it with one.
    """
    layers = {} if model is None else dict(model.named_modules())
    for key in [key for key in tensors if key.endswith(_BESIDE)]:
        layer = layers.get(key.removeprefix(_PREFIX).removesuffix(_BESIDE))
        if model is None or _is_weight(tensors[key], getattr(layer, "weight", None)):
            del tensors[key]


def _is_weight(tensor: torch.Tensor, weight: object) -> bool:
    """Whether a tensor is a layer's weight, in the narrower of their dtypes."""
    if not isinstance(weight, torch.Tensor) or weight.shape != tensor.shape:
        return False
    narrow = min(weight.dtype, tensor.dtype, key=lambda dtype: dtype.itemsize)
    return torch.equal(weight.detach().cpu().to(narrow), tensor.to(narrow))


def _pair_up(
    tensors: Mapping[str, torch.Tensor], folder: Path
) -> dict[str, tuple[torch.Tensor, torch.Tensor, bool]]:
    """Sorts keys such as `base_model.model.PATH.lora_A.weight` into path → (A, B, embedding)."""
    halves: dict[str, dict[str, torch.Tensor]] = {}
    embedded: dict[str, bool] = {}
    surplus = []
    for key, tensor in tensors.items():
        ending = next((e for e in (*_SIDES, *_EMBEDDED) if key.endswith(e)), None)
        if ending is None or not key.startswith(_PREFIX):
            _refuse_key(key)
            surplus.append(key)
        else:
            path = key.removeprefix(_PREFIX).removesuffix(ending)
            if embedded.setdefault(path, ending in _EMBEDDED) != (ending in _EMBEDDED):
                surplus.append(key)  # of another kind than the one before
                continue
            halves.setdefault(path, {})[(_SIDES | _EMBEDDED)[ending]] = tensor
    missing = [
        f"{_PREFIX}{path}{ending}"
        for path, sides in halves.items()
        for ending, side in (_EMBEDDED if embedded[path] else _SIDES).items()
        if side not in sides
    ]
    report_keys(missing, surplus)
    if not halves:
        raise AdapterMismatchError("The adapter holds no weights.", given=folder / WEIGHTS_FILE)
    return {path: (sides["a"], sides["b"], embedded[path]) for path, sides in halves.items()}


def _refuse_key(key: str) -> None:
    """Says what a key belongs to, where it is of a known kind that is no plain LoRA."""
    kinds = {
        "lora_magnitude_vector": "DoRA",
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
                expected="only lora_A and lora_B of linear layers, or of the token embeddings",
                hint="train it again as a plain LoRA, or merge it into the base with PEFT",
            )


def _check_keys(config: Config, paths: Iterable[str], model: nn.Module | None) -> None:
    """Compares the layers in the file with those that the config targets in the base."""
    found, targets = set(paths), config.get("target_modules")
    if model is None:
        wanted = {p for p in found if is_all_linear(targets) or is_target(config, p)}
    else:
        wanted = set(targeted(config, model))
    if not targets:  # PEFT fills these in from the kind of base; the file then says it all
        wanted = found if model is None else found & dict(model.named_modules()).keys()
    report_keys(wanted - found, found - wanted)


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
                hint="the training diverged; train again with a smaller learning rate",
            )
    if a.dim() != 2 or b.dim() != 2 or a.shape[0] != rank or b.shape[1] != rank:
        raise AdapterMismatchError(
            f"The shapes of {path} do not fit the config.",
            given=f"lora_A {list(a.shape)}, lora_B {list(b.shape)}",
            expected=f"lora_A [{rank}, D_in], lora_B [D_out, {rank}]",
        )


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
        for ending, side in (_EMBEDDED if module.embedding else _SIDES).items():
            tensor = module.A if side == "a" else module.B
            # A copy, since safetensors does not write tensors that share memory.
            copied = tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            tensors[f"{_PREFIX}{path}{ending}"] = copied
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
            hint="free some space there, or choose another folder",
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
