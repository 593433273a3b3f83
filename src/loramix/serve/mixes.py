"""The mix that a request names, and what is said where there is no such thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loramix.errors import LibraryError, LoramixError, RecipeError, UnknownSkillError, nearest
from loramix.mix import BASE, Mix, check_skills
from loramix.serve.faults import ApiError

if TYPE_CHECKING:
    from loramix.serve.bodies import Asking
    from loramix.serve.serving import Serving

AUTO = "auto"
_CHOICE = (
    "Ask for 'auto', 'base', a skill, a saved mix, or a recipe such as 'code=0.5,math=0.5'. "
    "GET /v1/models lists what there is."
)


def mix_of(serving: Serving, body: Asking) -> Mix | None:
    """The mix that a request names; None where a router is to choose it.

    Raises:
        ApiError: there is no such model or skill, or the fields contradict each other.
    """
    model = body.model.strip()
    try:
        mix = _parse(serving, model)
    except RecipeError as error:
        # what has weights is a recipe that is wrong, and anything else a name that nobody has
        if "=" in model:
            raise ApiError(400, "invalid_mix", str(error), param="model") from error
        raise ApiError(404, "model_not_found", _no_model(serving, model), param="model") from error
    except UnknownSkillError as error:
        told = f"{error.what} {_CHOICE}" if "=" in model else _no_model(serving, model)
        raise ApiError(404, "model_not_found", told, param="model") from error
    except LoramixError as error:
        raise serving.error(error, "model") from error
    if body.mix is not None:
        named = mix
        try:
            mix = _parse(serving, body.mix)
        except UnknownSkillError as error:
            told = f"{error.what} {_CHOICE}"
            raise ApiError(400, "invalid_mix", told, param="mix") from error
        except LibraryError as error:  # a skill that is damaged
            raise serving.error(error, "mix") from error
        except LoramixError as error:
            told = serving.error(error, "mix").message
            raise ApiError(400, "invalid_mix", told, param="mix") from error
        if model != AUTO and named != mix:
            raise ApiError(
                400,
                "invalid_mix",
                f"The model {model[:64]!r} and the mix contradict each other. Leave one of "
                "them out: with a mix the model is 'auto'.",
                param="mix",
            )
    unused = [name for name in ("router", "policy") if getattr(body, name) is not None]
    if mix is not None and unused:
        raise ApiError(
            400,
            "invalid_value",
            f"The mix is named, so that there is nothing to decide for a {unused[0]}. Leave "
            f"out '{unused[0]}', or ask for the model 'auto'.",
            param=unused[0],
        )
    if mix is None:
        serving.check_gate(body.router)
    return mix


def _no_model(serving: Serving, name: str) -> str:
    """What is said of a model that nobody has."""
    near = nearest(name[:64], (AUTO, BASE, *serving.library.skills, *serving.library.named_mixes))
    asked = f"Did you mean {near!r}? " if near else ""
    return f"There is no model {name[:64]!r}. {asked}{_CHOICE}"


def _parse(serving: Serving, asked: str | dict[str, float]) -> Mix | None:
    if isinstance(asked, dict):
        mix = Mix.of(asked)
    elif asked.strip() == AUTO:
        return None
    else:
        mix = Mix.parse(asked, serving.library.mixes)
    serving.library.check_whole(mix.weights)
    check_skills(mix, serving.library.skills, serving.library.mixes)
    return mix
