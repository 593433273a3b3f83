"""The gate: a small network on the frozen base's representation of the prompt.

What it was fitted on is kept as features: [N, F] for each skill (in the skill's own folder), and
in the gate's file those of no skill and those that need several. With them the gate is refitted
when a skill comes or goes, without any old data. Prompts whose routing a user corrected stand
beside these, and count more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from loramix.errors import DataError, LibraryError
from loramix.gate.calibrate import fit_policy, fit_temperature
from loramix.gate.features import FeatureExtractor
from loramix.gate.keywords import KeywordRouter
from loramix.gate.memory import HELD_OUT, Rows, held_out, join, pick, repeated
from loramix.gate.network import (
    HIDDEN,
    NEEDED,
    GateNetwork,
    fit_added,
    fit_network,
    logits_of,
)
from loramix.gate.router import RoutedExample, Router, check_fit, targets_of
from loramix.gate.stored import (
    FORMAT,
    check_encoder,
    check_format,
    check_memories,
    policy_from_dict,
    policy_to_dict,
)
from loramix.mix import BASE, Policy

MEMORY = 250
_NETWORK, _MEMORY = "network.", "memory."
_CORRECTED = _MEMORY + "corrected"


class LearnedGate(Router):
    """The learned router.

    Args:
        extractor: makes the features; also later, for prompts to be routed.
        skills: the skills to tell apart.
        seed: of held-out rows, initial weights and fitting; the same seed gives the same gate.
        memory: how many prompts' features a skill keeps for refits.
        temperature: of the scores; None calibrates it on held-out prompts.

    Attributes:
        temperature: what the logits are divided by.
        policy: thresholds fitted on held-out prompts.
        accuracy: share of held-out prompts whose most needed skill scores best; NaN without any.
        words: the keyword router for the same skills, fitted on the same prompts.
        memories: skill → features [N, F] float16 to keep with it, after `fit` or `refit`.
        corrected: rows that a user corrected; every refit learns all of them.
        added: skills that came later: columns beside the network, which stays as it is.
    """

    name: ClassVar[str] = "gate"

    def __init__(
        self,
        extractor: FeatureExtractor,
        skills: Sequence[str],
        *,
        seed: int = 0,
        memory: int = MEMORY,
        temperature: float | None = None,
    ) -> None:
        self.extractor = extractor
        self.skills = tuple(skills)
        self.seed, self.memory, self.fixed_temperature = seed, memory, temperature
        self.temperature = temperature or 1.0
        self.policy = Policy()
        self.accuracy = float("nan")
        self.added: tuple[str, ...] = ()
        self.words = KeywordRouter(self.skills)
        self.memories: dict[str, Tensor] = {}
        width, columns = extractor.width, len(self.skills) + 1
        self.none = torch.zeros(0, width, dtype=torch.float16)
        self.several = Rows.empty(width, columns)
        self.corrected = Rows.empty(width, columns)
        self.network: GateNetwork | None = None

    # ── learning ─────────────────────────────────────────────────────────────────────────────

    def fit(self, prompts: Sequence[str], targets: Tensor) -> Self:
        """Learns from prompts whose needs are known; see `Router.fit`.

        A part of the rows is held out, for the temperature, the thresholds and the accuracy.
        """
        check_fit(prompts, targets, self.skills)
        self.words = KeywordRouter(self.skills).fit(prompts, targets)
        rows = Rows(self.extractor.features(prompts).half(), targets.float())
        kinds = [rows.needing(column) for column in range(len(self.skills) + 1)]
        kinds.append(rows.needing_several())
        generator = torch.Generator().manual_seed(self.seed)
        fitted, held, kept = [], [], []
        for kind in kinds:
            train, test, memory = pick(kind, self.memory, generator)
            fitted.append(train)
            held.append(test)
            kept.append(rows.take(memory))
        self.memories = {n: k.features for n, k in zip(self.skills, kept, strict=False)}
        self.none, self.several = kept[-2].features, kept[-1]
        self._learn(rows.take(torch.cat(fitted)), rows.take(torch.cat(held)))
        return self

    def remember(self, prompts: Sequence[str]) -> Tensor:
        """Features [n, F] float16 of at most `memory` of the prompts, to add a skill with."""
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(prompts), generator=generator)[: self.memory].tolist()
        return self.extractor.features([prompts[i] for i in order]).half()

    def refit(
        self,
        memories: Mapping[str, Tensor],
        prompts: Mapping[str, Sequence[str]] | None = None,
        none: Tensor | None = None,
        several: Sequence[RoutedExample] = (),
        corrected: Rows | None = None,
        beside: Collection[str] | None = None,
        frozen: bool = False,
    ) -> LearnedGate:
        """A gate for the skills of `memories`, fitted on their features alone.

        Skills that this gate knows start from what it has learned; this gate stays as it is.

        Args:
            memories: skill → features [N, F] of its prompts, in the order of the new columns.
            prompts: prompts of new skills, for the keyword router.
            none: features [N, F] of prompts of no skill, in place of this gate's.
            several: more prompts that need several skills; at most `memory` are remembered.
            corrected: rows for the new columns that a user corrected, in place of this gate's.
            beside: skills that are to have a column beside the network, see `GateNetwork`; by
                default those that have one.
            frozen: only the columns beside the network are learned. It has to know all others.

        Raises:
            DataError: there is no skill, or features of another width.
        """
        new = self._for(memories)
        if beside is not None:
            new.added = tuple(name for name in new.skills if name in beside)
        new.words = self.words.replaced(new.skills, prompts or {})
        new.none = self.none if none is None else none
        if several:
            texts = [example.prompt for example in several][: self.memory]
            shares = targets_of(several, new.skills)[: self.memory]
            more = Rows(self.extractor.features(texts).half(), shares)
            new.several = join([new.several, more])
        new.corrected = new.corrected if corrected is None else corrected
        groups = [*new._singles(new.memories), new.several]
        taught = join([group.take(~held_out(group)) for group in groups])
        new._learn(
            join([taught, repeated(new.corrected, len(taught.features))]),
            join([group.take(held_out(group)) for group in groups]),
            start=self,
            frozen=frozen,
        )
        return new

    def kept(self, memories: Mapping[str, Tensor]) -> LearnedGate:
        """A gate for some of this gate's skills; this gate stays as it is.

        The network loses the columns of the others, and nothing else of it changes: the softmax
        shares among those that are left. Temperature and thresholds are fitted anew.

        Args:
            memories: skill → features [N, F] of its prompts, in the order of the columns.

        Raises:
            DataError: there is no skill, or features of another width.
        """
        new = self._for(memories)
        new.network = new._unfitted(self._network().hidden).eval()
        _carry_over(self, new, new.network)
        groups = [*new._singles(new.memories), new.several]
        new._calibrate(join([group.take(held_out(group)) for group in groups]))
        return new

    def _for(self, memories: Mapping[str, Tensor]) -> LearnedGate:
        """A gate for the skills of `memories`, with all that this one remembers and no network."""
        check_memories(memories, self.extractor.width)
        new = LearnedGate(
            self.extractor,
            tuple(memories),
            seed=self.seed,
            memory=self.memory,
            temperature=self.fixed_temperature,
        )
        new.added = tuple(name for name in new.skills if name in self.added)
        new.words = self.words.replaced(new.skills, {})
        new.memories = {name: kept.half() for name, kept in memories.items()}
        new.none, new.corrected = self.none, self.corrected.with_columns(self.skills, new.skills)
        new.several = self.several.with_columns(self.skills, new.skills)
        return new

    def held_out(self, memories: Mapping[str, Tensor]) -> Rows:
        """Rows of one skill each, or of none, that no refit was fitted on or will be."""
        return join([group.take(held_out(group)) for group in self._singles(memories)])

    def _singles(self, memories: Mapping[str, Tensor]) -> list[Rows]:
        """Rows for each skill, and for none of them."""
        columns = len(self.skills) + 1
        kept = [Rows.of(memories[name].half(), i, columns) for i, name in enumerate(self.skills)]
        return [*kept, Rows.of(self.none, columns - 1, columns)]

    def right(self, rows: Rows) -> Tensor:
        """Mask [N] of the rows whose best columns are those that they need."""
        needed = rows.targets > NEEDED
        best = logits_of(self._network(), rows.features).argsort(1, descending=True)
        place = best.argsort(1)  # of each column in the order of the scores
        return (needed == (place < needed.sum(1, keepdim=True))).all(1)

    def _learn(
        self, train: Rows, held: Rows, start: LearnedGate | None = None, frozen: bool = False
    ) -> None:
        """Fits the network, and the columns beside it; if `frozen` only these, from `start`."""
        if start is not None and start.network is not None:
            network = self._unfitted(start.network.hidden)
            _carry_over(start, self, network)
        else:
            network = self._unfitted(hidden_for(len(self.skills) + 1))
            network.set_scaling(train.features)
        if not frozen:
            fit_network(network, train.features, train.targets, seed=self.seed)
        if self.added:
            fit_added(network, train.features, train.targets)
        self.network = network.eval()
        self._calibrate(held)

    def _unfitted(self, hidden: int) -> GateNetwork:
        """A network for these skills, as chance has it; the same seed gives the same."""
        added = [self.skills.index(name) for name in self.added]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return GateNetwork(self.extractor.layout, len(self.skills) + 1, added, hidden)

    def _calibrate(self, held: Rows) -> None:
        """Temperature, thresholds and accuracy, from rows that the network was not fitted on."""
        logits = logits_of(self._network(), held.features)
        fitted = self.fixed_temperature or fit_temperature(logits, held.targets)
        self.temperature = fitted
        scores = (logits / fitted).softmax(1)
        self.policy = fit_policy(scores, held.targets)
        single = held.targets.amax(1) > 0.95
        right = scores.argmax(1) == held.targets.argmax(1)
        self.accuracy = float(right[single].float().mean())

    # ── routing ──────────────────────────────────────────────────────────────────────────────

    def scores(self, prompts: Sequence[str]) -> Tensor:
        """Scores [B, K + 1]; see `Router.scores`."""
        return self.scores_of(self.extractor.features(prompts))

    def scores_of(self, features: Tensor) -> Tensor:
        """Scores [B, K + 1] of features [B, F]."""
        # Through the memories' precision, so that a prompt scores as its stored features do.
        return (logits_of(self._network(), features.half()) / self.temperature).softmax(1)

    def scaled(self, prompts: Sequence[str]) -> Tensor:
        """Features [B, F] in units of their deviation over the fitted prompts."""
        return self.scaled_features(self.extractor.features(prompts))

    def scaled_features(self, features: Tensor) -> Tensor:
        """The same for features [B, F], such as those of a memory."""
        return self._network().scaled(features)

    def explain(self, prompts: Sequence[str]) -> list[dict[str, Any]]:
        """`sentences`: what the gate read, and how much attention each sentence got."""
        with torch.inference_mode():
            attention = self._network().attention(self.extractor.features(prompts).half())
        return [
            {
                "sentences": [
                    {"text": text, "attention": weight}
                    for text, weight in zip(self.extractor.sentences(prompt), row, strict=False)
                ]
            }
            for prompt, row in zip(prompts, attention.tolist(), strict=True)
        ]

    def _network(self) -> GateNetwork:
        if self.network is None:
            raise DataError("The gate has not been fitted.", hint="call fit or refit first")
        return self.network

    # ── storing ──────────────────────────────────────────────────────────────────────────────

    def state(self, policy: Policy | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What `Library` keeps: tensors, and a JSON-able description.

        Args:
            policy: the library's policy; by default the fitted one.
        """
        network = self._network().state_dict()
        tensors = {_NETWORK + name: value.clone() for name, value in network.items()}
        tensors[_MEMORY + "none"] = self.none
        tensors[_MEMORY + "several"] = self.several.features
        tensors[_MEMORY + "several.targets"] = self.several.targets
        tensors[_CORRECTED] = self.corrected.features
        tensors[_CORRECTED + ".targets"] = self.corrected.targets
        chosen = policy or self.policy
        meta = {
            "format": FORMAT,
            "features": self.extractor.kind,
            "width": self.extractor.width,
            "encoder": self.extractor.encoder_print,
            "skills": list(self.skills),
            "added": list(self.added),
            "seed": self.seed,
            "memory": self.memory,
            "held_out": f"every {HELD_OUT}th row of a memory",
            "temperature": self.temperature,
            "fixed_temperature": self.fixed_temperature,
            "accuracy": self.accuracy if self.accuracy == self.accuracy else None,
            "policy": policy_to_dict(chosen),
            "keywords": self.words.rates,
        }
        return tensors, meta

    @classmethod
    def from_state(
        cls, extractor: FeatureExtractor, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]
    ) -> LearnedGate:
        """The gate that `state` described; its `memories` are in the library, with the skills.

        Raises:
            LibraryError: a newer format, or parts that do not fit together.
        """
        check_format(meta)
        check_encoder(extractor, meta)
        try:
            gate = cls(
                extractor,
                meta["skills"],
                seed=meta["seed"],
                memory=meta["memory"],
                temperature=meta["fixed_temperature"],
            )
            gate.temperature = float(meta["temperature"])
            gate.accuracy = float("nan") if meta["accuracy"] is None else float(meta["accuracy"])
            gate.policy = policy_from_dict(meta["policy"])
            gate.words = KeywordRouter(gate.skills, meta["keywords"])
            gate.none = tensors[_MEMORY + "none"]
            gate.several = Rows(tensors[_MEMORY + "several"], tensors[_MEMORY + "several.targets"])
            if _CORRECTED in tensors:  # gates of the first versions have none
                shares = tensors[_CORRECTED + ".targets"]
                gate.corrected = Rows(tensors[_CORRECTED], shares)
            gate.added = tuple(meta.get("added", ()))  # gates of the first versions have none
            network = {
                k.removeprefix(_NETWORK): v for k, v in tensors.items() if k.startswith(_NETWORK)
            }
            gate.network = gate._unfitted(GateNetwork.hidden_of(network))
            gate.network.load_state_dict(network)
            gate.network.eval()
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise LibraryError(
                "The gate of the library does not fit its base or itself.",
                given=str(error).splitlines()[0],
                hint="train the gate again (`loramix train`), or restore the library",
            ) from error
        return gate


def hidden_for(columns: int) -> int:
    """Units of the hidden layers of a gate with so many columns: a hundred skills need more."""
    return max(HIDDEN, min(4 * HIDDEN, 5 * columns // 2))


def _carry_over(old: LearnedGate, new: LearnedGate, network: GateNetwork) -> None:
    """Starts the `network` of `new` from the old gate's: hidden layers, and common columns."""
    state = network.state_dict()
    fitted = _rows_of([n for n in (*new.skills, BASE) if n not in new.added],
                      [n for n in (*old.skills, BASE) if n not in old.added])  # fmt: skip
    beside = _rows_of(new.added, old.added)
    for name, value in old._network().state_dict().items():
        if name.startswith(GateNetwork.OUTPUTS):
            state[name][fitted[0]] = value[fitted[1]]
        elif name.startswith(GateNetwork.BESIDE):
            if name in state:
                state[name][beside[0]] = value[beside[1]]
        else:
            state[name].copy_(value)


def _rows_of(new: Sequence[str], old: Sequence[str]) -> tuple[list[int], list[int]]:
    """Where the names that are in both stand in either."""
    both = [name for name in new if name in old]
    return [new.index(name) for name in both], [old.index(name) for name in both]
