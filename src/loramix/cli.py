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

from loramix import __version__, console


class _Commands(TyperGroup):
    """The one place where an error becomes a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            console.silence_stdout()
            raise typer.Exit(1) from None
        except (Exception, KeyboardInterrupt) as error:
            told = console.as_user_error(error)
            if told is None:
                raise
            console.complain(told)
            raise typer.Exit(told.exit_code) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="One frozen language model, many LoRA skills: train, route, blend and measure them.",
)

LibraryOption = Annotated[
    Path | None,
    typer.Option(
        "--library",
        "-l",
        metavar="DIR",
        help="The library of skills. Without it: the five pocket skills that ship with loramix.",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
MixOption = Annotated[
    str,
    typer.Option(
        "--mix",
        "-m",
        help="auto (the router decides), base, a skill, or a recipe such as code=0.5,math=0.4.",
    ),
]
RouterOption = Annotated[
    str, typer.Option(help="gate (learned), keywords, centroid, or fixed:RECIPE.")
]
PolicyOption = Annotated[
    str | None,
    typer.Option(help="top1, topk or blend. Without it: what the library was made with."),
]
PromptArgument = Annotated[str, typer.Argument(help="The prompt; - reads it from stdin.")]
MaxTokensOption = Annotated[int, typer.Option(min=1, help="The most tokens to write.")]
TemperatureOption = Annotated[float, typer.Option(min=0.0, help="0 is greedy.")]
TopPOption = Annotated[float, typer.Option(min=0.0, max=1.0, help="Nucleus sampling.")]
TopKOption = Annotated[int, typer.Option(min=0, help="Sample from the k likeliest; 0 is all.")]
SeedOption = Annotated[int | None, typer.Option(help="Makes sampling repeatable.")]


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


def main() -> None:
    """The console script."""
    app(prog_name="loramix")
