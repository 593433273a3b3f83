"""The folder of a base: found, fetched, checked before anything of it is loaded."""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from safetensors import safe_open

from loramix.errors import BaseError

if TYPE_CHECKING:
    from torch import Tensor

_HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")


def pocket_path() -> Path:
    """The folder of the base that ships with the package."""
    return Path(__file__).parent.parent / "pocket" / "base"


def find_folder(id: str) -> Path:
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
            hint="check the path; a relative one in a YAML starts at the YAML's folder",
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
            hint="check its name, or give the path of a folder",
        ) from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise BaseError(
            "The base is not on this machine, and Hugging Face cannot be reached.",
            given=id,
            hint="connect once to download it, give the path of a folder that has it, "
            "or use the base that ships with loramix: pocket",
        ) from error


def check_folder(id: str, folder: Path) -> dict[str, Any]:
    """Read config.json, and refuse folders that lack a part or hold only pickled weights."""

    def refuse(what: str, **more: Any) -> NoReturn:
        raise BaseError(what, given=folder if str(folder) == id else f"{id} ({folder})", **more)

    if not folder.is_dir() and id == "pocket":
        refuse(
            "The pocket base is not part of this checkout.",
            expected="its files, as `make pocket` puts them there",
            hint="run `make pocket CORPUS=FOLDER` (tools/pocket/README.md), or name another base",
        )
    if not folder.is_dir():
        refuse(
            "The base is not a folder.",
            expected="a folder with config.json",
            hint="give the folder that `save_pretrained` wrote",
        )
    names = {entry.name for entry in folder.iterdir()}
    if "config.json" not in names:
        refuse(
            "The folder of the base has no config.json.",
            expected="a causal language model as `save_pretrained` writes it",
            hint="give the folder that holds config.json itself, or pocket for the one that ships",
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


class StoredWeights:
    """The tensors of a folder, read one at a time: nothing stays in memory but what is returned.

    A file that is kept open would keep every page that was read of it in memory.

    Raises:
        BaseError: a file is broken.
    """

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, Path] = {}
        for file in sorted(folder.glob("*.safetensors")):
            try:
                with safe_open(file, "pt") as tensors:
                    self._files |= dict.fromkeys(tensors.keys(), file)
            except Exception as error:  # safetensors has a type of its own for broken files
                raise BaseError(
                    "The base cannot be loaded: a file of its weights is broken.",
                    given=f"{file}: {error}",
                    hint="download or save the base again",
                ) from error

    def __call__(self, name: str, weight: Tensor) -> Tensor:
        """The weight of that name as it is stored.

        Args:
            name: of a parameter.
            weight: what the model has there; given back where the file calls it otherwise.
        """
        weight = weight.detach()
        if name not in self._files:
            return weight
        with safe_open(self._files[name], "pt") as tensors:
            found: Tensor = tensors.get_tensor(name)
        if found.shape != weight.shape or not (found[:1].to(weight.dtype) == weight[:1]).all():
            return weight
        return found

    def count(self) -> int:
        """How many numbers there are in all tensors, by the headers alone."""
        total = 0
        for file in set(self._files.values()):
            with safe_open(file, "pt") as tensors:
                shapes = [tensors.get_slice(key).get_shape() for key in tensors.keys()]  # noqa: SIM118
                total += sum(math.prod(shape) for shape in shapes)
        return total
