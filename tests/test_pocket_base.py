"""How the pocket base is born, and what ships of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from loramix.base import pocket_path

TOOLS = Path(__file__).parents[1] / "tools" / "pocket"


@pytest.fixture
def pretrain(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    pytest.importorskip("zstandard", reason="tools/pocket needs zstandard")
    for name in ("marks", "sums", "text", "corpus", "pretrain"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import pretrain

    return pretrain


def test_a_fresh_base_looks_back_at_what_followed_the_same_token(pretrain) -> None:
    torch.manual_seed(0)
    model = pretrain.make_model(512)
    pretrain.wire_lookback(model)
    period = 24
    row = torch.randperm(500)[:period] + 6
    ids = torch.cat([torch.tensor([1]), row, row])[None]
    with torch.no_grad():
        first, second = model(ids, output_attentions=True).attentions[:2]
    places = torch.arange(2, ids.shape[1])
    before = first[0, 0, places, places - 1]
    assert before.mean() > 0.8, "layer 0, head 0 looks at the token before"
    repeated = torch.arange(period + 1, 2 * period)
    after_match = second[0, 0, repeated, repeated - period + 1]
    assert after_match.mean() > 0.6, "layer 1, head 0 looks at what followed the same token"


def test_the_schedule_rises_stays_and_ends_at_nothing(pretrain) -> None:
    assert pretrain.rate(0.0) == 0.0
    assert pretrain.rate(0.3) == 1.0
    assert 0.0 < pretrain.rate(0.9) < pretrain.rate(0.7) < 1.0
    assert pretrain.rate(1.0) == 0.0


def test_what_can_be_known_counts_in_full_and_what_chance_drew_less(pretrain) -> None:
    import corpus
    import text

    plain, spans = corpus.unmark(f"7 + 5 = {text.known('12')}, 9 - 2 = {text.known('7')}")
    assert plain == "7 + 5 = 12, 9 - 2 = 7"
    assert [plain[a:b] for a, b in spans] == ["12", "7"]
    documents = [f"7 + 5 = {text.known('12')}", "7 + 5 = 12"]
    tokenizer = corpus.make_tokenizer(documents * 50)
    ids, counts = corpus.encode(tokenizer, documents)
    assert len(ids) == len(counts)
    marked, unmarked = counts.reshape(2, -1)
    assert tokenizer.decode(ids[: len(marked)][marked == corpus.KNOWN][:-1]).strip() == "12"
    assert set(marked) == {corpus.DRAWN, corpus.KNOWN}
    assert set(unmarked[1:]) == {corpus.PLAIN}


def test_every_kind_of_text_marks_something_that_can_be_known(pretrain) -> None:
    import random

    import corpus
    import text

    rng = random.Random(0)
    for kind, (make, _) in text.KINDS.items():
        texts = [make(rng) for _ in range(20)]
        spans = [corpus.unmark(document)[1] for document in texts]
        assert any(spans), kind
        assert all(a < b for found in spans for a, b in found)


@pytest.mark.skipif(
    not (pocket_path() / "config.json").exists(), reason="the pocket base is not built"
)
def test_the_shipped_base_keeps_its_size_and_loads_with_no_code_of_ours() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert (pocket_path() / "model.safetensors").stat().st_size <= 32e6
    model = AutoModelForCausalLM.from_pretrained(pocket_path())
    tokenizer = AutoTokenizer.from_pretrained(pocket_path())
    assert sum(p.numel() for p in model.parameters()) <= 16e6
    assert tokenizer.chat_template
    assert len(tokenizer("1234", add_special_tokens=False).input_ids) == 4
    assert (pocket_path() / "README.md").exists()
