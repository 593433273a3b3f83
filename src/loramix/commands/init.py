"""`loramix init`: write a commented YAML to start from."""

from __future__ import annotations

import os
from pathlib import Path

from loramix.config import template_yaml
from loramix.errors import UsageError
from loramix.storage import move, write_file

NAME = "loramix.yaml"


def init(path: Path, *, force: bool = False) -> dict[str, str]:
    """Writes the YAML of `template_yaml`; into a folder, under the name `loramix.yaml`.

    Returns:
        {"path": where it was written}

    Raises:
        UsageError: there is a file already and `force` is not set, or no such folder.
        StorageError: the disk is full or does not let us write.
    """
    path = path.expanduser()
    if path.is_dir():
        path = path / NAME
    for part in path.parents:
        if part.exists() and not part.is_dir():
            raise UsageError(
                f"{part} is a file, and {path.name} needs a folder to be in",
                hint="give another path, such as: loramix init loramix.yaml",
            )
    if not path.parent.is_dir():
        raise UsageError(
            f"{path.parent}: no such folder", hint=f"make it first: mkdir -p {path.parent}"
        )
    if path.exists() and not force:
        raise UsageError(
            f"{path} is there already",
            hint="give another path, or --force to replace it",
        )
    # Written beside and renamed, so that a full disk does not cost the old file.
    draft = path.with_name(f".loramix-{os.getpid()}.yaml")
    try:
        write_file(draft, template_yaml().encode())
        move(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return {"path": str(path)}
