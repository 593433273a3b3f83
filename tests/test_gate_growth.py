"""Skills that come later: columns beside the gate's network, which stays as it is."""

from __future__ import annotations

import functools

import numpy
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from gate_prompts import examples_for, prompts_of, tiny_base, tiny_gate
from loramix.errors import LibraryError
from loramix.gate import LearnedGate, RoutedExample, learn_gate, plug_in
from loramix.gate.features import Layout
from loramix.gate.memory import Rows
from loramix.gate.network import RIDGE, GateNetwork, fit_added, fit_network, logits_of

OLD = ("math", "qa")
ALSO = " Write Python code that prints the answer, too."
SEVERAL = [
    RoutedExample(prompt + ALSO, {"qa": 0.5, "code": 0.5})
    for prompt in prompts_of("qa", "train", 40)
]


@functools.cache
def grown_gate() -> LearnedGate:
    gate = tiny_gate(OLD)
    return plug_in(gate, gate.memories, "code", prompts_of("code", "train", 60), beside=True)


def asked() -> list[str]:
    return [p for name in (*OLD, "code", "none") for p in prompts_of(name, "dev", 40)]


def test_a_skill_that_comes_later_leaves_the_shares_of_the_others_as_they_were() -> None:
    old, grown = tiny_gate(OLD), grown_gate()
    assert grown.added == ("code",)
    features = old.extractor.features(asked()).half()
    before = logits_of(old._network(), features)
    after = logits_of(grown._network(), features)
    assert torch.equal(after[:, [0, 1, 3]], before)
    # what the new one takes is taken from all alike
    left = after.softmax(1)[:, [0, 1, 3]]
    assert torch.allclose(left / left.sum(1, keepdim=True), before.softmax(1), atol=1e-5)


def test_the_column_is_what_scikit_learn_finds_for_the_same_rows() -> None:
    torch.manual_seed(0)
    features = torch.randn(300, 6)
    features[:30, 2] += 2.0
    targets = torch.zeros(300, 3)
    targets[:30, 1], targets[30:150, 0], targets[150:, 2] = 1.0, 1.0, 1.0
    network = GateNetwork(Layout(6, 0, 0, ((0, 0), (0, 0))), 3, added=[1])
    fit_added(network, features, targets)
    oracle = LogisticRegression(C=1 / (2 * RIDGE * 300), class_weight="balanced", tol=1e-8)
    oracle.fit(features.numpy(), (targets[:, 1] > 0).numpy())
    assert numpy.allclose(network.beside.weight.detach().numpy(), oracle.coef_, atol=2e-3)
    assert network.beside.bias.item() == pytest.approx(oracle.intercept_[0], abs=2e-3)


def test_rows_that_need_an_added_skill_alone_teach_the_network_nothing() -> None:
    layout = Layout(6, 0, 0, ((0, 0), (0, 0)))
    torch.manual_seed(1)
    features = torch.randn(120, 6)
    targets = torch.zeros(120, 3)
    targets[:50, 0], targets[50:100, 2], targets[100:, 1] = 1.0, 1.0, 1.0
    networks = []
    for rows in (slice(None), slice(100)):
        torch.manual_seed(2)
        networks.append(GateNetwork(layout, 3, added=[1]))
        fit_network(networks[-1], features[rows], targets[rows], seed=0, steps=20)
    one, other = (network.of_fitted(features) for network in networks)
    assert torch.equal(one, other)


def test_rows_of_added_skills_alone_leave_the_network_as_it_is() -> None:
    network = GateNetwork(Layout(6, 0, 0, ((0, 0), (0, 0))), 2, added=[0])
    features, targets = torch.randn(20, 6), torch.tensor([[1.0, 0.0]]).repeat(20, 1)
    before = network.eval().of_fitted(features)
    assert fit_network(network, features, targets, seed=0) == 0.0
    assert torch.equal(network.of_fitted(features), before)


def test_a_gate_with_added_skills_is_stored_and_read_again() -> None:
    grown = grown_gate()
    again = LearnedGate.from_state(grown.extractor, *grown.state())
    assert again.added == ("code",)
    assert torch.equal(again.scores(asked()), grown.scores(asked()))


def test_taking_an_added_skill_out_gives_the_gate_from_before() -> None:
    old, grown = tiny_gate(OLD), grown_gate()
    back = grown.kept({name: grown.memories[name] for name in OLD})
    assert back.added == ()
    features = old.extractor.features(asked()).half()
    assert torch.equal(logits_of(back._network(), features), logits_of(old._network(), features))


def test_an_added_skill_outlives_the_others() -> None:
    grown = grown_gate()
    left = grown.kept({"code": grown.memories["code"]})
    assert (left.skills, left.added) == (("code",), ("code",))
    found = left.scores(list(prompts_of("code", "dev", 40))).argmax(1) == 0
    assert found.float().mean() >= 0.9


def test_a_refit_teaches_the_network_and_keeps_added_skills_beside_it() -> None:
    grown = grown_gate()
    again = grown.refit(grown.memories, several=SEVERAL)
    assert again.added == ("code",)
    shares = again.scores([example.prompt for example in SEVERAL])[:, [1, 2]].mean(0)
    assert (shares >= 0.25).all(), shares.tolist()
    best = again.scores(list(prompts_of("code", "dev", 40))).argmax(1)
    assert (best == again.skills.index("code")).float().mean() >= 0.9


def test_an_added_skill_is_learned_anew_in_its_place() -> None:
    grown = grown_gate()
    more = plug_in(grown, grown.memories, "line", ["make one line of it: a, b"] * 12, beside=True)
    again = plug_in(more, more.memories, "code", prompts_of("code", "dev", 60), beside=True)
    assert again.skills == (*OLD, "code", "line")
    assert again.added == ("code", "line")
    old = tiny_gate(OLD)
    features = old.extractor.features(asked()).half()
    kept = logits_of(again._network(), features)[:, [0, 1, 4]]
    assert torch.equal(kept, logits_of(old._network(), features))


def corrected_gate() -> LearnedGate:
    """A gate that was told of three strange prompts that need the added skill, or some of it."""
    grown = grown_gate()
    prompts = ["blorb the quux", "fizz it", "zap zap zap"]
    shares = torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.7, 0.0, 0.3, 0.0]])
    rows = Rows(grown.extractor.features(prompts).half(), shares)
    return grown.refit(grown.memories, corrected=rows)


def test_what_was_corrected_is_kept_when_an_added_skill_moves_into_the_network() -> None:
    gate = corrected_gate()
    again = plug_in(gate, gate.memories, "code", prompts_of("code", "train", 120))
    assert again.added == ()
    assert torch.equal(again.corrected.features, gate.corrected.features)
    assert torch.equal(again.corrected.targets, gate.corrected.targets)


def test_a_row_that_two_skills_share_is_learned_with_its_shares() -> None:
    layout = Layout(6, 0, 0, ((0, 0), (0, 0)))
    torch.manual_seed(3)
    features = torch.randn(330, 6)
    features[:30] = torch.tensor([4.0, 0, 0, 0, 0, 0])
    targets = torch.zeros(330, 3)
    targets[:30, 0], targets[:30, 1] = 0.7, 0.3
    targets[30:300, 2], targets[300:, 1] = 1.0, 1.0
    features[300:, 1] += 4.0
    network = GateNetwork(layout, 3, added=[1])
    fit_added(network, features, targets)
    share = logits_of(network, features[:1]).softmax(1)[0, 1]
    assert abs(float(share) - 0.3) < 0.12


def test_a_skill_that_the_gate_never_saw_is_learned_by_the_network_with_the_next() -> None:
    gate = tiny_gate(OLD)
    memories = {**gate.memories, "code": gate.remember(prompts_of("code", "train", 60))}
    more = plug_in(gate, memories, "line", ["make one line of it: a, b"] * 12, beside=True)
    best = more.scores(list(prompts_of("code", "dev", 40))).argmax(1)
    assert (best == more.skills.index("code")).float().mean() >= 0.9


def test_a_stored_gate_without_a_network_is_refused_by_name() -> None:
    tensors, meta = grown_gate().state()
    for lost in ({}, {"network.found.weight": torch.zeros(3)}):
        kept = {k: v for k, v in tensors.items() if not k.startswith("network.")} | lost
        with pytest.raises(LibraryError, match="does not fit"):
            LearnedGate.from_state(grown_gate().extractor, kept, meta)


def test_a_skill_of_the_network_that_is_replaced_is_learned_by_the_network() -> None:
    gate = tiny_gate(OLD)
    prompts = prompts_of("qa", "dev", 60)
    assert plug_in(gate, gate.memories, "qa", prompts, beside=True).added == ()


def test_with_more_prompts_an_added_skill_moves_into_the_network_and_others_stay_beside() -> None:
    grown = grown_gate()
    more = plug_in(grown, grown.memories, "line", ["make one line of it: a, b"] * 12, beside=True)
    again = plug_in(more, more.memories, "code", prompts_of("code", "train", 120))
    assert (again.skills, again.added) == ((*OLD, "code", "line"), ("line",))
    best = again.scores(list(prompts_of("code", "dev", 40))).argmax(1)
    assert (best == again.skills.index("code")).float().mean() >= 0.9


def test_a_gate_of_many_skills_has_more_hidden_units_and_is_read_again() -> None:
    names = tuple(f"skill{i}" for i in range(30))
    examples = [RoutedExample(f"{name} {i}", {name: 1.0}) for name in names for i in range(3)]
    none = [RoutedExample(prompt) for prompt in prompts_of("none", "train", 20)]
    gate = learn_gate(tiny_base(), examples + none, names, features="request")
    assert gate._network().hidden > tiny_gate()._network().hidden
    again = LearnedGate.from_state(gate.extractor, *gate.state())
    assert torch.equal(again.scores(["skill7 9"]), gate.scores(["skill7 9"]))


def test_without_features_of_what_is_asked_all_is_fitted_anew() -> None:
    gate = learn_gate(
        tiny_base(), examples_for(OLD, "train", 60), OLD, features="embeddings/mean", memory=40
    )
    prompts = prompts_of("code", "train", 40)
    assert plug_in(gate, gate.memories, "code", prompts, beside=True).added == ()
