"""The command `serve`, which has more options than fit beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loramix.commands.options import (
    DeviceOption,
    DtypeOption,
    LibraryOption,
    PolicyOption,
    RouterOption,
)


def serve(
    library: LibraryOption = None,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 is any free one.")] = 8000,
    router: RouterOption = None,
    policy: PolicyOption = None,
    route_by: Annotated[
        str,
        typer.Option(
            help="What of a conversation the router reads: its last user message (with "
            "what that leans on), the whole conversation, or the first message, so that the mix "
            "stays."
        ),
    ] = "last",
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY",
            envvar="LORAMIX_API_KEY",
            help="A key that opens the server; may be given again. The variable parts them "
            "with blanks, and does not show in the list of processes.",
        ),
    ] = None,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Listen beyond this machine without a key.")
    ] = False,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="An origin whose pages may call; may be given again."),
    ] = None,
    allow_runtime_lora: Annotated[
        bool,
        typer.Option("--allow-runtime-lora", help="Let requests load and unload adapters."),
    ] = False,
    lora_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where they may come from. Without it: adapters, beside the library.",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The report.html to show at /report.")
    ] = None,
    max_body: Annotated[int, typer.Option(help="Bytes of a request.")] = 1 << 20,
    max_prompt_tokens: Annotated[
        int | None, typer.Option(help="Of a prompt. Without it: what the context holds.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="The most tokens of an answer.")] = 1024,
    max_n: Annotated[int, typer.Option(help="The most answers of a request.")] = 8,
    concurrency: Annotated[
        int, typer.Option(help="Requests of one client at once; 0 is any number.")
    ] = 0,
    rate: Annotated[
        int, typer.Option(help="Requests of one client in a minute; 0 is any number.")
    ] = 0,
    max_queue: Annotated[int, typer.Option(help="Answers that may wait for a slot.")] = 256,
    max_rows: Annotated[int, typer.Option(help="Answers that are written at once.")] = 32,
    max_resident: Annotated[int, typer.Option(help="Skills in memory.")] = 64,
    cache_bytes: Annotated[
        int | None,
        typer.Option(
            help="Of keys and values of what is written. Without it: a quarter of the memory that "
            "is free."
        ),
    ] = None,
    prefix_bytes: Annotated[
        int,
        typer.Option(
            help="Of keys and values kept for prompts that begin alike, as each turn of a "
            "conversation does; 0 keeps none. TinyLlama takes 22 KB a token."
        ),
    ] = 64 << 20,
    chunk_interval: Annotated[
        float,
        typer.Option(
            help="Seconds between two chunks of a stream, at least; what is written meanwhile "
            "comes in one. 0: a chunk for each token."
        ),
    ] = 0.03,
    deadline: Annotated[float, typer.Option(help="Seconds that a request may take.")] = 120.0,
    grace: Annotated[
        float, typer.Option(help="Seconds in which a stopped server finishes its answers.")
    ] = 30.0,
    log_prompts: Annotated[
        bool,
        typer.Option("--log-prompts", help="Write prompts and answers into the log and traces."),
    ] = False,
    otel: Annotated[
        bool,
        typer.Option(
            "--otel",
            help="Trace requests with OpenTelemetry, as the variables OTEL_* say; needs "
            "loramix[otel].",
        ),
    ] = False,
    otlp_traces_endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The same, to this collector, such as http://localhost:4318/v1/traces.",
        ),
    ] = None,
) -> None:
    """Serve the library over HTTP, as OpenAI's interface; Ctrl-C ends it."""
    from loramix.serve.run import run
    from loramix.serve.settings import ServeSettings

    run(
        ServeSettings(
            library=library,
            host=host,
            port=port,
            router=router,
            policy=policy,
            route_by=route_by,  # type: ignore[arg-type]  # checked there
            device=device,
            dtype=dtype,
            api_keys=tuple(api_key or ()),
            allow_remote=allow_remote,
            cors_origins=tuple(cors_origin or ()),
            allow_runtime_lora=allow_runtime_lora,
            lora_dir=lora_dir,
            report=report,
            max_body=max_body,
            max_prompt_tokens=max_prompt_tokens,
            max_tokens=max_tokens,
            max_n=max_n,
            concurrency=concurrency,
            rate=rate,
            max_queue=max_queue,
            max_rows=max_rows,
            max_resident=max_resident,
            cache_bytes=cache_bytes,
            prefix_bytes=prefix_bytes,
            chunk_interval=chunk_interval,
            deadline=deadline,
            grace=grace,
            log_prompts=log_prompts,
            otel=otel,
            otlp_traces_endpoint=otlp_traces_endpoint,
        )
    )
