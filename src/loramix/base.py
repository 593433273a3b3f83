"""Load a frozen base, and turn prompts into its token ids.

    base = load_base("pocket")                    # or a Hugging Face id, or a folder
    ids = encode_prompt(base, "What is 2 + 3?")

A base is a causal language model of `transformers`, with no custom code, in safetensors only.
Heavy names of `transformers` are imported inside the functions: what `loramix generate` does not
need must not cost its start.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from loramix.errors import BaseError, PromptError, UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Message = Mapping[str, str]
"""One turn of a conversation: `role` (system, user or assistant) and `content`."""

Prompt = str | Sequence[Message]
"""What a user asks: a text, or the turns of a conversation."""

_DTYPES = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
    "float16": torch.float16,
    "fp16": torch.float16,
}
_HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
_SMALL = 300_000_000
"""Up to so many parameters a CPU computes in float32: exact, and no slower at this size."""


class DeviceWarning(UserWarning):
    """The accelerator could not do the work; the CPU does it."""


@dataclass
class Base:
    """A frozen causal LM with its tokenizer.

    Attributes:
        id: what the user called it: `pocket`, a Hugging Face id or a path.
        path: the folder it was read from; None for a model made in memory.
        model: frozen and in eval mode.
        tokenizer: its tokenizer; pads on the left.
        fingerprint: sha256 of its configuration and weights as stored; adapters are tied to it.
        device: where the model is.
        dtype: of its weights in memory.
    """

    id: str
    path: Path | None
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    fingerprint: str
    device: torch.device
    dtype: torch.dtype

    @property
    def max_length(self) -> int:
        """Tokens of prompt and completion together that fit into the context."""
        config = self.model.config.get_text_config()
        for key in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"):
            value = getattr(config, key, None)
            if isinstance(value, int) and value > 0:
                return value
        stated = int(self.tokenizer.model_max_length)
        return stated if stated < 1_000_000 else 2048

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """The tokens that end a completion; the first is the one that training writes."""
        ends: list[int] = []
        configured = getattr(self.model.generation_config, "eos_token_id", None)
        listed = configured if isinstance(configured, list) else [configured]
        for token in [self.tokenizer.eos_token_id, *listed]:
            if token is not None and token not in ends:
                ends.append(int(token))
        return tuple(ends)

    @property
    def pad_id(self) -> int:
        """The token that fills short rows; its value never matters, since it is masked."""
        pad = self.tokenizer.pad_token_id
        return int(pad) if pad is not None else (self.eos_ids[0] if self.eos_ids else 0)

    def to_cpu(self, reason: BaseException) -> None:
        """Move to the CPU because the accelerator failed, and warn once."""
        _warn_cpu(self.device, reason)
        self.model.to(torch.device("cpu"))  # type: ignore[arg-type]
        self.device = torch.device("cpu")


# ── where a base comes from ──────────────────────────────────────────────────────────────────


def pocket_path() -> Path:
    """The folder of the base that ships with the package."""
    return Path(__file__).parent / "pocket" / "base"


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
        dtype: `auto`, `float32`, `bfloat16`, `float16`, or a torch dtype. `auto` is float32 on a
            CPU for small models, bfloat16 for the rest.

    Raises:
        BaseError: the base cannot be found, reached or read, or is no safe causal LM.
        UsageError: no such device or dtype.
    """
    target = _pick_device(device)
    folder = _folder_of(id)
    config = _check_folder(id, folder)
    chosen = _pick_dtype(dtype, target, folder)
    tokenizer = _load_tokenizer(id, folder)
    model = _load_model(id, folder, config, chosen)
    model.requires_grad_(False).train(False)
    base = Base(
        id=id,
        path=folder,
        model=model,
        tokenizer=tokenizer,
        fingerprint=fingerprint_files(folder),
        device=torch.device("cpu"),
        dtype=chosen,
    )
    if target.type != "cpu":
        try:
            model.to(target)  # type: ignore[arg-type]
            base.device = target
        except Exception as error:
            if not device_failed(error):
                raise
            base.device = target
            base.to_cpu(error)
    return base


def device_failed(error: BaseException) -> bool:
    """Whether `error` says that an accelerator is absent, broken or out of memory."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    # torch reports an absent or broken driver as an AssertionError or a plain RuntimeError
    text = str(error)
    named = any(word in text for word in ("CUDA", "cuda", "HIP", "NVIDIA", "MPS", "cuBLAS"))
    return isinstance(error, (RuntimeError, AssertionError)) and named


def _warn_cpu(device: torch.device, reason: BaseException) -> None:
    first_line = (str(reason).strip().splitlines() or [type(reason).__name__])[0]
    warnings.warn(
        f"{device} cannot do the work ({first_line}); going on with the CPU", DeviceWarning, 3
    )


def _pick_device(device: str | torch.device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise UsageError(
            "This is no device.", given=device, expected="auto, cpu, cuda or cuda:N"
        ) from error


def _pick_dtype(dtype: str | torch.dtype, device: torch.device, folder: Path) -> torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype != "auto":
        if dtype not in _DTYPES:
            raise UsageError(
                "This is no data type for a base.",
                given=dtype,
                expected="auto, float32, bfloat16 or float16",
            )
        return _DTYPES[dtype]
    if device.type == "cuda" and torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    stored = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return torch.float32 if stored <= 2 * _SMALL else torch.bfloat16


def _folder_of(id: str) -> Path:
    """The local folder of a base; downloads a Hugging Face id that is not in the cache yet."""
    if id == "pocket":
        return pocket_path()
    folder = Path(id).expanduser()
    if id.strip() and folder.exists():
        return folder
    if not id.strip() or id.startswith((".", "/", "~")) or id.count("/") > 1 or "\\" in id:
        raise BaseError(
            "The folder of the base does not exist.",
            given=id or "an empty name",
            expected="pocket, a folder with config.json, or a Hugging Face id",
        )
    return _hub_folder(id)


def _hub_folder(id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return Path(snapshot_download(id, allow_patterns=list(_HUB_FILES)))
    except GatedRepoError as error:
        raise BaseError(
            "The base needs its owner's permission.",
            given=id,
            hint="accept its licence on its Hugging Face page, then run `hf auth login`",
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise BaseError(
            "There is no such base.",
            given=id,
            expected="pocket, a folder with config.json, or a Hugging Face id",
        ) from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise BaseError(
            "The base is not on this machine, and Hugging Face cannot be reached.",
            given=id,
            hint="connect once to download it, give the path of a folder that has it, "
            "or use the base that ships with loramix: pocket",
        ) from error


def _check_folder(id: str, folder: Path) -> dict[str, Any]:
    """Read config.json, and refuse folders that lack a part or hold only pickled weights."""

    def refuse(what: str, **more: Any) -> NoReturn:
        raise BaseError(what, given=folder if str(folder) == id else f"{id} ({folder})", **more)

    if not folder.is_dir():
        refuse("The base is not a folder.", expected="a folder with config.json")
    names = {entry.name for entry in folder.iterdir()}
    if "config.json" not in names:
        refuse(
            "The folder of the base has no config.json.",
            expected="a causal language model as `save_pretrained` writes it",
        )
    if not any(name.endswith(".safetensors") for name in names):
        pickled = sorted(n for n in names if n.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl")))
        if pickled:
            refuse(
                f"The weights of the base are pickled ({pickled[0]}), and a pickle can run code "
                "when it is read.",
                expected="*.safetensors",
                hint="convert it where you trust it: "
                "AutoModelForCausalLM.from_pretrained(…).save_pretrained(folder)",
            )
        refuse("The folder of the base has no weights.", expected="*.safetensors")
    if not names & {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt"}:
        refuse(
            "The folder of the base has no tokenizer.",
            expected="tokenizer.json and tokenizer_config.json",
            hint="save it there: AutoTokenizer.from_pretrained(…).save_pretrained(folder)",
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BaseError(
            "The config.json of the base cannot be read.", given=f"{folder}: {error}"
        ) from error
    if not isinstance(config, dict):
        refuse("The config.json of the base is no JSON object.")
    return config


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
    if tokenizer.eos_token_id is None:
        raise BaseError(
            "The tokenizer of the base names no end-of-text token.",
            given=id,
            expected="eos_token in tokenizer_config.json",
        )
    return tokenizer


def _load_model(
    id: str, folder: Path, config: Mapping[str, Any], dtype: torch.dtype
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


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


# ── what a base is ───────────────────────────────────────────────────────────────────────────


def fingerprint_files(path: str | os.PathLike[str]) -> str:
    """sha256 over config.json and the safetensors of a folder, in the order of their names.

    It tells bases apart as they are stored, so the dtype they are loaded in does not matter.
    """
    folder = Path(path)
    digest = hashlib.sha256()
    for file in [folder / "config.json", *sorted(folder.glob("*.safetensors"))]:
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def weights_hash(model: torch.nn.Module) -> str:
    """sha256 over all tensors of a model in memory: equal before and after means untouched."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        plain = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(plain.view(torch.uint8).numpy().data)
    return digest.hexdigest()


# ── prompts to tokens ────────────────────────────────────────────────────────────────────────


def as_messages(prompt: Prompt, system: str | None = None) -> list[dict[str, str]]:
    """The turns of a conversation; a text is one user turn. Raises PromptError for bad turns."""
    turns: list[dict[str, str]] = [] if system is None else [{"role": "system", "content": system}]
    if isinstance(prompt, str):
        return [*turns, {"role": "user", "content": prompt}]
    for turn in prompt:
        if not (
            isinstance(turn, Mapping)
            and turn.get("role") in ("system", "user", "assistant")
            and isinstance(turn.get("content"), str)
        ):
            raise PromptError(
                "This is no turn of a conversation.",
                given=turn,
                expected='{"role": "system", "user" or "assistant", "content": text}',
            )
        turns.append({"role": turn["role"], "content": turn["content"]})
    return turns


def encode_prompt(base: Base, prompt: Prompt, system: str | None = None) -> list[int]:
    """The token ids after which the completion starts.

    With the base's chat template where it has one, up to where the assistant speaks; without
    one, the texts of the turns, each followed by a line break.
    """
    messages = as_messages(prompt, system)
    tokenizer = base.tokenizer
    if tokenizer.chat_template:
        try:
            ids: Any = tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=True, return_dict=False
            )
        except Exception as error:
            # templates raise through jinja for turns that they do not take
            raise PromptError(
                "The chat template of the base refuses this conversation.",
                given=_first_line(error),
                hint="leave out the system text, and let user and assistant take turns",
            ) from error
        return [int(token) for token in ids]
    text = "".join(f"{turn['content']}\n" for turn in messages)
    plain: list[int] = list(tokenizer(text)["input_ids"])
    while plain and plain[-1] in base.eos_ids:  # some tokenizers close every text
        plain.pop()
    return plain


def encode_example(base: Base, prompt: Prompt, completion: str) -> tuple[list[int], list[int]]:
    """Ids and labels of one training example, both of length T.

    The labels are -100 on the prompt, so that only the completion, which ends with the
    end-of-text token, is learned.
    """
    context = encode_prompt(base, prompt)
    answer = base.tokenizer(completion, add_special_tokens=False)["input_ids"]
    answer = [*answer, base.eos_ids[0]]
    return context + answer, [-100] * len(context) + answer


def check_text(text: str) -> None:
    """Raises PromptError if there is nothing in `text`."""
    if not text.strip():
        raise PromptError(
            "The prompt is empty.", given=repr(text), expected="a text", hint="say what you want"
        )


def check_prompt(
    base: Base, prompt: Prompt, max_new_tokens: int = 1, system: str | None = None
) -> list[int]:
    """The ids of a prompt that leaves room for `max_new_tokens`.

    Raises:
        PromptError: it is empty, or too long.
    """
    turns = as_messages(prompt)
    check_text(turns[-1]["content"] if turns else "")
    ids = encode_prompt(base, prompt, system)
    if len(ids) + max_new_tokens > base.max_length:
        raise PromptError(
            f"The prompt does not fit into the context of {base.id}.",
            given=f"{len(ids)} tokens of prompt and {max_new_tokens} to generate",
            expected=f"at most {base.max_length} together",
            hint="shorten the prompt, ask for fewer new tokens, or use a base with a longer "
            "context",
        )
    return ids


__all__ = [
    "Base",
    "DeviceWarning",
    "Message",
    "Prompt",
    "as_messages",
    "check_prompt",
    "check_text",
    "device_failed",
    "encode_example",
    "encode_prompt",
    "fingerprint_files",
    "load_base",
    "pocket_path",
    "weights_hash",
]
