"""The process: its socket, its signals, its end."""

from __future__ import annotations

import math
import signal
import socket
import sys
from contextlib import closing

import uvicorn

from loramix.errors import UsageError
from loramix.serve.app import create_app
from loramix.serve.logs import log, set_up
from loramix.serve.serving import Serving
from loramix.serve.settings import ServeSettings

KEEP_ALIVE = 75
BACKLOG = 2048
SWITCH_SECONDS = 0.0005
"""How long the engine waits for Python at most while requests are read. It asks hundreds of times
in a step, so that Python's own 5 ms would let a flood of requests stop it."""


def run(settings: ServeSettings) -> None:
    """Serve until SIGTERM or SIGINT; answers on their way are finished first.

    Raises:
        UsageError: the address is taken or not of this machine.
        LoramixError: the library or the base cannot be used.
    """
    set_up()
    sys.setswitchinterval(SWITCH_SECONDS)
    with closing(_listen(settings)) as listener:  # what is wrong with it is told before the wait
        app = create_app(settings)
        serving: Serving = app.state.serving
        host, port = listener.getsockname()[:2]
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # anybody may write them, and limits hang on who a client is
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=math.ceil(settings.grace),
            backlog=BACKLOG,
            http="h11",  # its bound on headers holds; of "auto" it depends on what is installed
            ws="none",
        )
        server = _Server(config, serving, f"http://{f'[{host}]' if ':' in host else host}:{port}")
        # uvicorn raises the signal once more at its end; by then all is done
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        try:
            server.run(sockets=[listener])
        finally:
            serving.close()
        log("ended")


class _Server(uvicorn.Server):
    """Says when it serves, and lets no request in once it is to end."""

    def __init__(self, config: uvicorn.Config, serving: Serving, url: str) -> None:
        super().__init__(config)
        self._serving, self._url = serving, url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        library = self._serving.library
        log(
            "serving",
            {
                "url": self._url,
                "library": str(library.path),
                "base": library.base_id,
                "skills": list(library.skills),
            },
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._serving.draining = True
        log("ending", {"running": self._serving.engine.stats().running})
        await super().shutdown(sockets)


def _listen(settings: ServeSettings) -> socket.socket:
    """A socket at the address, not yet open for connections."""
    host = settings.host.strip("[]")
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise UsageError(
            "The server cannot listen there.",
            given=f"{settings.host}, port {settings.port}: {error.strerror or error}",
            expected="an address of this machine and a free port",
            hint="pass another --port, or end what uses this one",
        ) from error
    return listener
