"""Where things lie: the library that is served, and the folder that adapters come from."""

from __future__ import annotations

from pathlib import Path

from loramix.errors import UsageError
from loramix.gate import check_router, make_policy
from loramix.library import Library
from loramix.serve.settings import ServeSettings


def open_library(settings: ServeSettings) -> Library:
    """The library to serve.

    Raises:
        LibraryError: it is none.
        UsageError: adapters are to be loaded into the one that ships with the package.
    """
    folder = settings.library
    library = Library.shipped() if folder is None else Library.open(folder, lenient=True)
    if settings.router is not None:
        check_router(settings.router, library.skills, library.mixes)
    if settings.policy is not None:
        make_policy(library, settings.policy)
    if settings.allow_runtime_lora:
        library.check_editable()
        if not lora_folder(settings, library).is_dir():
            raise UsageError(
                "There is no folder to load adapters from.",
                given=lora_folder(settings, library),
                expected="a folder with adapters in it",
                hint="make it, or name another one with --lora-dir",
            )
    return library


def lora_folder(settings: ServeSettings, library: Library) -> Path:
    """The one folder that adapters are loaded from."""
    return settings.lora_dir or library.path.resolve().parent / "adapters"
