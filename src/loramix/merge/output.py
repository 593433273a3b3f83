"""The folder of an expert: an adapter or a standalone model, its card and plot; whole or absent.

Everything is written into a hidden folder beside the place, forced to the disk, and then renamed.
A kill leaves at most such a hidden folder, which the next merge to that place deletes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from loramix.adapter_files import CONFIG_FILE, WEIGHTS_FILE, write_adapter
from loramix.base import Base, is_conv1d, load_base
from loramix.errors import BaseError, UsageError
from loramix.lora import Adapter, check_fit
from loramix.storage import (
    make_folder,
    move,
    remove_tree,
    storage_errors,
    sync_folder,
    sync_tree,
    write_file,
)

RECORD, README, PLOT = "expert.json", "README.md", "retention.svg"
_STAGING, _ASIDE = ".merging-", ".replaced-"
_KEPT_SUFFIX = ".old"
_DTYPES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


def check_place(out: Path, force: bool) -> None:
    """Raises UsageError unless an expert may be written to `out`; tidies up after a kill."""
    _recover(out)
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir() or out.is_symlink():
        raise UsageError(
            f"{out} is {'a link' if out.is_symlink() else 'a file'}, and an expert is a folder.",
            given=f"-o {out}",
            hint="choose another place",
        )
    if not force:
        raise UsageError(
            f"The folder {out} exists already; nothing was written.",
            given=f"-o {out}",
            expected="a new folder",
            hint="choose another one, or pass --force to replace it",
        )


@contextlib.contextmanager
def whole_folder(out: Path, *, force: bool = False) -> Iterator[Path]:
    """A hidden folder to fill; when the block has ended well, it is `out`.

    With `force` an expert that is there is replaced. Anything else that is there is not deleted:
    it is kept beside as `OUT.old`.

    Raises:
        UsageError: there is something, and no `force`.
        StorageError: the disk is full or does not let us write.
    """
    check_place(out, force)
    make_folder(out.parent)
    staging = out.parent / f"{_STAGING}{out.name}-{os.getpid()}"
    try:
        make_folder(staging)
        yield staging
        sync_tree(staging)
        check_place(out, force)
        _swap(staging, out)
    finally:
        remove_tree(staging)


def _swap(staging: Path, out: Path) -> None:
    if not out.exists():
        move(staging, out)
    else:
        ours = (out / RECORD).is_file() or not any(out.iterdir())
        aside = out.parent / f"{_ASIDE}{out.name}" if ours else _free(out)
        move(out, aside)
        move(staging, out)
        if ours:
            remove_tree(aside)
    sync_folder(out.parent)


def _free(out: Path) -> Path:
    number = 0
    while True:
        name = f"{out.name}{_KEPT_SUFFIX}{number or ''}"
        if not (out.parent / name).exists():
            return out.parent / name
        number += 1


def _recover(out: Path) -> None:
    """What a killed merge left: put back what it had moved away, delete what it had begun."""
    aside = out.parent / f"{_ASIDE}{out.name}"
    if aside.exists():
        if out.exists():
            remove_tree(aside)
        else:
            move(aside, out)
    for left in out.parent.glob(f"{_STAGING}*"):
        name, _, writer = left.name.removeprefix(_STAGING).rpartition("-")
        if name == out.name and writer.isdecimal() and not _runs(int(writer)):
            remove_tree(left)


def _runs(process: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True


def write_parts(
    folder: Path, adapter: Adapter | None, record: Mapping[str, Any], svg: str | None
) -> None:
    """Writes the adapter (None where the folder is a standalone model), record, card and plot."""
    if adapter is not None:
        write_adapter(adapter, folder)
    text = json.dumps(record, indent=2, ensure_ascii=False, default=str)
    write_file(folder / RECORD, f"{text}\n".encode())
    write_file(folder / README, expert_card(record, adapter is None).encode())
    if svg is not None:
        write_file(folder / PLOT, svg.encode())


def write_full(base: Base, adapter: Adapter, folder: Path) -> str:
    """Writes the base with ΔW inside its weights, in the type that they are stored in.

    The sum is made in float64 from the weights as they are stored, so that a base which runs as
    int8 is merged in full precision, and can be loaded as int8 again.

    Returns:
        How it was done, as the card says it.

    Raises:
        BaseError: the base cannot be loaded, is stored quantised, or shares a merged weight.
        StorageError: the disk is full or does not let us write.
    """
    if base.path is None:
        raise BaseError("A standalone model needs a base that lies in a folder.", given=base.id)
    config = json.loads((base.path / "config.json").read_text("utf-8"))
    if config.get("quantization_config"):
        raise BaseError(
            "The weights of the base are stored quantised, and are not merged into.",
            given=base.id,
            expected="a base that is stored in fp32, bf16 or fp16",
            hint="leave out --full: the adapter runs beside a quantised base",
        )
    stored = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    whole = load_base(str(base.path), "cpu", _DTYPES.get(stored, "fp32"))
    add_to_weights(whole.model, adapter)
    with storage_errors("saving the model", folder):
        for file in base.path.iterdir():
            if file.is_file() and _belongs_to_tokenizer(file.name):
                shutil.copyfile(file, folder / file.name)
        _save_quietly(whole.model, folder)
    return (
        f"summed in float64 with the base's weights as they are stored, rounded once to "
        f"{whole.precision}"
    )


def _save_quietly(model: Any, folder: Path) -> None:
    """Without transformers' own bar, which would stand among the phases."""
    from transformers.utils import logging as hf_logging

    log: Any = hf_logging
    shown = log.is_progress_bar_enabled()
    log.disable_progress_bar()
    try:
        model.save_pretrained(folder)
    finally:
        if shown:
            log.enable_progress_bar()


def _belongs_to_tokenizer(name: str) -> bool:
    return name.endswith((".json", ".model", ".txt", ".jinja")) and not name.endswith(".index.json")


@torch.no_grad()
def add_to_weights(model: torch.nn.Module, adapter: Adapter) -> None:
    """W + ΔW in every layer that the adapter has, summed in float64 and rounded once.

    Raises:
        BaseError: a layer shares its weight with another, such as a head with the embedding.
    """
    check_fit(adapter, model)
    layers = dict(model.named_modules())
    owners: dict[int, list[str]] = {}
    for path, layer in layers.items():
        weight = getattr(layer, "weight", None)
        if isinstance(weight, torch.Tensor):
            owners.setdefault(weight.data_ptr(), []).append(path)
    for path, module in adapter.modules.items():
        target: Any = layers[path]
        sharing = owners[target.weight.data_ptr()]
        if len(sharing) > 1:
            raise BaseError(
                f"{path} shares its weight with another layer, so that both would change.",
                given=", ".join(sharing),
                hint="leave out --full: as an adapter the expert changes only one of them",
            )
        delta = module.delta()
        delta = delta.T if is_conv1d(target) or module.embedding else delta
        target.weight.copy_((target.weight.double() + delta).to(target.weight.dtype))


def stored_bytes(folder: Path, names: tuple[str, ...] | None = None) -> int:
    """Bytes of the files in a folder; of those named only."""
    files = [file for file in folder.iterdir() if file.is_file()]
    return sum(file.stat().st_size for file in files if names is None or file.name in names)


ADAPTER_FILES = (CONFIG_FILE, WEIGHTS_FILE)


def _lessons(record: Mapping[str, Any]) -> list[str]:
    done = record["distilled"]
    if done is None:
        return []
    return [f"Then it learned from its skills: {done['rows']:,} rows in {done['steps']:,} steps."]


def expert_card(record: Mapping[str, Any], full: bool) -> str:
    """The `README.md` of an expert: a model card whose front matter the Hub reads."""
    lines = [
        "---",
        f"base_model: {json.dumps(record['base'])}",
        f"library_name: {'transformers' if full else 'peft'}",
        "pipeline_tag: text-generation",
        "tags:",
        *(f"- {tag}" for tag in ("lora", "merge", "loramix")),
        "---",
        "",
        f"# {record['name']}",
        "",
        f"Merged by loramix from {', '.join(record['weights'])}, skills of the base "
        f"`{record['base']}`.",
        "",
        f"Method {record['method']}, rank {record['rank']}; the rank holds "
        f"{record['energy']:.2%} of the merged update.",
        *_lessons(record),
        "",
        f"Weights ({record['convention']}):",
        "",
        "| skill | weight | before | after | kept |",
        "|---|---|---|---|---|",
    ]
    for name, weight in record["weights"].items():
        row = record["skills"].get(name, {})
        share = record["retention"].get(name)
        cells = [row.get("before"), row.get("after"), share]
        told = " | ".join("–" if cell is None else f"{cell:.3f}" for cell in cells)
        lines.append(f"| {name} | {weight:.4g} | {told} |")
    extras = [f"{key} {record[key]}" for key in ("density", "seed") if record.get(key) is not None]
    if extras:
        lines += ["", f"Set to {', '.join(extras)}."]
    if full:
        lines += ["", f"A standalone model: the update was {record['full']}."]
    use = (
        'model = AutoModelForCausalLM.from_pretrained("THIS FOLDER")'
        if full
        else 'model = peft.PeftModel.from_pretrained(base_model, "THIS FOLDER")'
    )
    return "\n".join([*lines, "", "## Use", "", "```python", use, "```", ""])
