"""Load a base: its tokenizer, its model, on a device that works.

Heavy names of `transformers` are imported inside the functions: what `loramix generate` does not
need must not cost its start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from loramix.base.dtype import named, pick_weights
from loramix.base.folder import StoredWeights, check_folder, find_folder, fingerprint_files
from loramix.base.frozen import Base, device_failed
from loramix.base.int8 import to_int8
from loramix.errors import BaseError, UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_LINE = 64
"""Bytes of a line of the cache."""


def load_base(
    id: str = "pocket",
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
) -> Base:
    """Load a base, frozen, in eval mode.

    Args:
        id: `pocket`, a folder, or a Hugging Face id (read from the local cache when offline).
        device: `auto` (an accelerator if it works, else the CPU), `cpu`, `cuda`, `cuda:1`, …
            An accelerator that fails is replaced by the CPU, with one `DeviceWarning`.
        dtype: `auto`, `fp32`, `bf16`, `fp16`, `int8`, or a torch dtype. `auto` is what
            `pick_weights` says; `int8` is for a CPU, where it takes half of bfloat16's memory,
            and trains nothing.

    Raises:
        BaseError: the base cannot be found, reached or read, or is no safe causal LM.
        UsageError: no such device or dtype, or not both of them.
    """
    asked = named(dtype)
    # int8 has one device, so that is the one that is meant where none is named
    target = _pick_device("cpu" if asked == torch.int8 and device == "auto" else device)
    folder = find_folder(id)
    config = check_folder(id, folder)
    stored = StoredWeights(folder)
    chosen = pick_weights(asked, target, stored)
    tokenizer = _load_tokenizer(id, folder)
    # in the stored type weights are not read before they are used
    model = _load_model(id, folder, config, "auto" if chosen.int8 else chosen.dtype)
    model.requires_grad_(False).train(False)
    if chosen.int8:
        to_int8(model, stored)
    elif target.type == "cpu":
        _align(model, stored)
    base = Base(
        id=id,
        path=folder,
        model=model,
        tokenizer=tokenizer,
        fingerprint=fingerprint_files(folder),
        device=torch.device("cpu"),
        dtype=chosen.dtype,
        int8=chosen.int8,
    )
    if target.type != "cpu":
        try:
            model.to(target)  # type: ignore[arg-type]
            base.device = target
            # a device that takes the weights may still not compute: found here, not in the work
            first = torch.zeros(1, 1, dtype=torch.long, device=target)
            model.get_input_embeddings()(first).float().sum().cpu()
        except Exception as error:
            if not device_failed(error):
                raise
            base.device = target
            base.to_cpu(error)
    return base


def _pick_device(device: str | torch.device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise UsageError(
            "There is no such device.",
            given=device,
            expected="auto, cpu, cuda or cuda:N",
            hint="name one of them; auto takes an accelerator if there is one",
        ) from error


def _load_tokenizer(id: str, folder: Path) -> PreTrainedTokenizerBase:
    try:
        stated = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        plain = stated.get("tokenizer_class") in ("TokenizersBackend", "PreTrainedTokenizerFast")
    except (OSError, ValueError, AttributeError):
        plain = False
    try:
        tokenizer: PreTrainedTokenizerBase
        if plain and (folder / "tokenizer.json").exists():
            # what AutoTokenizer ends at, without the second of imports that it takes to get there
            from transformers import PreTrainedTokenizerFast

            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        else:
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:
        # tokenizers reports broken files as a bare Exception
        raise BaseError(
            "The tokenizer of the base cannot be read.", given=f"{id}: {_first_line(error)}"
        ) from error
    tokenizer.padding_side = "left"
    # what does not fit is said by us, with what to do; transformers' own warning is silenced
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    if tokenizer.eos_token_id is None:
        raise BaseError(
            "The tokenizer of the base names no end-of-text token.",
            given=id,
            expected="eos_token in tokenizer_config.json",
        )
    return tokenizer


def _load_model(
    id: str, folder: Path, config: Mapping[str, Any], dtype: torch.dtype | str
) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as hf_logging

    loader: Any = AutoModelForCausalLM
    log: Any = hf_logging
    verbosity, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        model, info = loader.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # they are reported below, by name
            output_loading_info=True,
        )
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        # safetensors and transformers raise a dozen unrelated types for files that do not fit
        raise BaseError(
            "The base cannot be loaded as a causal language model.",
            given=f"{id} (model_type {config.get('model_type')!r}): {_first_line(error)}",
            expected="an architecture of transformers, with no custom code, in safetensors",
        ) from error
    finally:
        log.set_verbosity(verbosity)
        if bar:
            log.enable_progress_bar()
    lacking = sorted(info["missing_keys"]) + sorted(str(k[0]) for k in info["mismatched_keys"])
    if lacking:
        # transformers would fill them with random numbers and say so in a log line
        raise BaseError(
            f"The weights of the base do not fill its architecture: {len(lacking)} tensors are "
            "missing or of another shape.",
            given=", ".join(lacking[:5]) + (", …" if len(lacking) > 5 else ""),
            hint="download or save the base again",
        )
    loaded: PreTrainedModel = model
    return loaded


def _align(model: torch.nn.Module, stored: StoredWeights) -> None:
    """Copies weights that are used where their file is mapped, if they lie askew there.

    Products take a tenth longer with them: each vector is read from two lines of the cache.
    """
    for name, parameter in model.named_parameters():
        if parameter.data_ptr() % _LINE:
            parameter.data = stored(name, parameter).to(parameter.dtype, copy=True)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
