"""A mix: how much of each skill one request gets, and the policies that make one from scores.

    scores {code: 0.6, math: 0.3, base: 0.1}  ──policy──>  Mix("code=0.6667,math=0.3333")

A *recipe* is a mix as text: `code=0.5,math=0.4`. Weights are used as written; nothing is
normalised behind the user's back, because half of one skill and nothing else is a valid wish.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from loramix.errors import ConfigError, RecipeError, UnknownSkillError, nearest, skill_hint

if TYPE_CHECKING:
    import torch

BASE = "base"
RESERVED = ("auto", BASE, "all")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
MAX_WEIGHT = 1e6
"""Far beyond any use, and still finite in every floating-point type that runs a model."""

_EXPECTED = "skill names with weights of at least 0, such as code=0.5,math=0.4"
_ASK_FOR_BASE = "write `base` to ask for the base without any skill."

PolicyKind = Literal["top1", "topk", "blend"]


@dataclass(frozen=True)
class Mix:
    """Weights over skills for one request.

    Attributes:
        weights: skill → weight, heaviest first (equal weights by name), none of them 0.
            Empty means the base alone.
    """

    weights: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checked = {name: _check_weight(name, weight) for name, weight in self.weights.items()}
        if checked and not any(checked.values()):
            raise RecipeError(
                "The weights of the mix add up to nothing.",
                given=_text(checked),
                expected="at least one weight above 0",
                hint=_ASK_FOR_BASE,
            )
        kept = sorted(
            ((n, w) for n, w in checked.items() if w), key=lambda item: (-item[1], item[0])
        )
        object.__setattr__(self, "weights", dict(kept))

    @classmethod
    def parse(cls, recipe: str, named: Mapping[str, Mix] | None = None) -> Mix:
        """Reads a recipe: `code=0.5,math=0.4`; a bare name has weight 1; `base` is no skill.

        Args:
            recipe: the text.
            named: mixes that a library keeps under a name. Each may stand where a skill does, and
                is spread over its skills: w of it is w times each of its weights.

        Raises:
            RecipeError: the text is empty or no recipe, a name comes twice, a weight is negative,
                not finite or not a number, or all weights are 0.
        """
        text = recipe.strip()
        if text == BASE:
            return cls.base()
        if not text:
            raise RecipeError("The recipe is empty.", expected=_EXPECTED, hint=_ASK_FOR_BASE)
        weights: dict[str, float] = {}
        for part in text.split(","):
            name, separator, number = (piece.strip() for piece in part.partition("="))
            if not NAME.fullmatch(name):
                small = name.lower()
                raise RecipeError(
                    "The recipe does not parse.",
                    given=recipe,
                    expected=_EXPECTED,
                    hint=f"names are in small letters: {small}"
                    if NAME.fullmatch(small)
                    else "part the skills with commas; a name is written as `loramix list` has it",
                )
            if name in weights:
                raise RecipeError(
                    f"The recipe names {name!r} twice.",
                    given=recipe,
                    expected="each skill once",
                    hint=f"keep one of the weights of {name!r}, or write their sum",
                )
            try:
                # `float` alone would also take "1_0", which nobody writes on purpose.
                weight = float(number.replace("_", "?")) if separator else 1.0
            except ValueError:
                raise RecipeError(
                    f"The weight of {name!r} is not a number.",
                    given=recipe,
                    expected=_EXPECTED,
                    hint=f"write a number with a point, such as {name}=0.5",
                ) from None
            weights[name] = _check_weight(name, weight, typed=part.strip())
        if not named or not named.keys() & weights.keys():
            return cls(weights)
        spread: dict[str, float] = {}
        for name, weight in cls(weights).weights.items():
            for skill, share in named[name].weights.items() if name in named else [(name, 1.0)]:
                spread[skill] = spread.get(skill, 0.0) + weight * share
        return cls(spread)

    @classmethod
    def of(cls, weights: Mapping[str, float]) -> Mix:
        """A mix of these weights; the checks are those of `parse`."""
        return cls(dict(weights))

    @classmethod
    def base(cls) -> Mix:
        """The empty mix: the base alone, bit for bit."""
        return cls({})

    @property
    def is_base(self) -> bool:
        """Whether the mix holds no skill at all."""
        return not self.weights

    def __str__(self) -> str:
        """The canonical recipe: `Mix.parse(str(mix)) == mix`."""
        return _text(self.weights) if self.weights else BASE

    def __hash__(self) -> int:
        return hash(tuple(self.weights.items()))


def _text(weights: Mapping[str, float]) -> str:
    return ",".join(
        f"{name}={int(weight) if weight == int(weight) else repr(weight)}"
        for name, weight in weights.items()
    )


def _check_weight(name: str, weight: float, typed: str | None = None) -> float:
    if name in RESERVED or not NAME.fullmatch(name):
        raise RecipeError(
            f"{name!r} cannot be a skill of a mix.",
            expected=_EXPECTED,
            hint="`auto` and `base` stand alone; a base share is simply a smaller weight."
            if name in RESERVED
            else None,
        )
    if isinstance(weight, bool) or not isinstance(weight, (int, float)):
        raise RecipeError(
            f"The weight of {name!r} is not a number.",
            given=repr(weight),
            expected="an int or a float",
            hint="convert it first: float(weight)",
        )
    if not math.isfinite(weight) or not 0 <= weight <= MAX_WEIGHT:
        raise RecipeError(
            f"The weight of {name!r} cannot be used.",
            given=weight if typed is None else typed,
            expected=f"a number from 0 to {MAX_WEIGHT:g}",
            hint=f"1 is all of a skill, 0.5 half of it: {name}=0.5",
        )
    return float(weight)


def check_skills(mix: Mix | Iterable[str], known: Iterable[str], mixes: Iterable[str] = ()) -> None:
    """Checks that every skill of `mix` is among `known`.

    Args:
        mix: a mix, or names of skills.
        known: the skills that there are.
        mixes: names of mixes that could have been written instead; only the message needs them.

    Raises:
        UnknownSkillError: names the skill and the nearest known one.
    """
    have = list(known)
    for name in mix.weights if isinstance(mix, Mix) else mix:
        if name not in have:
            choice = [*have, *mixes]
            raise UnknownSkillError(
                f"There is no skill named {name!r}.",
                expected=", ".join(sorted(choice)) or "no skill is there yet",
                hint=skill_hint(name, choice),
            )


@dataclass(frozen=True)
class Policy:
    """How scores become a mix.

    Attributes:
        kind: `top1` takes the best skill, and the best two where the second's share says that
            both are needed; `topk` takes the best `k`; `blend` takes all that count.
        k: how many skills `topk` takes.
        blend_threshold: the share that the second skill needs for `top1` to blend. A share is a
            skill's score divided by the scores of all skills (`base` is not one).
        none_threshold: the score of `base` from which no skill is used at all.
        min_share: `topk` and `blend` leave out skills of a smaller share; they would cost time
            and change nothing.
    """

    kind: PolicyKind = "top1"
    k: int = 2
    blend_threshold: float = 0.25
    none_threshold: float = 0.5
    min_share: float = 0.02

    def __post_init__(self) -> None:
        if self.kind not in get_args(PolicyKind):
            near = nearest(str(self.kind), get_args(PolicyKind))
            raise ConfigError(
                "There is no such policy.",
                given=self.kind,
                expected=", ".join(get_args(PolicyKind)),
                hint=f"did you mean {near!r}?" if near else "name one of them, or leave it out",
            )
        if self.k < 1:
            raise ConfigError("A policy needs at least one skill.", given=f"k={self.k}")
        for name in ("blend_threshold", "none_threshold", "min_share"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} is not a share.", given=value, expected="0 to 1")


def policy_mix(scores: Mapping[str, float], policy: Policy) -> Mix:
    """Turns the scores of one prompt into its mix.

    Args:
        scores: skill → score, and `base` for "none of these"; none negative.
        policy: how.

    Returns:
        A mix whose weights sum to 1 (rounded to 4 digits), or the empty mix.
    """
    total = sum(score for name, score in scores.items() if name != BASE)
    if scores.get(BASE, 0.0) >= policy.none_threshold or total <= 0:
        return Mix.base()
    shares = sorted(
        ((name, score / total) for name, score in scores.items() if name != BASE),
        key=lambda item: (-item[1], item[0]),
    )
    if policy.kind == "top1":
        two = len(shares) > 1 and shares[1][1] >= policy.blend_threshold and shares[1][1] > 0
        kept = shares[: 2 if two else 1]
    else:
        several = shares[: policy.k] if policy.kind == "topk" else shares
        kept = several[:1] + [item for item in several[1:] if item[1] >= policy.min_share]
    kept_total = sum(share for _, share in kept)
    return Mix({name: round(share / kept_total, 4) for name, share in kept})


def weight_matrix(
    mixes: Sequence[Mix],
    names: Sequence[str],
    dtype: torch.dtype | None = None,
    device: Any = None,
) -> torch.Tensor:
    """One row for each mix, one column for each name.

    Returns:
        Weights [B, K], float32 unless `dtype` says otherwise.

    Raises:
        UnknownSkillError: a mix holds a skill that is not among `names`.
    """
    import torch

    for mix in mixes:
        check_skills(mix, names)
    rows = [[mix.weights.get(name, 0.0) for name in names] for mix in mixes]
    matrix = torch.tensor(rows, dtype=dtype or torch.float32, device=device)
    return matrix.reshape(len(mixes), len(names))
