"""The HTTP server: OpenAI's interface in front of the engine, each request with its own mix.

    app = create_app(ServeSettings(library="library"))          # or: loramix serve

settings.py   how a server is run, and what it refuses to run as
app.py        the application: one engine, its routes, what stands before them
serving.py    the library, the engine and the routers at work; places.py, pace.py, parts.py
control.py    what no text of a client may hold; presence.py: whether its client still waits
mixes.py      the mix that a request names
openai.py     chat/completions, completions, models; bodies.py, fields.py: what may be asked;
              reading.py: how it is read
answers.py    from a submission to a body or a stream; logprobs.py, events.py
skills.py     what the library holds, and routing without an answer
adapters.py   adapters that come and go while it runs; folder.py: from one folder only
faults.py     from an error to a status, a code and OpenAI's error body
health.py     whether it lives, and its figures
guard.py      keys, sizes and rates, before anything is read
observe.py    one log line and some figures for each request; metrics.py, logs.py, tracing.py
run.py        the process: its socket, its signals, its end
"""

from __future__ import annotations

from loramix.serve.app import create_app
from loramix.serve.settings import ServeSettings

__all__ = ["ServeSettings", "create_app"]
