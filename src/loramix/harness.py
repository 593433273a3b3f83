"""A library as a model of EleutherAI's lm-evaluation-harness: every task of theirs, on a mix.

    python -m loramix.harness run --model loramix --model_args library=DIR,mix=auto --tasks arc_easy

The harness knows no plug-ins: a model exists for it once its module was imported. So this module
is both the import (`import loramix.harness`, then `lm_eval.simple_evaluate(model="loramix", …)`)
and, run as above, the harness's own command line with the model in it. Needs `loramix[lm-eval]`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from loramix.base import encode_prompt
from loramix.commands.session import Session
from loramix.engine import Engine, Limits, Request
from loramix.errors import LoramixError, UsageError, nearest
from loramix.evaluate.answering import is_text, run_all
from loramix.evaluate.likelihood import Row, likelihoods
from loramix.gate.router import route
from loramix.mix import Mix
from loramix.sampling import Sampling

try:
    from lm_eval import utils
    from lm_eval.api.model import TemplateLM
    from lm_eval.api.registry import register_model
    from lm_eval.models.utils import normalize_gen_kwargs
except ImportError as error:
    raise UsageError(
        "The lm-evaluation-harness is not installed.",
        given=str(error),
        hint="pip install 'loramix[lm-eval]'",
    ) from error

log = logging.getLogger(__name__)

ARGUMENTS = ("library", "mix", "router", "policy", "raw", "max_gen_toks", "batch_size", "device",
             "dtype", "max_batch_size")  # fmt: skip


@register_model("loramix")
class LoramixLM(TemplateLM):  # type: ignore[misc]  # lm_eval ships no types
    """A library at work for the harness.

    A context is what a user asks, as everywhere in loramix: the base's chat template is put around
    it, and an answer begins right after, without the blank that tasks write before it. With
    `raw=true`, or where the harness applied the template itself, it is read as it stands.

    Args:
        library: a folder; without it the library that ships with loramix.
        mix: `auto`, `base`, a skill, a mix that the library keeps, or a recipe, whose commas are
            written as `+`: `mix=code=0.5+math=0.5`.
        router, policy: who decides where the mix is `auto`.
        raw: contexts without the chat template.
        max_gen_toks: of an answer, where the task says nothing.
        batch_size, device, dtype: as of `loramix eval`.

    Raises:
        UsageError: an argument that there is not.
    """

    def __init__(
        self,
        library: str | None = None,
        mix: str = "auto",
        router: str | None = None,
        policy: str | None = None,
        raw: bool = False,
        max_gen_toks: int = 128,
        batch_size: int | str = 32,
        device: str | None = None,
        dtype: str = "auto",
        max_batch_size: int | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()
        for name in unknown:
            near = nearest(name, ARGUMENTS)
            raise UsageError(
                f"The model loramix has no argument {name!r}.",
                given=f"--model_args {name}={unknown[name]}",
                expected=", ".join(ARGUMENTS),
                hint=f"did you mean {near!r}?" if near else "leave it out",
            )
        recipe = str(mix).replace("+", ",")
        self._session = Session(
            library, mix=recipe, router=router, policy=policy, device=device or "auto", dtype=dtype
        )
        self._max_gen_toks = int(max_gen_toks)
        self.batch_size = int(batch_size) if str(batch_size).isdigit() else 32
        self._reader = _Reader(self._session.base.tokenizer, bool(raw))
        reader: Any = self._reader  # all of a tokenizer that encoding a prompt needs
        self._base = replace(self._session.base, tokenizer=reader)
        self.mixes: dict[str, Mix] = {}

    # ── what the harness asks for ────────────────────────────────────────────────────────────

    @property
    def tokenizer(self) -> Any:
        """The base's tokenizer."""
        return self._session.base.tokenizer

    @property
    def tokenizer_name(self) -> str:
        """What the harness's own cache of requests is keyed by."""
        return self._session.base.fingerprint

    @property
    def eot_token_id(self) -> int:
        """What ends a text."""
        return self._session.base.eos_ids[0]

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text without a context: the token that begins one, if there is."""
        begin = self.tokenizer.bos_token_id
        return self.eot_token_id if begin is None else int(begin)

    @property
    def max_length(self) -> int:
        """Tokens of context and answer together."""
        return self._session.base.max_length

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The base's own template; one by another name there is not."""
        return str(self.tokenizer.chat_template) if chat_template else ""

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The text of a conversation; the router later reads its latest turn."""
        text = str(
            self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )
        self._reader.rendered[text] = chat_history[-1]["content"]
        return text

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: Any
    ) -> list[int]:
        """The ids of a text as it stands."""
        if add_special_tokens is None:
            return self._reader.plain(string)
        encoded: Any = self.tokenizer(string, add_special_tokens=add_special_tokens)
        return [int(token) for token in encoded["input_ids"]]

    def get_model_info(self) -> dict[str, Any]:
        """What stands in the harness's results about the model."""
        library = self._session.library
        return {"base": library.base_id, "generation": library.generation,
                "skills": list(library.skills)}  # fmt: skip

    # ── the three kinds of requests ──────────────────────────────────────────────────────────

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Ids of a context and of its continuation."""
        if self._reader.reads_plain(context):
            pair: tuple[list[int], list[int]] = super()._encode_pair(context, continuation)
            return pair
        answer = self.tok_encode(continuation.lstrip(), add_special_tokens=False)
        return encode_prompt(self._base, context), answer

    def _loglikelihood_tokens(
        self,
        requests: list[tuple[tuple[str, str], list[int], list[int]]],
        disable_tqdm: bool = False,
        **_: Any,
    ) -> list[tuple[float, bool]]:
        """Logarithm of the continuations' probability, and whether greedy decoding writes them."""
        mixes = self._mixes([text[0] for text, *_ids in requests])
        rows = []
        for (_text, context, continuation), mix in zip(requests, mixes, strict=True):
            ids = [*context, *continuation][-self.max_length - 1 :]
            rows.append(Row(ids, max(1, len(ids) - len(continuation)), mix))
        found = [
            (rated.logprob, rated.greedy)
            for rated in likelihoods(self._session.mixed, self._session.base, rows, self.batch_size)
        ]
        for (text, *_ids), each in zip(requests, found, strict=True):
            self.cache_hook.add_partial("loglikelihood", text, each)
        return found

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        """Of whole texts, in windows of the context; the router reads the text itself."""
        texts = [str(request.args[0]) for request in requests]
        rows: list[Row] = []
        owners: list[int] = []
        for place, (text, mix) in enumerate(zip(texts, self._mixes(texts), strict=True)):
            windows = utils.get_rolling_token_windows(
                self.tok_encode(text), self.prefix_token_id, self.max_length, 1
            )
            for before, rated in map(utils.make_disjoint_window, windows):
                rows.append(Row([*before, *rated], len(before), mix))
                owners.append(place)
        sums = [0.0] * len(texts)
        session = self._session
        for place, found in zip(
            owners, likelihoods(session.mixed, session.base, rows, self.batch_size), strict=True
        ):
            sums[place] += found.logprob
        for request, total in zip(requests, sums, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return sums

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """Answers, all in one engine; one that cannot be written is empty."""
        samplings = [self._sampling(request.args[1]) for request in requests]
        whole = [str(request.args[0]) for request in requests]
        contexts = [
            self._fitting(text, sampling.max_new_tokens)
            for text, sampling in zip(whole, samplings, strict=True)
        ]
        cut = sum(text != context for text, context in zip(whole, contexts, strict=True))
        if cut:
            log.warning(
                "%d of %d prompts do not fit into the base's context of %d tokens; they lost their "
                "beginnings. Fewer examples (--num_fewshot) would fit",
                cut, len(whole), self.max_length,
            )  # fmt: skip
        asked = [
            Request(context, mix, sampling)
            for context, mix, sampling in zip(
                contexts, self._mixes(contexts), samplings, strict=True
            )
        ]
        texts = [""] * len(asked)
        limits = Limits(max_rows=self.batch_size)
        for place, answer in run_all(Engine(self._base, self._session.mixed, limits=limits), asked):
            texts[place] = answer.text if is_text(answer) else ""
            self.cache_hook.add_partial("generate_until", requests[place].args, texts[place])
        return texts

    # ── parts of them ────────────────────────────────────────────────────────────────────────

    def _mixes(self, contexts: Sequence[str]) -> list[Mix]:
        """The mix of each context, with its skills beside the base; none has the base alone."""
        session = self._session
        if session.fixed is not None:
            mixes = [session.fixed] * len(contexts)
        else:
            asked = {context: self._reader.rendered.get(context, context) for context in contexts}
            fresh = {c: t for c, t in asked.items() if c not in self.mixes and t.strip()}
            routed = route(session.router, [*fresh.values()], session.policy) if fresh else []
            self.mixes |= {c: r.mix for c, r in zip(fresh, routed, strict=True)}
            mixes = [self.mixes.get(context, Mix.base()) for context in contexts]
        for name in dict.fromkeys(name for mix in mixes for name in mix.weights):
            if name not in session.mixed.names:
                session.mixed.add(name, session.library.skill(name).adapter(session.base))
        return mixes

    def _fitting(self, context: str, new: int) -> str:
        """The end of a context that leaves room for an answer, as the harness's own models cut.

        Args:
            new: tokens of the answer; at most half of the base's context is kept free for it.
        """
        room = self.max_length - min(new, self.max_length // 2)
        cut = context
        while (over := len(encode_prompt(self._base, cut)) - room) > 0:
            ids = self.tokenizer(cut, add_special_tokens=False)["input_ids"]
            cut = str(self.tokenizer.decode(ids[over:]))
            if context in self._reader.rendered:
                self._reader.rendered[cut] = self._reader.rendered[context]
        return cut

    def _sampling(self, wanted: dict[str, Any]) -> Sampling:
        given = normalize_gen_kwargs(dict(wanted), self._max_gen_toks)
        extra = {key: given[key] for key in ("top_p", "top_k", "min_p", "seed") if key in given}
        return Sampling(
            max_new_tokens=int(given["max_gen_toks"]),
            temperature=float(given.get("temperature") or 0.0) if given.get("do_sample") else 0.0,
            stop=tuple(text for text in given.get("until") or () if text),
            **extra,
        )


class _Reader:
    """The tokenizer of a base for which a context is what a user asks, or stands as it is.

    Attributes:
        rendered: texts that hold a chat template already, each with its latest turn.
    """

    def __init__(self, tokenizer: Any, raw: bool) -> None:
        self._tokenizer, self._raw = tokenizer, raw
        self.rendered: dict[str, str] = {}
        self.chat_template = "read by apply_chat_template below"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._tokenizer(*args, **kwargs)

    def reads_plain(self, context: str) -> bool:
        """Whether a context gets no template."""
        return self._raw or context in self.rendered

    def plain(self, text: str) -> list[int]:
        """The ids of a text, with what the tokenizer puts before every text unless it is there."""
        begins = self._tokenizer.bos_token
        known = text in self.rendered or (begins and text.startswith(begins))
        ids = self._tokenizer(text, add_special_tokens=not known)["input_ids"]
        found = [int(token) for token in ids]
        while len(found) > 1 and found[-1] == self._tokenizer.eos_token_id and not known:
            found.pop()  # some tokenizers close every text
        return found

    def apply_chat_template(self, messages: list[dict[str, str]], **options: Any) -> list[int]:
        """The ids after which an answer begins; see `loramix.base.encode_prompt`."""
        text = messages[-1]["content"]
        if self.reads_plain(text):
            return self.plain(text)
        if self._tokenizer.chat_template:
            ids = self._tokenizer.apply_chat_template(messages, **options)
            return [int(token) for token in ids]
        return self.plain("".join(f"{turn['content']}\n" for turn in messages))


def main() -> None:
    """The harness's command line."""
    from lm_eval.__main__ import cli_evaluate

    try:
        cli_evaluate()
    except LoramixError as error:
        sys.stderr.write(f"Error: {error}\n")
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
