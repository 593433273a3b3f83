"""Fields of OpenAI's interface that this server does not have, and why.

Nothing is silently ignored: such a field may be there only with a value that means "not used".
"""

from __future__ import annotations

from typing import Any

from pydantic_core import PydanticCustomError

from loramix.errors import nearest

Neutral = tuple[Any, ...]

_TOOLS = "tools and functions are not supported"
_MEDIA = "only text is read and written"
_STORED = "nothing is stored"

COMMON: dict[str, tuple[str, Neutral]] = {
    "logit_bias": ("tokens cannot be biased", ({},)),
    "service_tier": ("there are no tiers", ("auto", "default")),
    "metadata": (_STORED, ({},)),
    "store": (_STORED, (False,)),
    "safety_identifier": (_STORED, ()),
    "prompt_cache_key": ("prompts that begin alike share their cache by themselves", ()),
    "prompt_cache_retention": ("prompts that begin alike share their cache by themselves", ()),
}
CHAT: dict[str, tuple[str, Neutral]] = {
    **COMMON,
    "tools": (_TOOLS, ([],)),
    "tool_choice": (_TOOLS, ("none", "auto")),
    "parallel_tool_calls": (_TOOLS, (True, False)),
    "functions": (_TOOLS, ([],)),
    "function_call": (_TOOLS, ("none", "auto")),
    "response_format": ("text is written freely", ({"type": "text"},)),
    "modalities": (_MEDIA, (["text"],)),
    "audio": (_MEDIA, ()),
    "prediction": ("predicted outputs are not supported", ()),
    "reasoning_effort": ("the models do not reason apart", ("none",)),
    "verbosity": ("the length is what max_tokens says", ()),
    "web_search_options": ("there is no web search", ()),
    "moderation": ("there is no moderation", ()),
}
COMPLETION: dict[str, tuple[str, Neutral]] = {
    **COMMON,
    "best_of": ("ask for n and choose", (1,)),
    "echo": ("the prompt is not repeated", (False,)),
    "suffix": ("nothing can be inserted between two texts", ("",)),
}
PART: dict[str, tuple[str, Neutral]] = dict.fromkeys(
    ("image_url", "input_audio", "video_url", "file"), (_MEDIA, ())
)
MESSAGE: dict[str, tuple[str, Neutral]] = {
    "name": ("chat templates do not show names", ()),
    "tool_calls": (_TOOLS, ([],)),
    "tool_call_id": (_TOOLS, ()),
    "function_call": (_TOOLS, ()),
    "refusal": ("refusals are plain text", ()),
    "annotations": ("messages have no annotations", ([],)),
    "audio": (_MEDIA, ()),
    "reasoning": ("the models do not reason apart", ()),
    "reasoning_content": ("the models do not reason apart", ()),
}


def without(data: Any, known: set[str], unsupported: dict[str, tuple[str, Neutral]]) -> Any:
    """`data` without the fields that mean nothing; raises PydanticCustomError for all others.

    Args:
        data: a body as it came.
        known: the fields that it may have.
        unsupported: those that OpenAI has, the reason, and values that mean "not used"; null
            always does.
    """
    if not isinstance(data, dict):
        return data
    kept = {}
    for name, value in data.items():
        if name in known:
            kept[name] = value
            continue
        reason, neutral = unsupported.get(name, ("", ()))
        if not reason:
            raise _unknown(str(name), known)
        same_type = any(type(value) is type(other) and value == other for other in neutral)
        if value is not None and not same_type:
            raise PydanticCustomError(
                "unsupported_field",
                "'{name}' is not supported: {reason}. Leave it out.",
                {"name": name, "reason": reason},
            )
    return kept


def _unknown(name: str, known: set[str]) -> PydanticCustomError:
    shown = name if len(name) <= 64 else f"{name[:64]}…"
    near = nearest(name[:64], known)
    hint = f"Did you mean '{near}'?" if near else f"There are {', '.join(sorted(known))}."
    return PydanticCustomError(
        "unknown_field", "There is no field '{name}'. {hint}", {"name": shown, "hint": hint}
    )
