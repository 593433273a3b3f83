"""`loramix chat`: turn by turn, each turn with a mix of its own.

The last message decides, unless it only makes sense with the earlier ones (`route_turns`).

One engine answers all turns, so that what an earlier turn with the same mix has read of the
conversation is not read again; under another mix its keys and values would be wrong.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from loramix.base import check_prompt, encode_prompt
from loramix.commands.session import AUTO, Session
from loramix.engine.engine import Engine
from loramix.engine.request import Request, Submission
from loramix.engine.scheduler import Limits
from loramix.errors import LoramixError, nearest
from loramix.mix import Mix
from loramix.sampling import Sampling

HELP = {
    "/mix [RECIPE]": "show or set the mix: auto, base, a skill, or code=0.5,math=0.4",
    "/skills": "the skills of the library",
    "/clear": "forget the conversation",
    "/help": "this list",
    "/quit": "leave; so do Ctrl-D and Ctrl-C",
}
_NAMES = [call.split()[0] for call in HELP]
_ASK = "> "
_ANY = 1 << 62
"""Bytes of keys and values: of one conversation they are what the context holds."""

_READ = {"alone": "", "carried": ", as before", "together": ", with what was said before"}


def chat(
    *,
    mix: str = AUTO,
    sampling: Sampling | None = None,
    router: str | None = None,
    policy: str | None = None,
    library: str | Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    read: Callable[[str], str | None],
    write: Callable[[str], object],
) -> None:
    """Talk until the user leaves.

    Args:
        mix, router, policy, library, device, dtype: see `Session`.
        read: shows its argument and gives what the user typed, None when nothing more comes.
        write: shows a piece of text.

    Raises:
        LoramixError: the library, the mix or the base cannot be used. What goes wrong in a
            turn is told there, and the conversation goes on.
    """
    session = Session(library, mix=mix, router=router, policy=policy, device=device, dtype=dtype)
    with contextlib.closing(Chat(session, sampling or Sampling(), write)) as talk:
        talk.talk(read)


class Chat:
    """A conversation: its turns so far, and the commands that the user may type."""

    def __init__(
        self, session: Session, sampling: Sampling, write: Callable[[str], object]
    ) -> None:
        self.session, self.sampling, self.write = session, sampling, write
        self.turns: list[dict[str, str]] = []
        self._engine: Engine | None = None

    def talk(self, read: Callable[[str], str | None]) -> None:
        """Read and answer until the user leaves."""
        _ = self.session.base  # loaded before the first question rather than after it
        self.write(f"skills: {', '.join(self.session.library.skills) or 'none'}. /help lists what ")
        self.write("can be typed, Ctrl-C stops an answer.\n")
        while True:
            try:
                line = read(_ASK)
            except KeyboardInterrupt:
                line = None
            except LoramixError as error:  # a line that is no text; the next one may be
                self.write(f"{error}\n")
                continue
            if line is None:
                self.write("\n")
                return
            line = line.strip()
            if line in ("/quit", "/exit"):
                return
            try:
                if line.startswith("/"):
                    self.command(line)
                elif line:
                    self.answer(line)
            except LoramixError as error:
                self.write(f"{error}\n")
            except KeyboardInterrupt:
                self.write("\n[stopped]\n")

    def command(self, line: str) -> None:
        """Do what a line that begins with a slash says."""
        name, _, rest = line.partition(" ")
        if name == "/mix":
            if rest.strip():
                self.session.fixed = self.session.parse(rest)
            self.write(f"mix: {_recipe(self.session.fixed)}\n")
        elif name == "/skills":
            for skill in self.session.library.skills.values():
                self.write(f"{skill.name}: {skill.card.description}\n")
            for name, kept in self.session.library.mixes.items():
                self.write(f"{name}: the mix {kept}\n")
        elif name == "/clear":
            self.turns = []
            self.write("The conversation is forgotten.\n")
        elif name == "/help":
            width = max(map(len, HELP))
            self.write("".join(f"{call:{width}}  {what}\n" for call, what in HELP.items()))
        else:
            near = nearest(name, _NAMES)
            guess = f" Did you mean {near}?" if near else ""
            self.write(f"There is no command {name}.{guess} /help lists them.\n")

    def answer(self, text: str) -> None:
        """Answer one message; Ctrl-C stops the answer and keeps what there is of it."""
        turns = [*self.turns, {"role": "user", "content": text}]
        choice = self.session.choose_turns(turns)
        turns = self._fit(turns)
        said, note = "", _recipe(choice.mix)
        if choice.turns is not None:
            note += _READ[choice.turns.reading]
        try:
            for piece in self._ask(turns, choice.mix):
                said += piece.text
                self.write(piece.text)
                if piece.finish_reason == "length":
                    note += ", cut at the token limit"
        except KeyboardInterrupt:
            self.close()  # it may have come in the middle of a step
            note += ", stopped"
        self.write(f"\n[{note}]\n")
        if said.strip():
            self.turns = [*turns, {"role": "assistant", "content": said}]

    def _ask(self, turns: list[dict[str, str]], mix: Mix) -> Submission:
        if self._engine is None:
            limits = Limits(max_rows=1, cache_bytes=_ANY)
            self._engine = Engine(self.session.base, self.session.mixed, limits=limits)
        return self._engine.submit(Request(turns, mix, self.sampling))

    def close(self) -> None:
        """Give back what was kept of the turns; another one reads them anew."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _fit(self, turns: list[dict[str, str]]) -> list[dict[str, str]]:
        """`turns` without the oldest that leave no room for an answer in the context."""
        context = self.session.base.max_length
        # an answer that may fill the context must not push the whole conversation out
        limit = max(context - self.sampling.max_new_tokens, context // 2)
        kept = turns
        while len(kept) > 1 and len(encode_prompt(self.session.base, kept)) > limit:
            kept = kept[2:]  # a question goes with its answer
        check_prompt(self.session.base, kept)
        if out := (len(turns) - len(kept)) // 2:
            oldest = "oldest question" if out == 1 else f"{out} oldest questions"
            self.write(f"(the context is full: the {oldest} and what was answered are out)\n")
        return kept


def _recipe(mix: Mix | None) -> str:
    return AUTO if mix is None else str(mix)
