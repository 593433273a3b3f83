"""The command line: one thin function a command.

Each function imports what does the work when it is called, so that `loramix --help` loads no
torch. What the functions of `loramix.commands` return is printed by `--json` as it is.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from loramix import __version__, cli_measure, cli_merge, cli_serve, console, render
from loramix.commands.options import (
    SAMPLING,
    DeviceOption,
    DtypeOption,
    JsonOption,
    LibraryOption,
    MixOption,
    PolicyOption,
    PromptArgument,
    RouterOption,
    SamplingOptions,
    with_sampling,
)
from loramix.errors import Interrupted


class _Commands(TyperGroup):
    """The one place where an error becomes a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # of which typer would say nothing
            raise Interrupted("Stopped.") from None

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            try:
                with console.plain_warnings():
                    return super().main(*args, **kwargs)
            finally:
                sys.stdout.flush()  # what cannot be written is told here, not at exit
        except (Exception, KeyboardInterrupt) as error:
            code = console.fail(error)
            if code is None:
                raise
            sys.exit(code)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="One frozen language model, many LoRA skills: train, route, blend and measure them.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"loramix {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """One frozen language model, many LoRA skills: train, route, blend and measure them."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where everything goes.")] = Path(
        "demo-out"
    ),
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Teach requests in people's own words, as the shipped library was: 20 minutes.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Makes the run repeatable.")] = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Train five skills on pocket, learn the gate, route, blend, evaluate, write report.html."""
    from loramix.commands import demo as work

    console.report(
        lambda: work.demo(out, full=full, seed=seed, device=device), as_json, render.demo
    )


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("loramix.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a commented YAML that describes skills, gate and training."""
    from loramix.commands import init as work

    console.report(lambda: work.init(path, force=force), as_json, render.init)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="The YAML; `loramix init` writes one.")],
    skill: Annotated[
        list[str] | None,
        typer.Option("--skill", metavar="NAME", help="Only this skill; may be given again."),
    ] = None,
    library: Annotated[
        Path | None,
        typer.Option(
            "--library",
            "-l",
            metavar="DIR",
            help="The library that gets the skills, instead of the one that the YAML names.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Train the skills of a YAML, then the gate. Run it again to resume after a stop."""
    from loramix.commands import train as work

    console.report(
        lambda: work.train(config, skills=skill, library=library, device=device),
        as_json,
        render.train,
    )


@app.command()
def add(
    adapter: Annotated[Path, typer.Argument(help="A folder with an adapter that PEFT wrote.")],
    name: Annotated[str, typer.Option("--name", "-n", help="What the skill is called.")],
    examples: Annotated[
        Path,
        typer.Option(
            "--examples",
            "-e",
            metavar="FILE",
            help="Its example prompts: JSONL, CSV or Parquet with a column `prompt`.",
        ),
    ],
    description: Annotated[str, typer.Option(help="What the skill does.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Replace a skill so named.")] = False,
    library: LibraryOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Plug in an adapter as a skill and refit the gate; the other skills stay as they are."""
    from loramix.commands import library as work

    console.report(
        lambda: work.add(
            adapter,
            name=name,
            examples=examples,
            description=description,
            replace=replace,
            library=library,
            device=device,
        ),
        as_json,
        render.add,
    )


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="The skill, or the mix, to take out.")],
    library: LibraryOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Take a skill out of the library and of its gate; or take a named mix out."""
    from loramix.commands import library as work

    console.report(
        lambda: work.remove(name, library=library, device=device), as_json, render.remove
    )


@app.command("list")
def list_skills(library: LibraryOption = None, as_json: JsonOption = False) -> None:
    """The skills of the library, and the mixes that it keeps under a name."""
    from loramix.commands import library as work

    console.report(lambda: work.list_skills(library=library), as_json, render.list_skills)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="The skill, or the mix.")],
    library: LibraryOption = None,
    as_json: JsonOption = False,
) -> None:
    """One skill: its card, its adapter, its scores, where it came from; or one named mix."""
    from loramix.commands import library as work

    console.report(lambda: work.show(name, library=library), as_json, render.show)


@app.command()
def route(
    prompt: PromptArgument,
    router: RouterOption = None,
    policy: PolicyOption = None,
    library: LibraryOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    why: Annotated[
        bool, typer.Option("--why", help="Show which words decided, and examples like it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """The scores of a prompt and the mix that they give; nothing is generated."""
    prompt = console.read_prompt(prompt)
    from loramix.commands import route as work

    console.report(
        lambda: work.route(
            prompt,
            router=router,
            policy=policy,
            library=library,
            device=device,
            dtype=dtype,
            why=why,
        ),
        as_json,
        render.route,
    )


@app.command()
def feedback(
    corrections: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help='JSONL: {"prompt": …, "skill": a name or "none"}, {"prompt": …, "skills": '
            '{name: share}}, or logged {"prompt": …, "mix": {…}, "correct": …}.',
        ),
    ],
    library: LibraryOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Even if old prompts are routed worse by it.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only measure what it would change.")
    ] = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Teach the gate from corrected routings, and say what that does to corrected and old ones."""
    from loramix.commands import feedback as work

    console.report(
        lambda: work.feedback(
            corrections, library=library, force=force, dry_run=dry_run, device=device
        ),
        as_json,
        render.feedback,
    )


@app.command()
@with_sampling
def generate(
    prompt: PromptArgument,
    mix: MixOption = "auto",
    sampling: SamplingOptions = SAMPLING,
    router: RouterOption = None,
    policy: PolicyOption = None,
    library: LibraryOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Write an answer, and say on stderr which mix wrote it."""
    prompt = console.read_prompt(prompt)
    from loramix.commands import generate as work

    console.report(
        lambda: work.generate(
            prompt,
            mix=mix,
            sampling=work.Sampling(**sampling),
            router=router,
            policy=policy,
            library=library,
            device=device,
            dtype=dtype,
            write=None if as_json else console.write,
        ),
        as_json,
        render.generate,
    )


@app.command()
@with_sampling
def chat(
    mix: MixOption = "auto",
    sampling: SamplingOptions = SAMPLING,
    router: RouterOption = None,
    policy: PolicyOption = None,
    library: LibraryOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
) -> None:
    """Talk turn by turn; /mix sets the mix, /skills lists the skills, /quit ends."""
    from loramix.commands import generate as work

    work.chat(
        mix=mix,
        sampling=work.Sampling(**sampling),
        router=router,
        policy=policy,
        library=library,
        device=device,
        dtype=dtype,
        read=console.read_line,
        write=console.write,
    )


app.command("merge")(cli_merge.merge)
app.command("fit-mix")(cli_measure.fit_mix)
app.command("eval")(cli_measure.evaluate)
app.command("serve")(cli_serve.serve)


@app.command()
def bench(
    name: Annotated[
        str,
        typer.Argument(
            help="mix (a blend a row, against the base and the peers), mix-1b (the same on 1.1B "
            "parameters), single (one row), zipf (a thousand skills), memory, int8."
        ),
    ],
    rows: Annotated[int | None, typer.Option(min=1, help="Rows that are written together.")] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="Tokens to time in a row.")] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds; each candidate runs once in each.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="Of the base's weights: auto, fp32, bf16, …")] = "auto",
    base: Annotated[
        str | None,
        typer.Option(
            help="Measure on this base, or with `shape:pocket`, `shape:31m` or `shape:tinyllama` "
            "on random weights of that shape, instead of the benchmark's own."
        ),
    ] = None,
    peers: Annotated[
        Path, typer.Option(metavar="DIR", help="Where `benches/peers.py` installed the peers.")
    ] = Path("build/peers"),
    as_json: JsonOption = False,
) -> None:
    """Measure loramix next to its peers, all of them in turn in one run."""
    from loramix.commands import bench as work

    console.report(
        lambda: work.bench(
            name,
            work.Settings(
                rows=rows, tokens=tokens, rounds=rounds, dtype=dtype, base=base, peers=peers
            ),
        ),
        as_json,
        render.bench,
    )


def main() -> None:
    """The console script."""
    console.prepare_streams()
    app(prog_name="loramix")
