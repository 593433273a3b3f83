"""How a server is run, and what it refuses to run as."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from loramix.errors import UsageError, nearest

RouteBy = Literal["last", "conversation", "first"]
"""What of a conversation a router reads; `first` stays the same in every turn, so it sticks."""

KEY_LENGTH = 8
MOST_INTERVAL = 10.0
DAY = 86_400.0
"""Seconds; what is longer no clock of the system's waits for."""


@dataclass(frozen=True)
class ServeSettings:
    """How a server is run.

    Attributes:
        library: its folder; None is the one that ships with the package.
        host, port: where it listens; port 0 is any free one.
        router, policy: how mixes are chosen where none is given; None is what the library has.
        route_by: what of a conversation the router reads: its `last` user message (and
            what that leans on; see `loramix.gate.route_turns`), all user
            messages of the `conversation`, or the `first`, so that the mix stays.
        device, dtype: see `load_base`.
        api_keys: any of them opens the server; none is needed where there are none.
        allow_remote: listen beyond this machine without a key.
        cors_origins: origins whose pages may call the server from a browser.
        allow_runtime_lora: let requests load and unload adapters.
        lora_dir: the one folder that they are loaded from; None is `adapters` in the library's
            parent folder.
        report: the report.html to show; None is the one beside the library, if there is any.
        max_body: bytes of a request's body.
        max_prompt_tokens: of a prompt; None is what the context holds.
        max_tokens: the most tokens of a completion, and how many where a request does not say.
        max_n: completions of one request.
        concurrency: requests of one client that are answered at once; 0 is any number.
        rate: requests of one client in a minute; 0 is any number.
        max_queue: completions that may wait for a slot.
        max_rows: completions that are written at once.
        max_resident: skills in memory.
        cache_bytes: of keys and values of what is written; None is a quarter of the memory that is
            free.
        prefix_bytes: of keys and values kept for prompts that begin alike; 0 keeps none.
        chunk_interval: seconds between two chunks of a stream, at least; what is written meanwhile
            comes in one, which is one write to a socket.
        deadline: seconds that a request may take, waiting included.
        grace: seconds in which a server that is stopped finishes its answers.
        log_prompts: write prompts and answers into the log, and into traces.
        otel: trace requests with OpenTelemetry; its variables `OTEL_*` say where to and how.
        otlp_traces_endpoint: where to; the same as `otel` and the variable
            `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`.

    Raises:
        UsageError: a value is out of its range, or the server would be open to everybody.
    """

    library: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    router: str | None = None
    policy: str | None = None
    route_by: RouteBy = "last"
    device: str = "auto"
    dtype: str = "auto"
    api_keys: tuple[str, ...] = ()
    allow_remote: bool = False
    cors_origins: tuple[str, ...] = ()
    allow_runtime_lora: bool = False
    lora_dir: Path | None = None
    report: Path | None = None
    max_body: int = 1 << 20
    max_prompt_tokens: int | None = None
    max_tokens: int = 1024
    max_n: int = 8
    concurrency: int = 0
    rate: int = 0
    max_queue: int = 256
    max_rows: int = 32
    max_resident: int = 64
    cache_bytes: int | None = None
    prefix_bytes: int = 64 << 20
    chunk_interval: float = 0.03
    deadline: float = 120.0
    grace: float = 30.0
    log_prompts: bool = False
    otel: bool = False
    otlp_traces_endpoint: str | None = None

    def __post_init__(self) -> None:
        for name, least in (
            ("port", 0),
            ("max_body", 1),
            ("max_prompt_tokens", 1),
            ("max_tokens", 1),
            ("max_n", 1),
            ("concurrency", 0),
            ("rate", 0),
            ("max_queue", 1),
            ("max_rows", 1),
            ("max_resident", 1),
            ("cache_bytes", 1),
            ("prefix_bytes", 0),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name} is out of range.", given=value, expected=f"{least}, more")
        if not 0 <= self.chunk_interval <= MOST_INTERVAL:
            raise UsageError(
                "chunk_interval is out of range.",
                given=self.chunk_interval,
                expected=f"0 to {MOST_INTERVAL:g} seconds",
            )
        if not 0 < self.deadline <= DAY:
            raise UsageError(
                "deadline is out of range.", given=self.deadline, expected="above 0, a day at most"
            )
        if not 0 <= self.grace <= DAY:
            raise UsageError(
                "grace is out of range.", given=self.grace, expected="0 to 86400 seconds"
            )
        if self.port > 65535:
            raise UsageError("port is out of range.", given=self.port, expected="at most 65535")
        if self.route_by not in get_args(RouteBy):
            near = nearest(str(self.route_by), get_args(RouteBy))
            raise UsageError(
                "There is no such part of a conversation.",
                given=self.route_by,
                expected=", ".join(get_args(RouteBy)),
                hint=f"did you mean {near!r}?" if near else "name one of them",
            )
        self._check_keys()
        endpoint = self.otlp_traces_endpoint
        if endpoint is not None and not endpoint.startswith(("http://", "https://")):
            raise UsageError(
                "Traces cannot be sent there.",
                given=f"--otlp-traces-endpoint {endpoint}",
                expected="a URL of OTLP over HTTP, such as http://localhost:4318/v1/traces",
            )
        if self.lora_dir is not None and not self.allow_runtime_lora:
            raise UsageError(
                "A folder of adapters is given, and none may be loaded from it.",
                given=f"--lora-dir {self.lora_dir}",
                hint="pass --allow-runtime-lora too, or leave the folder out",
            )

    @property
    def traced(self) -> bool:
        """Whether requests are traced."""
        return self.otel or self.otlp_traces_endpoint is not None

    def _check_keys(self) -> None:
        for key in self.api_keys:
            if len(key) < KEY_LENGTH or not key.isascii() or not key.isprintable() or " " in key:
                raise UsageError(
                    "An API key cannot be used.",
                    given=f"one of {len(key)} characters",
                    expected=f"at least {KEY_LENGTH} visible ASCII characters",
                    hint='make one: python -c "import secrets; print(secrets.token_urlsafe())"',
                )
        if not self.api_keys and not self.allow_remote and not is_loopback(self.host):
            raise UsageError(
                "Everybody who reaches this machine could use the server.",
                given=f"--host {self.host}, and no key",
                expected="a key, or an address that only this machine reaches, as 127.0.0.1",
                hint="pass --api-key KEY (or LORAMIX_API_KEY), or --allow-remote if it is meant so",
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
