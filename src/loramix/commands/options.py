"""Options that several commands share; they stand here once, with their help and defaults."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from loramix.errors import UsageError, UsageWarning, nearest

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
DtypeOption = Annotated[
    str,
    typer.Option(
        help="How the base's weights are held: fp32, bf16, fp16, int8 (on a CPU: half of bf16's "
        "memory), or auto, which goes by its size and this machine."
    ),
]
MixOption = Annotated[
    str,
    typer.Option(
        "--mix",
        "-m",
        help="auto (the router decides), base, a skill, a mix that `fit-mix --save` kept, or a "
        "recipe such as code=0.5,math=0.4.",
    ),
]
RouterOption = Annotated[
    str | None,
    typer.Option(
        help="gate (learned), keywords, centroid, or fixed:RECIPE. Without it: gate. Only where "
        "the mix is auto."
    ),
]
PolicyOption = Annotated[
    str | None,
    typer.Option(
        help="top1, topk or blend. Without it: what the library was made with. Only where the mix "
        "is auto."
    ),
]
PromptArgument = Annotated[str, typer.Argument(help="The prompt; - reads it from stdin.")]
MaxTokensOption = Annotated[int, typer.Option(min=1, help="The most tokens to write.")]
TemperatureOption = Annotated[float, typer.Option(min=0.0, help="0 is greedy.")]
TopPOption = Annotated[float, typer.Option(min=0.0, max=1.0, help="Nucleus sampling.")]
TopKOption = Annotated[int, typer.Option(min=0, help="Sample from the k likeliest; 0 is all.")]
SeedOption = Annotated[int | None, typer.Option(help="Makes sampling repeatable.")]

SamplingOptions = dict[str, Any]
SAMPLING: SamplingOptions = {}
"""Marks the parameter `sampling` in the signature of a command that `with_sampling` wraps."""


def _sampling(
    max_new_tokens: MaxTokensOption = 128,
    temperature: TemperatureOption = 0.0,
    top_p: TopPOption = 1.0,
    top_k: TopKOption = 0,
    seed: SeedOption = None,
) -> SamplingOptions:
    """The arguments of `loramix.sampling.Sampling`, which is not loaded to print a help text."""
    given = {"--top-p": top_p != 1, "--top-k": top_k != 0, "--seed": seed is not None}
    if not temperature and (unused := [option for option, there in given.items() if there]):
        warnings.warn(
            f"{' and '.join(unused)} without --temperature change nothing: the likeliest token is "
            "taken",
            UsageWarning,
            stacklevel=2,
        )
    return {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "seed": seed,
    }


def with_sampling(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of `_sampling` where it has a parameter `sampling`."""
    shared = inspect.signature(_sampling, eval_str=True).parameters
    own = inspect.signature(command, eval_str=True)
    parameters = [
        part
        for parameter in own.parameters.values()
        for part in (shared.values() if parameter.name == "sampling" else (parameter,))
    ]

    @functools.wraps(command)
    def call(**given: Any) -> None:
        sampling = _sampling(**{name: given.pop(name) for name in shared})
        command(**given, sampling=sampling)

    # what typer reads
    told: Any = call
    told.__signature__ = own.replace(parameters=parameters)
    told.__annotations__ = {part.name: part.annotation for part in parameters}
    return call


def parse_names(
    option: str, text: str, known: Mapping[str, str], noun: str, hint: str
) -> list[str]:
    """The names in an option's text, with commas between them.

    Args:
        known: name → what it stands for.
        noun: what a name is the name of, for the message.
        hint: what to do where no known name is near.

    Raises:
        UsageError: there is no such name, or none at all.
    """
    names = [part.strip() for part in text.split(",") if part.strip()]
    for name in names or [""]:
        if name not in known:
            near = nearest(name, known)
            raise UsageError(
                f"There is no {noun} {name!r}.",
                given=f"{option} {text}",
                expected="; ".join(f"{each}: {what}" for each, what in known.items()),
                hint=f"did you mean {near!r}?" if near else hint,
            )
    return names
