"""From an error to what a client reads: a status, a stable code, and OpenAI's error body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi.responses import JSONResponse

from loramix.engine.faults import NO_NUMBERS
from loramix.errors import (
    AdapterError,
    AdapterMismatchError,
    ClosedError,
    ConfigError,
    DeadlineError,
    ForwardError,
    LibraryBusyError,
    LibraryChangedError,
    LibraryError,
    LoramixError,
    PromptError,
    QueueFullError,
    RecipeError,
    ResourceError,
    SkillInUseError,
    StorageError,
    UnknownSkillError,
    UnsupportedAdapterError,
    UsageError,
)

RETRY_SECONDS = 1

# What was found where these are raised (paths, processes) is for the log alone.
_OURS = (StorageError, LibraryBusyError)

# The first that fits; so a class stands before the one that it belongs to.
_KINDS: tuple[tuple[type[LoramixError], int, str], ...] = (
    (QueueFullError, 429, "queue_full"),
    (ResourceError, 400, "too_large"),
    (DeadlineError, 504, "deadline_exceeded"),
    (ClosedError, 503, "shutting_down"),
    (ForwardError, 500, "model_failed"),
    (LibraryBusyError, 503, "library_busy"),
    (LibraryChangedError, 409, "generation_conflict"),
    (StorageError, 507, "storage_failed"),
    (UnknownSkillError, 404, "model_not_found"),
    (RecipeError, 400, "invalid_mix"),
    (PromptError, 400, "invalid_prompt"),
    (UnsupportedAdapterError, 400, "unsupported_adapter"),
    (AdapterMismatchError, 400, "adapter_mismatch"),
    (AdapterError, 400, "invalid_adapter"),
    (SkillInUseError, 409, "skill_in_use"),
    (LibraryError, 503, "skill_unavailable"),
    (ConfigError, 400, "invalid_value"),
    (UsageError, 400, "invalid_value"),
)


class ApiError(Exception):
    """An answer that is an error.

    Args:
        status: of the response.
        code: stable, for programs.
        message: for people.
        param: the field that it is about.
        retry_after: seconds after which another try may do.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.param, self.retry_after = param, retry_after

    @property
    def kind(self) -> str:
        """OpenAI's `type`."""
        special = {401: "authentication_error", 429: "rate_limit_error"}
        return special.get(
            self.status, "server_error" if self.status >= 500 else "invalid_request_error"
        )

    def body(self) -> dict[str, Any]:
        """OpenAI's error body."""
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.code,
            }
        }

    @property
    def headers(self) -> dict[str, str]:
        """Of the response."""
        headers = {}
        if self.retry_after is not None:
            headers["retry-after"] = str(max(1, round(self.retry_after)))
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return headers

    def response(self) -> JSONResponse:
        """As a response."""
        return JSONResponse(self.body(), self.status, self.headers)


def api_error(
    error: Exception, *, param: str | None = None, hide: Mapping[str, str] | None = None
) -> ApiError:
    """What a client reads for `error`.

    Args:
        error: what was raised.
        param: the field that it is about.
        hide: texts that are not for strangers, such as paths, and what to write instead.
    """
    if isinstance(error, ApiError):
        return error
    if not isinstance(error, LoramixError):
        return ApiError(500, "internal_error", "The server failed; its log says why.")
    status, code = next(
        ((status, code) for kind, status, code in _KINDS if isinstance(error, kind)),
        (500, "internal_error"),
    )
    if isinstance(error, ForwardError) and error.given == NO_NUMBERS:
        status, code = 400, "no_numbers"  # weights that the model cannot compute with
    if isinstance(error, PromptError) and "context" in error.what:
        code = "context_length_exceeded"
    message = str(error)
    if isinstance(error, _OURS):
        message = str(LoramixError(error.what, hint=error.hint))
    for text, instead in (hide or {}).items():
        message = message.replace(text, instead)
    retry = RETRY_SECONDS if status in (429, 503) and code != "skill_unavailable" else None
    return ApiError(status, code, message, param=param, retry_after=retry)
