"""Options that several commands share as one group; they stand here once, with their defaults."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

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
