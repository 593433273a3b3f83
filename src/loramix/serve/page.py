"""The page at `/`, the report, and adapters that come through the page.

The page is a folder of hand-written HTML, CSS and JavaScript (`static/`). It works offline under a
Content-Security-Policy that lets nothing run, load or connect but what this server has; what a
model wrote reaches it as text only. Gradio would have needed inline scripts and styles, fonts from
elsewhere and tens of packages, and still own drawing for mixes, scores and sliders.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import tempfile
import time
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.types import Message

from loramix.adapter_files import CONFIG_FILE, WEIGHTS_FILE
from loramix.errors import StorageError
from loramix.serve import adapters
from loramix.serve.bodies import LoadBody
from loramix.serve.faults import ApiError
from loramix.serve.places import lora_folder
from loramix.serve.serving import Serving
from loramix.storage import storage_errors

router = APIRouter(include_in_schema=False)

INDEX = "index.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "frame-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
# The report draws with inline styles; in a sandbox without scripts these can do no harm.
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'self'; sandbox"
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
FIELDS = {CONFIG_FILE, WEIGHTS_FILE, "lora_name", "description", "examples"}
TICKET_SECONDS = 60
UPLOAD_BYTES = 1 << 30
UPLOAD_PAUSE = 30.0
"""Seconds in which some more of an upload must come."""

UPLOAD_SECONDS = 900.0
"""Seconds for all of it."""

T = TypeVar("T")

_secret = secrets.token_bytes(32)  # tickets end with the process


def _static() -> dict[str, tuple[bytes, dict[str, str]]]:
    """Name → content and headers: what is not in this folder cannot be asked for."""
    found = {}
    for path in sorted((Path(__file__).parent / "static").iterdir()):
        if path.suffix not in TYPES:
            continue
        content = path.read_bytes()
        found[path.name] = (
            content,
            {
                **HEADERS,
                "content-type": TYPES[path.suffix],
                "content-security-policy": PAGE_POLICY,
                "cache-control": "no-cache",
                "etag": f'"{hashlib.sha256(content).hexdigest()[:24]}"',
            },
        )
    return found


_FILES = _static()


@router.api_route("/", methods=["GET", "HEAD"])
async def index(request: Request) -> Response:
    """The page."""
    return _file(request, INDEX)


@router.api_route("/report", methods=["GET", "HEAD"])
async def report(request: Request) -> Response:
    """The report of the library."""
    return _report(request)


@router.post("/page/report")
async def ticket(request: Request) -> dict[str, str]:
    """Where the report may be read within a minute without a key: a frame cannot send one."""
    _report_path(request)
    end = str(int(time.time()) + TICKET_SECONDS)
    return {"url": f"page/report?ticket={end}.{_sign(end)}"}


@router.get("/page/report")
async def report_by_ticket(request: Request, ticket: str = "") -> Response:
    """The report for who has a ticket."""
    end, _, signature = ticket.partition(".")
    known = hmac.compare_digest(signature.encode(), _sign(end).encode())
    if not known or int(end) < time.time():
        raise ApiError(403, "invalid_ticket", "This link to the report is over. Open it anew.")
    return _report(request)


@router.get("/page/limits")
async def limits(request: Request) -> dict[str, int]:
    """The bounds of a request: tokens of an answer, and those that the context holds in all."""
    serving: Serving = request.app.state.serving
    context = serving.base.max_length
    return {"max_tokens": min(serving.settings.max_tokens, context), "context": context}


@router.post("/page/upload")
async def upload(request: Request) -> dict[str, Any]:
    """Takes an adapter's two files and loads it, as `/v1/load_lora_adapter` does.

    The form has `lora_name`, the files `adapter_config.json` and `adapter_model.safetensors`, and
    may have `description` and `examples`, one a line. Nothing of the upload stays but the skill.
    """
    serving = adapters.allowed(request)
    _check_same_site(request)
    form = await _form(request)
    try:
        surplus = sorted(set(form) - FIELDS)
        if surplus:
            raise ApiError(
                400,
                "unknown_field",
                f"The form has unknown fields: {', '.join(surplus)[:200]}.",
                param=surplus[0][:200],
            )
        files = {name: _field(form, name, UploadFile) for name in (CONFIG_FILE, WEIGHTS_FILE)}
        name, description, examples = (
            _field(form, field, str) for field in ("lora_name", "description", "examples")
        )
        root = lora_folder(serving.settings, serving.library)
        with (
            storage_errors("keeping the upload", root),
            tempfile.TemporaryDirectory(dir=root, prefix="upload-") as folder,
        ):
            for file, content in files.items():
                await asyncio.to_thread(_write, Path(folder) / file, content)
            fields = {
                "lora_name": name,
                "lora_path": Path(folder).name,
                "description": description or None,
                "examples": [line for line in examples.splitlines() if line.strip()] or None,
            }
            try:
                body = LoadBody.model_validate(fields)
            except ValidationError as error:
                raise RequestValidationError(error.errors(), body=fields) from error
            return await adapters.load_lora_adapter(request, body)
    finally:
        await form.close()


@router.api_route("/page/{name}", methods=["GET", "HEAD"])
async def static(request: Request, name: str) -> Response:
    """One file of the page."""
    return _file(request, name)


def _file(request: Request, name: str) -> Response:
    if name not in _FILES:
        raise ApiError(404, "not_found", "The page has no such file.")
    content, headers = _FILES[name]
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(None, 304, headers)
    return Response(content, headers=headers)


def _report_path(request: Request) -> Path:
    serving: Serving = request.app.state.serving
    path = serving.report
    if path is None:
        raise ApiError(
            404,
            "no_report",
            "This server has no report. `loramix demo` writes one; start the server with "
            "`loramix serve --report FILE` to show it.",
        )
    return path


def _report(request: Request) -> Response:
    try:
        text = _report_path(request).read_bytes()
    except OSError as error:
        raise StorageError("The report cannot be read.", given=error.strerror) from error
    headers = {
        **HEADERS,
        "content-security-policy": REPORT_POLICY,
        "cache-control": "no-store",
    }
    return HTMLResponse(text, headers=headers)


def _sign(text: str) -> str:
    return hmac.new(_secret, text.encode(), "sha256").hexdigest()


def _check_same_site(request: Request) -> None:
    """Refuses a form of another site: browsers send these without asking this server first."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        same = site in ("same-origin", "none")
    else:
        same = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if not same:
        raise ApiError(403, "other_site", "Adapters are taken from this server's own page only.")


async def _form(request: Request) -> FormData:
    """The fields of a multipart form; its files are on disk."""
    size, end = 0, time.monotonic() + UPLOAD_SECONDS

    async def bounded() -> Message:
        nonlocal size
        left = end - time.monotonic()
        try:
            message = await asyncio.wait_for(request.receive(), min(left, UPLOAD_PAUSE))
        except asyncio.TimeoutError:
            told = (
                f"Nothing more came for {UPLOAD_PAUSE:g} seconds."
                if left > UPLOAD_PAUSE
                else f"The upload did not come in {UPLOAD_SECONDS:g} seconds."
            )
            raise ApiError(408, "request_timeout", told) from None
        size += len(message.get("body", b""))
        if size > UPLOAD_BYTES:
            raise ApiError(413, "body_too_large", f"An upload has at most {UPLOAD_BYTES} bytes.")
        return message

    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        raise ApiError(400, "invalid_request", "An upload is a form of multipart/form-data.")
    with storage_errors("keeping the upload", Path(tempfile.gettempdir())):
        return await Request(request.scope, bounded).form(max_files=4, max_fields=8)


def _field(form: FormData, name: str, kind: type[T]) -> T:
    """A field of a form; raises ApiError where it is of another kind, or a file is missing."""
    value = form.get(name, "" if kind is str else None)
    if not isinstance(value, kind):
        what = "text" if kind is str else "file"
        raise ApiError(400, "invalid_request", f"The form needs {name!r}, a {what}.", param=name)
    return value


def _write(path: Path, file: UploadFile) -> None:
    with path.open("wb") as target:
        while block := file.file.read(1 << 20):
            target.write(block)
