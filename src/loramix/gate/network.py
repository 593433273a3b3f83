"""The gate's network: a few layers over a feature vector, and how they are fitted.

    h_s = gelu(W z_s + b)                        one vector for each sentence slot s
    a   = softmax_s(v · h_s)                     attention: which sentence is the request?
    logits = U Σ_s a_s h_s  +  MLP(x_whole)      what is asked, and what it is about
    logit_n = w_n · x_whole + b_n + log Σ exp(logits)      for a skill n that came later

Attention as in Bahdanau, Cho & Bengio (2015), with one learned query. A skill that came later has a
logistic regression of its own beside the network: it takes exp(s_n) / (1 + Σ_m exp(s_m)) of each
prompt, s = w · x + b, and the others share what it leaves as they did before, in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from loramix.gate.features import Layout

HIDDEN = 64
RIDGE = 0.04
NEEDED = 0.05  # share from which a prompt needs a skill
BATCH = 128
JOINED = 0.25  # joined pairs for each row
RATE = 4e-3
WEIGHT_DECAY = 0.5
_WORD_SCALE = 0.7  # hashed words are 0 or 1; states are scaled to a deviation of 1
_CLIP = 8.0  # a strange prompt must not push the network beyond what it has seen


class GateNetwork(nn.Module):
    """Scores before the softmax, for features of one layout.

    Args:
        layout: what stands where in the features.
        columns: K + 1.
        added: which of them came later, and are decided beside the network. The layout needs a
            part about the whole prompt for it.
        hidden: units of the hidden layers.
    """

    OUTPUTS = ("about.", "found.")
    """Parameters with a row for each column that is not added; all others, but those beside, know
    nothing of the skills."""
    BESIDE = ("beside.",)
    """Parameters with a row for each added column."""

    center: Tensor
    scale: Tensor

    def __init__(
        self, layout: Layout, columns: int, added: Sequence[int] = (), hidden: int = HIDDEN
    ) -> None:
        super().__init__()
        self.layout, self.columns, self.hidden = layout, columns, hidden
        self.added = list(added)
        self.fitted = [column for column in range(columns) if column not in self.added]
        self.register_buffer("center", torch.zeros(layout.width))
        self.register_buffer("scale", torch.ones(layout.width))
        self.whole: nn.Sequential | None = None
        self.slot: nn.Sequential | None = None
        if layout.whole:
            self.whole = _hidden(layout.whole, 0.3, hidden)
            self.about = nn.Linear(hidden, len(self.fitted))
        if layout.slots:
            self.slot = _hidden(layout.slot, 0.2, hidden)
            self.query = nn.Linear(hidden, 1)
            self.found = nn.Linear(hidden, len(self.fitted))
        if self.added:
            self.beside = nn.Linear(layout.whole, len(self.added))

    @staticmethod
    def hidden_of(state: Mapping[str, Tensor]) -> int:
        """The hidden units of a network with that state."""
        weight = state["about.weight"] if "about.weight" in state else state["found.weight"]
        return weight.shape[1]

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, K + 1] for features [B, F]."""
        whole, slots, present = self._split(features)
        logits = self._logits(whole, slots, present)
        if not self.added:
            return logits
        out = torch.empty(len(features), self.columns)
        out[:, self.fitted] = logits
        out[:, self.added] = self.beside(whole) + logits.logsumexp(1, keepdim=True)
        return out

    def of_fitted(self, features: Tensor, pairs: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Logits [B, C] of the columns that are not added, for features [B, F].

        With `pairs` (rows [n] and rows [n]) also, after them, logits [n, C] of prompts joined
        in pairs, as if one prompt held the sentences of both.
        """
        whole, slots, present = self._split(features)
        logits = self._logits(whole, slots, present)
        if pairs is None:
            return logits
        first, second = pairs
        joined = self._logits(
            (whole[first] + whole[second]) / 2,
            torch.cat([slots[first], slots[second]], 1),
            torch.cat([present[first], present[second]], 1),
        )
        return torch.cat([logits, joined])

    def whole_of(self, features: Tensor) -> Tensor:
        """What the added columns read of features [B, F]: the part about the whole, scaled."""
        return self._split(features)[0]

    def attention(self, features: Tensor) -> Tensor:
        """How much each sentence slot counts, [B, S]; rows sum to 1. S may be 0."""
        _, slots, present = self._split(features)
        return self._attend(slots, present)[1] if self.slot is not None else present.float()

    def set_scaling(self, features: Tensor) -> None:
        """Sets the centre and scale of each column from features [N, F]."""
        layout = self.layout
        center, scale = torch.zeros(layout.width), torch.ones(layout.width)
        whole = features[:, : layout.whole].float()
        center[: layout.whole], scale[: layout.whole] = _moments(whole, layout.words[0])
        if layout.slots:
            slots = features[:, layout.whole :].reshape(-1, layout.slot)
            filled = slots[slots.ne(0).any(1)].float()
            mean, deviation = _moments(filled, layout.words[1])
            # The same for every slot: a sentence means the same wherever it stands.
            center[layout.whole :] = mean.repeat(layout.slots)
            scale[layout.whole :] = deviation.repeat(layout.slots)
        self.center.copy_(center)
        self.scale.copy_(scale)

    def scaled(self, features: Tensor) -> Tensor:
        """Features [B, F] in units of their deviation, as `set_scaling` found it."""
        return (features.float() - self.center) / self.scale

    def _logits(self, whole: Tensor, slots: Tensor, present: Tensor) -> Tensor:
        logits = torch.zeros(len(whole), 1)
        if self.whole is not None:
            logits = logits + self.about(self.whole(whole))
        if self.slot is not None:
            hidden, attention = self._attend(slots, present)
            logits = logits + self.found((hidden * attention.unsqueeze(2)).sum(1))
        return logits

    def _split(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scaled whole part [B, W], scaled slots [B, S, Z], and which slots are filled [B, S]."""
        layout = self.layout
        raw = features.float()
        scaled = self.scaled(raw).clamp(-_CLIP, _CLIP)
        shape = (len(features), layout.slots, layout.slot)
        present = raw[:, layout.whole :].reshape(shape).ne(0).any(2)
        return scaled[:, : layout.whole], scaled[:, layout.whole :].reshape(shape), present

    def _attend(self, slots: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden [B, S, H] and attention [B, S] of the slots."""
        hidden: Tensor = cast(nn.Sequential, self.slot)(slots)
        pull: Tensor = self.query(hidden).squeeze(2)
        return hidden, pull.masked_fill(~present, -1e4).softmax(1)


def fit_network(
    network: GateNetwork, features: Tensor, targets: Tensor, *, seed: int, steps: int | None = None
) -> float:
    """Fits `network` by cross-entropy with soft targets; the same seed gives the same network.

    To each four rows comes a pair of prompts joined, which needs what both need: so blends are
    learned for any two skills, also where nobody has written prompts that need both.

    Args:
        network: changed in place, left in eval mode.
        features: [N, F], any float dtype.
        targets: [N, K + 1], rows sum to 1. Of a row that also needs an added skill only the other
            shares count; of one that needs no other, nothing.
        seed: of the order of the rows and of the dropout.
        steps: batches; by default 5 rounds over the rows, 150 at least and 600 at most.

    Returns:
        The mean loss of the last tenth of the steps; 0 where no row is left to learn from.
    """
    shares = targets[:, network.fitted]
    rows_left = shares.sum(1) > NEEDED
    features, shares = features[rows_left], shares[rows_left]
    targets = shares / shares.sum(1, keepdim=True)
    count = len(features)
    if not count:  # all rows need added skills alone: there is nothing to learn, and no mean of it
        network.eval()
        return 0.0
    total = steps or min(600, max(150, 5 * count // BATCH))
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=total)
    losses: list[float] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network.train()
        while len(losses) < total:
            for rows in torch.split(torch.randperm(count), BATCH):
                wanted = targets[rows]
                count_joined = int(len(rows) * JOINED)
                first, second = (torch.randperm(len(rows))[:count_joined] for _ in range(2))
                log_scores = network.of_fitted(features[rows], (first, second)).log_softmax(1)
                wanted = torch.cat([wanted, _joined_targets(wanted[first], wanted[second])])
                loss: Tensor = -(wanted * log_scores).sum(1).mean()
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                losses.append(float(loss.detach()))
                if len(losses) == total:
                    break
        network.eval()
    tail = losses[-max(1, total // 10) :]
    return sum(tail) / len(tail)


def fit_added(network: GateNetwork, features: Tensor, targets: Tensor) -> None:
    """Fits the added columns of `network`, and nothing else of it: the loss has one minimum.

    Each of them, and all others together, count alike, however many rows they have: a skill comes
    with a few examples and has to be found all the same. A row that several of them share keeps its
    shares, and counts as much as they make it.

    Args:
        network: changed in place.
        features: [N, F], any float dtype.
        targets: [N, K + 1], rows sum to 1.
    """
    own = targets[:, network.added]
    wanted = torch.cat([1 - own.sum(1, keepdim=True), own], 1)
    counted = (wanted / wanted.sum(0).clamp_min(1e-9) / 2).sum(1, keepdim=True)
    wanted = wanted * counted
    parameters = [*network.beside.parameters()]
    optimizer = torch.optim.LBFGS(parameters, max_iter=200, line_search_fn="strong_wolfe")
    with torch.no_grad():
        whole = network.whole_of(features)

    def loss() -> Tensor:
        optimizer.zero_grad()
        beside = network.beside(whole)
        scores = torch.cat([torch.zeros(len(whole), 1), beside], 1).log_softmax(1)
        value: Tensor = RIDGE * network.beside.weight.square().sum() - (wanted * scores).sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]


@torch.inference_mode()
def logits_of(network: GateNetwork, features: Tensor) -> Tensor:
    """Logits [N, K + 1] of features [N, F], in batches that bound the memory."""
    parts: list[Tensor] = [network(part) for part in torch.split(features, 1024)]
    return torch.cat(parts)


def _joined_targets(first: Tensor, second: Tensor) -> Tensor:
    """What two prompts in one need, [n, K + 1]: none of the skills only if neither needs one."""
    skills = (first + second)[:, :-1]
    needs = skills.sum(1, keepdim=True)
    none = (needs == 0).float()
    return torch.cat([skills / needs.clamp_min(1e-9), none], 1)


class _ColumnDropout(nn.Module):
    """Dropout of columns: a word that is dropped is gone from all sentences of its prompt.

    Besides, drawing one number for all slots is most of what dropout would cost here.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, values: Tensor) -> Tensor:
        """[B, …, W] → the same shape."""
        if not self.training:
            return values
        kept = torch.ones(len(values), *[1] * (values.ndim - 2), values.shape[-1])
        return values * nn.functional.dropout(kept, self.p)


def _hidden(width: int, dropout: float, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        _ColumnDropout(dropout), nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout)
    )


def _moments(values: Tensor, words: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the columns of [N, W]; those of words only get a scale."""
    mean = values.mean(0)
    deviation = (values - mean).square().mean(0).sqrt()
    # A column that is constant in these rows says nothing about its scale.
    deviation = torch.where(deviation > 1e-4, deviation, torch.ones_like(deviation))
    mean[slice(*words)], deviation[slice(*words)] = 0.0, 1 / _WORD_SCALE
    return mean, deviation
