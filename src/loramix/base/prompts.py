"""Prompts to token ids: for a completion that is to be written, or learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loramix.base.frozen import Base
from loramix.errors import PromptError

Message = Mapping[str, str]
"""One turn of a conversation: `role` (system, user or assistant) and `content`."""

Prompt = str | Sequence[Message]
"""What a user asks: a text, or the turns of a conversation."""


def as_messages(prompt: Prompt, system: str | None = None) -> list[dict[str, str]]:
    """The turns of a conversation; a text is one user turn. Raises PromptError for bad turns."""
    turns: list[dict[str, str]] = [] if system is None else [{"role": "system", "content": system}]
    if isinstance(prompt, str):
        return [*turns, {"role": "user", "content": prompt}]
    for turn in prompt:
        if not (
            isinstance(turn, Mapping)
            and turn.get("role") in ("system", "user", "assistant")
            and isinstance(turn.get("content"), str)
        ):
            raise PromptError(
                "This is no turn of a conversation.",
                given=turn,
                expected='{"role": "system", "user" or "assistant", "content": text}',
            )
        turns.append({"role": turn["role"], "content": turn["content"]})
    return turns


def encode_prompt(base: Base, prompt: Prompt, system: str | None = None) -> list[int]:
    """The token ids after which the completion starts.

    With the base's chat template where it has one, up to where the assistant speaks; without
    one, the texts of the turns, each followed by a line break.
    """
    messages = as_messages(prompt, system)
    tokenizer = base.tokenizer
    if tokenizer.chat_template:
        try:
            ids: Any = tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=True, return_dict=False
            )
        except Exception as error:
            # templates raise through jinja for turns that they do not take
            raise PromptError(
                "The chat template of the base refuses this conversation.",
                given=error,
                hint="leave out the system text, and let user and assistant take turns",
            ) from error
        return [int(token) for token in ids]
    text = "".join(f"{turn['content']}\n" for turn in messages)
    plain: list[int] = list(tokenizer(text)["input_ids"])
    while plain and plain[-1] in base.eos_ids:  # some tokenizers close every text
        plain.pop()
    return plain


def encode_example(base: Base, prompt: Prompt, completion: str) -> tuple[list[int], list[int]]:
    """Ids and labels of one training example, both of length T.

    The labels are -100 on the prompt, so that only the completion, which ends with the
    end-of-text token, is learned.
    """
    context = encode_prompt(base, prompt)
    answer = base.tokenizer(completion, add_special_tokens=False)["input_ids"]
    answer = [*answer, base.eos_ids[0]]
    return context + answer, [-100] * len(context) + answer


def check_text(text: str) -> None:
    """Raises PromptError if there is nothing in `text`."""
    if not text.strip():
        raise PromptError(
            "The prompt is empty.", given=repr(text), expected="a text", hint="say what you want"
        )


def check_prompt(
    base: Base, prompt: Prompt, max_new_tokens: int = 1, system: str | None = None
) -> list[int]:
    """The ids of a prompt that leaves room for `max_new_tokens`.

    Raises:
        PromptError: it is empty, or too long.
    """
    turns = as_messages(prompt)
    check_text(turns[-1]["content"] if turns else "")
    ids = encode_prompt(base, prompt, system)
    if len(ids) >= base.max_length:
        raise PromptError(
            f"The prompt does not fit into the context of {base.id}.",
            given=f"{len(ids)} tokens",
            expected=f"at most {base.max_length - 1}, so that there is room for an answer",
            hint="shorten the prompt, or use a base with a longer context",
        )
    if len(ids) + max_new_tokens > base.max_length:
        raise PromptError(
            f"The prompt does not fit into the context of {base.id}.",
            given=f"{len(ids)} tokens of prompt and {max_new_tokens} to generate",
            expected=f"at most {base.max_length} together",
            hint="shorten the prompt, ask for fewer new tokens, or use a base with a longer "
            "context",
        )
    return ids
