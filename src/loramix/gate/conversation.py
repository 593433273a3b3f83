"""Which skills does a conversation need now? Its last message decides, unless it leans.

    turns ─→ routing of the last message alone            "What is 12 times 8?"
           ├ carried over from the request before it      "and shorter, please", "again, for 12%"
           └ of the two read together                     a passage, then "who founded it?"

Whether a message leans on what came before it is a weighted sum of signs in its words (signs.py)
and of how sure the router is about the message alone:

    lean = LEAN["bias"] + Σ LEAN[sign] · sign + LEAN["sure"] · best skill's score, if whole

The weights are those of a logistic regression on conversations of `benches/conversation.py`, which
measures them on others. A message that leans on one that leans goes back
to what that one leans on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import Tensor

from loramix.errors import PromptError
from loramix.gate.router import Router, Routing, route, routings_of
from loramix.gate.signs import Signs, signs_of
from loramix.mix import Policy

LEAN = {
    "bias": 1.55,
    "link": 0.8,
    "revises": 2.85,
    "edits": 3.15,
    "points": 0.75,
    "thing": -1.2,
    "known": 1.55,
    "fragment": 2.75,
    "leaves": -3.45,
    "new": -3.45,
    "sure": -2.25,
}
LAST = 8  # user messages that are looked at: who goes back further says so
SURE = 0.6  # score from which a routing is one

Reading = Literal["alone", "carried", "together"]


@dataclass(frozen=True)
class TurnRouting:
    """How the last user message of a conversation was routed.

    Attributes:
        routing: what is to be used.
        reading: `alone`, the last message by itself; `carried`, the routing of an earlier
            message that it leans on; `together`, that of both in one.
        lean: above 0 it leans on what came before it.
        signs: what spoke for and against that: the parts that `lean` is the sum of.
        text: what the router read.
    """

    routing: Routing
    reading: Reading
    lean: float
    signs: Mapping[str, float]
    text: str

    def report(self) -> dict[str, Any]:
        """The reading and its reasons as JSON."""
        return {
            "reading": self.reading,
            "lean": round(self.lean, 3),
            "signs": {name: round(part, 3) for name, part in self.signs.items() if part},
        }


def route_turns(
    router: Router, turns: Sequence[Mapping[str, str]], policy: Policy | None = None
) -> TurnRouting:
    """Routes the last user message of a conversation; see the module's docstring.

    Args:
        router: scores prompts.
        turns: `{"role", "content"}` each. Of other roles than `user` and `assistant` nothing is
            read, and messages without text are passed over.
        policy: how scores become a mix.

    Raises:
        PromptError: no user message holds text.
    """
    said = [turn for turn in turns if turn["content"].strip()]
    users = [i for i, turn in enumerate(said) if turn["role"] == "user"][-LAST:]
    if not users:
        raise PromptError(
            "The conversation holds no message of a user.",
            given=f"{len(turns)} turns",
            expected='at least one {"role": "user", "content": text}',
        )
    asked = [said[i]["content"] for i in users]
    scores = router.scores(asked)
    parts: list[dict[str, float]] = [{}]
    stands = [0]  # for each message, the one that says what is asked
    for n in range(1, len(asked)):
        spoken = [t["content"] for t in said[: users[n]] if t["role"] in ("user", "assistant")]
        parts.append(_parts(signs_of(asked[n], spoken), scores[n]))
        stands.append(stands[n - 1] if sum(parts[n].values()) > 0 else n)
    last, before = len(asked) - 1, stands[-1]
    text, row, reading = asked[last], scores[last], "alone"
    if before != last:
        both = f"{asked[before]}\n{asked[last]}"
        joined = router.scores([both])[0]
        if _newly_asked(scores[last], scores[before], joined, parts[last]):
            text, row, reading = both, joined, "together"
        else:
            text, row, reading = asked[before], scores[before], "carried"
    [routing] = routings_of(router, [text], row.unsqueeze(0), policy)
    return TurnRouting(routing, reading, sum(parts[last].values()), parts[last], text)  # type: ignore[arg-type]


def route_prompts(
    router: Router,
    prompts: Sequence[str | Sequence[Mapping[str, str]]],
    policy: Policy | None = None,
) -> list[TurnRouting]:
    """Routes texts, all in one call, and conversations, each as `route_turns` does.

    A conversation with one message of a user is that text; one without any is its last message.
    """
    texts = [_text_of(prompt) for prompt in prompts]
    single = iter(route(router, [text for text in texts if text is not None], policy))
    return [
        route_turns(router, prompt, policy)
        if text is None and not isinstance(prompt, str)
        else TurnRouting(next(single), "alone", 0.0, {}, text or "")
        for prompt, text in zip(prompts, texts, strict=True)
    ]


def _text_of(prompt: str | Sequence[Mapping[str, str]]) -> str | None:
    """The text that decides, or None where a message may lean on earlier ones."""
    if isinstance(prompt, str):
        return prompt
    said = [t["content"] for t in prompt if t["role"] == "user" and t["content"].strip()]
    if len(said) > 1:
        return None
    return said[0] if said else prompt[-1]["content"]


def _parts(signs: Signs, scores: Tensor) -> dict[str, float]:
    """What each sign adds to the lean of a message whose scores [K + 1] these are."""
    whole = 1 - max(signs.fragment, signs.revises)  # of a fragment the gate is sure of nothing
    values = {**asdict(signs), "sure": whole * float(scores[:-1].max())}
    return {"bias": LEAN["bias"], **{name: LEAN[name] * value for name, value in values.items()}}


def _newly_asked(alone: Tensor, before: Tensor, joined: Tensor, parts: Mapping[str, float]) -> bool:
    """Whether both together say what is asked, and the earlier message by itself does not.

    Either the last message is sure of another skill and the two together agree, or the earlier
    one is of no skill for sure, as a passage is that nothing was asked about yet.
    """
    best = int(joined.argmax())
    if best == int(before.argmax()) or float(joined[best]) < SURE or best == len(joined) - 1:
        return False
    unsure = float(before.max()) < SURE
    agrees = int(alone.argmax()) == best and not parts["revises"] and not parts["fragment"]
    return unsure or agrees
