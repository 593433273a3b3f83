"""Small adapters and libraries, made in milliseconds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from loramix.adapter import Adapter, LoraSettings, init_adapter
from loramix.card import SkillCard
from loramix.library import Library
from tiny import make_tiny

FEATURES = 6
FINGERPRINT = "f" * 64


def make_adapter(seed: int = 0, rank: int = 2) -> Adapter:
    """An adapter of the tiny Llama that changes something: A and B are random."""
    adapter = init_adapter(make_tiny(), LoraSettings(r=rank, alpha=2 * rank), seed)
    random = torch.Generator().manual_seed(seed)
    modules = {
        path: dataclasses.replace(module, B=torch.randn(module.B.shape, generator=random))
        for path, module in adapter.modules.items()
    }
    return dataclasses.replace(adapter, modules=modules)


def make_memory(seed: int = 0, rows: int = 5) -> torch.Tensor:
    """Gate features, [rows, FEATURES]."""
    return torch.randn(rows, FEATURES, generator=torch.Generator().manual_seed(seed))


def make_card(name: str) -> SkillCard:
    return SkillCard(description=f"does {name}", examples=[f"please do {name}"])


def make_library(path: Path, *names: str, gate: bool = True) -> Library:
    """A library with the skills `names`; the seed of each is its place."""
    library = Library.create(path, "tiny-llama", FINGERPRINT)
    if names:
        with library.edit() as txn:
            for seed, name in enumerate(names):
                txn.add(name, make_adapter(seed), make_card(name), make_memory(seed))
            if gate:
                set_gate(txn.set_gate, names)
    return library


def set_gate(setter: object, names: tuple[str, ...]) -> None:
    """A gate whose description says which skills it is for."""
    assert callable(setter)
    setter({"weight": torch.full((len(names) + 1, FEATURES), 0.5)}, {"skills": list(names)})


def same_adapter(one: Adapter, other: Adapter) -> bool:
    """Whether two adapters are the same bit for bit."""
    return one.modules.keys() == other.modules.keys() and all(
        torch.equal(module.A, other.modules[path].A)
        and torch.equal(module.B, other.modules[path].B)
        and module.scaling == other.modules[path].scaling
        for path, module in one.modules.items()
    )


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` with its content, the writers' lock apart."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
