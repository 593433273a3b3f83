"""What the commands that answer share: a library, its base, and how a prompt gets its mix.

The parts are loaded when they are first needed: `generate --mix base` fits no gate and reads no
adapter, and a call that is wrong ends before the base is loaded.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from loramix.commands.opening import open_to_use
from loramix.errors import UsageError, UsageWarning
from loramix.mix import Mix, check_skills

if TYPE_CHECKING:
    from loramix.base import Base
    from loramix.gate import Router, Routing, TurnRouting
    from loramix.mix import Policy
    from loramix.mixed import MixedModel

AUTO = "auto"
GATE = "gate"

_HEAVY = 1.5
"""A sum of weights from which answers are seldom any good."""


class Choice(NamedTuple):
    """The mix of one prompt, and how it was found; `routing` is None where the user named it.

    `turns` says how the turns of a conversation were read, where there were any.
    """

    mix: Mix
    routing: Routing | None
    turns: TurnRouting | None = None

    def report(self) -> dict[str, Any]:
        """The keys `mix`, `scores`, `router` and `policy` of the JSON."""
        routing = self.routing
        return {
            "mix": dict(self.mix.weights),
            "scores": None if routing is None else dict(routing.scores),
            "router": None if routing is None else routing.router,
            "policy": None if routing is None else routing.policy,
        }


class Session:
    """A library at work.

    Args:
        library: its folder; None is the one that ships with the package.
        mix: `auto`, `base`, a skill, a mix that the library keeps under a name, or a recipe.
        router: which router decides where the mix is `auto`; None is the gate.
        policy: how its scores become a mix; None is what the library was made with.
        device, dtype: see `load_base`.

    Raises:
        LibraryError: the folder is no library.
        RecipeError, UnknownSkillError: the mix cannot be used.
        ConfigError: there is no such router or policy.
        UsageError: a router or a policy is given beside a mix that is named.
    """

    def __init__(
        self,
        library: str | Path | None = None,
        *,
        mix: str = AUTO,
        router: str | None = None,
        policy: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        self.library = open_to_use(library)
        self._router, self._policy = router or GATE, policy
        self._device, self._dtype = device, dtype
        self.fixed = self.parse(mix)
        beside = {"--router": router, "--policy": policy}
        unused = [f"{option} {value}" for option, value in beside.items() if value is not None]
        if self.fixed is not None and unused:
            raise UsageError(
                "The mix is named, so that there is nothing to decide for a router.",
                given=f"--mix {mix} {' '.join(unused)}",
                expected="a named mix, or --mix auto with --router and --policy",
                hint=f"leave out --mix, or {' and '.join(u.split()[0] for u in unused)}",
            )
        # what does not exist is told before the base is loaded
        if router is not None:
            from loramix.gate import check_router

            check_router(router, self.library.skills, self.library.mixes)
        if policy is not None:
            _ = self.policy

    def parse(self, recipe: str) -> Mix | None:
        """The mix that a recipe names; None for `auto`."""
        if recipe.strip() == AUTO:
            return None
        mixes = self.library.mixes
        mix = Mix.parse(recipe, mixes)
        self.library.check_whole(mix.weights)
        check_skills(mix, self.library.skills, mixes)
        if (total := sum(mix.weights.values())) > _HEAVY:
            warnings.warn(
                f"the weights of {recipe} add up to {total:g}; skills are made to be mixed by "
                "weights that add up to about 1, and a name alone has the weight 1",
                UsageWarning,
                stacklevel=2,
            )
        return mix

    @cached_property
    def base(self) -> Base:
        """The library's base, loaded and compared with the library's fingerprint."""
        from loramix.base import load_base
        from loramix.lean import lean_imports

        with lean_imports():
            base = load_base(self.library.base_id, self._device, self._dtype)
        self.library.check_base(base)
        return base

    @cached_property
    def mixed(self) -> MixedModel:
        """The base with the adapters that have been used so far beside it."""
        from loramix.mixed import MixedModel

        return MixedModel(self.base.model)

    @cached_property
    def router(self) -> Router:
        """The router, ready to score prompts."""
        from loramix.gate import make_router

        return make_router(self._router, base=self.base, library=self.library)

    @cached_property
    def policy(self) -> Policy:
        """How scores become a mix."""
        from loramix.gate import make_policy

        return make_policy(self.library, self._policy)

    def choose(self, prompt: str) -> Choice:
        """The mix for `prompt`, with its adapters loaded."""
        return self.choose_turns([{"role": "user", "content": prompt}])

    def choose_turns(self, turns: Sequence[Mapping[str, str]]) -> Choice:
        """The mix for the last message of a conversation, with its adapters loaded."""
        if self.fixed is not None:
            choice = Choice(self.fixed, None)
        else:
            from loramix.gate import route_turns

            read = route_turns(self.router, turns, self.policy)
            choice = Choice(read.routing.mix, read.routing, read)
        for name in choice.mix.weights:
            if name not in self.mixed.names:
                self.mixed.add(name, self.library.skill(name).adapter(self.base))
        return choice
