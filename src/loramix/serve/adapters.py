"""Adapters that come and go while the server runs; streams on their way are not disturbed.

The library on disk is changed, as `loramix add` and `loramix remove` do, so what was loaded is
there after a restart too. A row that runs holds the version of its skills with which it began.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from fastapi import APIRouter, Request

from loramix.commands.plugging import plug, unplug
from loramix.errors import (
    AdapterError,
    LibraryBusyError,
    LibraryChangedError,
    LoramixError,
    SkillInUseError,
)
from loramix.library import Library, SkillCard, validate_name
from loramix.serve.bodies import LoadBody, UnloadBody
from loramix.serve.faults import ApiError
from loramix.serve.folder import copied
from loramix.serve.places import lora_folder
from loramix.serve.reading import JsonRoute
from loramix.serve.serving import Serving
from loramix.transaction import CARD, read_card

router = APIRouter(route_class=JsonRoute)

T = TypeVar("T")

WAIT_SECONDS = 30.0
_NO_EXAMPLES = "No example prompts were given, so the gate will hardly choose it. Send 'examples'."


@router.post("/v1/load_lora_adapter")
async def load_lora_adapter(request: Request, body: LoadBody) -> dict[str, Any]:
    """Add an adapter of the server's folder to the library as a skill."""
    serving = allowed(request)
    _check_name(body.lora_name)
    return await _one_at_a_time(serving, lambda: _load(serving, body))


@router.post("/v1/unload_lora_adapter")
async def unload_lora_adapter(request: Request, body: UnloadBody) -> dict[str, Any]:
    """Take a skill out of the library."""
    serving = allowed(request)
    _check_name(body.lora_name)
    return await _one_at_a_time(serving, lambda: _unload(serving, body))


def _load(serving: Serving, body: LoadBody) -> dict[str, Any]:
    name = body.lora_name
    serving.check_text(body.description or "", "description")
    for text in body.examples or ():
        serving.check_text(text, "examples")
    source = lora_folder(serving.settings, serving.library)
    with copied(source, body.lora_path) as folder, _named(serving, folder, body.lora_path):
        target = Library.open(serving.library.path, going=name if body.load_inplace else None)
        if not body.load_inplace and name in {*target.skills, *target.mixes}:
            raise ApiError(
                409,
                "name_taken",
                f"There is a skill or a mix {name!r} already. Choose another name, or set "
                "'load_inplace' to replace a skill.",
                param="lora_name",
            )
        card = read_card(folder) if (folder / CARD).is_file() else SkillCard()
        given = [text for text in body.examples or card.examples if text.strip()]
        description = body.description or card.description
        prompts = given or [description or name.replace("-", " ").replace("_", " ")]
        plugged = plug(
            target,
            serving.base_beside(),
            folder,
            name,
            prompts,
            f"{len(given)} prompts",
            description=description,
            replace=body.load_inplace,
            expected=body.expected_generation,
        )
    serving.refresh()
    told = _told(serving, f"Success: LoRA adapter '{name}' added successfully.")
    accuracy = plugged.gate.accuracy
    told["gate"] = {"accuracy": accuracy if accuracy == accuracy else None}
    told["similar"] = plugged.similar
    told["examples"] = len(given)
    told["warnings"] = [
        {"code": code, "message": message}
        for code, message in (
            ("other_base", plugged.other_base),
            ("no_examples", None if given else _NO_EXAMPLES),
        )
        if message is not None
    ]
    return told


@contextlib.contextmanager
def _named(serving: Serving, folder: Path, told: str) -> Iterator[None]:
    """What is wrong with an adapter is told of the folder that was asked for, not of its copy."""
    try:
        yield
    except AdapterError as error:
        raise serving.error(error, "lora_path", {str(folder): told}) from error


def _unload(serving: Serving, body: UnloadBody) -> dict[str, Any]:
    name = body.lora_name
    target = Library.open(serving.library.path, going=name)
    if name in target.mixes or name not in {*target.skills, *serving.library.skills}:
        raise ApiError(404, "model_not_found", f"There is no skill {name!r}.", param="lora_name")
    unplug(target, serving.base_beside(), name, expected=body.expected_generation)
    serving.refresh()
    return _told(serving, f"Success: LoRA adapter '{name}' removed successfully.")


async def _one_at_a_time(serving: Serving, work: Callable[[], T]) -> T:
    """Do a change when those before it are done.

    It waits outside of the threads, of which there are few: prompts are read in them too.
    """
    serving.check_open()
    try:
        await asyncio.wait_for(serving.changing.acquire(), WAIT_SECONDS)
    except asyncio.TimeoutError:
        raise LibraryBusyError("Another change of the library takes its time.") from None
    change = asyncio.ensure_future(asyncio.to_thread(_change, serving, work))
    change.add_done_callback(lambda _: serving.changing.release())
    return await asyncio.shield(change)  # whoever leaves does not end it half-way


def _change(serving: Serving, work: Callable[[], T]) -> T:
    """What came of a change, in the client's words."""
    try:
        return work()
    except LibraryChangedError as error:
        raise serving.error(error, "expected_generation") from error
    except SkillInUseError as error:
        raise serving.error(error, "lora_name") from error


def _told(serving: Serving, message: str) -> dict[str, Any]:
    library = serving.library
    return {
        "message": message,
        "generation": library.generation,
        "skills": list(library.skills),
    }


def allowed(request: Request) -> Serving:
    """What is served; raises ApiError where its skills may not be changed."""
    serving: Serving = request.app.state.serving
    if not serving.settings.allow_runtime_lora:
        raise ApiError(
            403,
            "runtime_lora_disabled",
            "This server does not load or unload adapters. Start it with --allow-runtime-lora.",
        )
    return serving


def _check_name(name: str) -> None:
    try:
        validate_name(name)
    except LoramixError as error:
        raise ApiError(400, "invalid_name", str(error), param="lora_name") from error
