"""`loramix merge`: experts on disk that PEFT and transformers load, and nothing half-written."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from loramix.adapter import Adapter, LoraSettings, blend_adapter, read_adapter, write_adapter
from loramix.base import Base
from loramix.commands import merging
from loramix.errors import BaseError, StorageError, UsageError
from loramix.library import Library
from loramix.merge import merge_adapters, output
from loramix.merge.expert import Expert
from loramix.merge.inputs import Material
from loramix.merge.output import whole_folder
from loramix.merge.retention import Judge, Kept, kept, scored_skills
from loramix.merge.search import Candidate, search
from loramix.mixed import MixedModel
from test_cli import refused, run
from tiny import make_tiny, random_adapter, token_ids
from tiny_base import make_base, save_base
from tiny_library import make_card, make_memory

SHAPES = {
    "north": LoraSettings(r=3, alpha=6),
    "south": LoraSettings(
        r=2, alpha=3, use_rslora=True, target_modules=("q_proj", "down_proj", "embed_tokens")
    ),
    "west": LoraSettings(r=4, alpha=4, target_modules=("k_proj", "o_proj", "embed_tokens")),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    place = tmp_path_factory.mktemp("merge") / "base"
    made = save_base(place)
    made.id = str(place)
    return made


@pytest.fixture(scope="module")
def library(base: Base) -> Path:
    """Three skills on a tiny base, of different shapes."""
    assert base.path is not None
    made = Library.create(base.path.parent / "library", base.id, base.fingerprint)
    with made.edit() as txn:
        for seed, (name, shape) in enumerate(SHAPES.items()):
            adapter = random_adapter(base.model, shape, seed)
            txn.add(name, adapter, make_card(name), make_memory(seed))
    return made.path


def merge(library: Path, out: Path, *more: object, skills: tuple[str, ...] = tuple(SHAPES)):
    return run("merge", *skills, "-o", out, "--library", library, "--device", "cpu", *more)


def adapters_in(library: Path) -> dict[str, Adapter]:
    return {name: skill.adapter() for name, skill in Library.open(library).skills.items()}


def entries(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


@torch.no_grad()
def mix_logits(base: Base, library: Path, weights: Mapping[str, float]) -> torch.Tensor:
    adapters = adapters_in(library)
    mixed = MixedModel(base.model)
    mixed.add("it", blend_adapter([adapters[n] for n in weights], list(weights.values())))
    return mixed(token_ids(2, 7), mix_weights=torch.ones(2, 1), mix_names=["it"]).logits


@pytest.mark.peer
def test_peft_loads_the_expert_and_it_is_the_mix(base: Base, library: Path, tmp_path: Path) -> None:
    told = merge(library, tmp_path / "expert", "--weights", "2,1,1", "--json").json()
    assert told["method"] == "linear"
    assert told["rank"] == 6  # where south and west meet
    assert told["energy"] == pytest.approx(1.0)
    assert told["path"] == str(tmp_path / "expert")
    assert told["weights"] == {"north": 0.5, "south": 0.25, "west": 0.25}
    assert told["retention"] == {}
    assert told["storage"]["before"] > 0
    assert told["storage"]["after"] > 0
    assert told["memory"]["before"] > 0
    config = json.loads((tmp_path / "expert" / "adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == 6
    assert not config["rank_pattern"]
    theirs = PeftModel.from_pretrained(make_base().model, tmp_path / "expert").eval()
    with torch.no_grad():
        got = theirs(token_ids(2, 7)).logits
    right = mix_logits(base, library, told["weights"])
    assert float((got - right).norm() / right.norm()) < 1e-5
    assert "normalised" in (tmp_path / "expert" / "README.md").read_text("utf-8")


def test_a_full_expert_is_a_model_whose_logits_are_the_mix(
    base: Base, library: Path, tmp_path: Path
) -> None:
    told = merge(library, tmp_path / "model", "--full", "--json").json()
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    with torch.no_grad():
        got = model(token_ids(2, 7)).logits
    right = mix_logits(base, library, told["weights"])
    assert float((got - right).norm() / right.norm()) < 1e-5
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.chat_template == base.tokenizer.chat_template
    assert "adapter_config.json" not in entries(tmp_path / "model")
    assert "rounded once to fp32" in told["full"]
    assert told["full"] in (tmp_path / "model" / "README.md").read_text("utf-8")
    assert told["memory"]["after"] < told["memory"]["before"]


def test_folders_of_adapters_can_be_merged_too(library: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    write_adapter(adapters_in(library)["north"], folder)
    told = merge(library, tmp_path / "expert", "--json", skills=(str(folder), "south")).json()
    assert told["weights"] == {"mine": 0.5, "south": 0.5}


@pytest.mark.parametrize("method", ["regmean", "regmean_seq"])
def test_regmean_needs_no_data_but_the_prompts_of_the_cards(
    library: Path, tmp_path: Path, method: str
) -> None:
    told = merge(library, tmp_path / "expert", "--method", method, "--json").json()
    assert told["method"] == method
    read_adapter(tmp_path / "expert")


def test_a_weight_that_two_layers_share_is_not_merged_into() -> None:
    model = make_tiny(tie_word_embeddings=True)
    adapter = random_adapter(model, LoraSettings(r=2, target_modules=("lm_head",)))
    with pytest.raises(BaseError, match="shares its weight"):
        output.add_to_weights(model, adapter)


# ── bad input ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--weights", "0,0,0"), ("All weights", "zero")),
        (("--weights", "1,2"), ("2 weights", "3 skills")),
        (("--weights", "a,b,c"), ("--weights a,b,c",)),
        (("--rank", "4096"), ("rank 4096", "from 1 to")),
        (("--density", "0"), ("density 0", "at most 1")),
        (("--density", "1.1"), ("density 1.1",)),
        (("--method", "tie"), ("did you mean 'ties'",)),
        (("--tasks", "north"), ("north", "cannot be scored")),
        (("--auto",), ("--auto", "builtin task")),
    ],
)
def test_what_cannot_be_merged_is_told_before_anything_is_written(
    library: Path, tmp_path: Path, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    refused(merge(library, tmp_path / "expert", *options), *words)
    assert entries(tmp_path) == set()


def test_a_skill_that_is_not_there_or_named_twice_is_told(library: Path, tmp_path: Path) -> None:
    refused(merge(library, tmp_path / "x", skills=("nort", "south")), "did you mean 'north'")
    refused(merge(library, tmp_path / "x", skills=("north", "north")), "twice")


def test_skills_of_different_bases_are_refused(library: Path, tmp_path: Path) -> None:
    other = Library.create(tmp_path / "other", "another-base", "e" * 64)
    with other.edit() as txn:
        adapter = random_adapter(make_base().model, SHAPES["north"])
        txn.add("east", adapter, make_card("east"), make_memory())
    skill = tmp_path / "other" / "skills" / "east"
    refused(
        merge(library, tmp_path / "expert", skills=("north", str(skill))),
        "different bases",
        "another-base",
    )
    (skill / "skill.json").unlink()  # a plain PEFT folder names its base too
    refused(
        merge(library, tmp_path / "expert", skills=("north", str(skill))),
        "different bases",
        "another-base",
    )
    assert entries(tmp_path) == {"other"}


def test_a_folder_that_exists_is_kept_without_force(library: Path, tmp_path: Path) -> None:
    out = tmp_path / "expert"
    out.mkdir()
    (out / "mine.txt").write_text("precious")
    refused(merge(library, out), "exists already", "--force")
    assert entries(out) == {"mine.txt"}
    assert merge(library, out, "--force").code == 0
    # what is no expert is moved aside, never deleted
    assert (tmp_path / "expert.old" / "mine.txt").read_text() == "precious"
    assert merge(library, out, "--force", "--weights", "1,0,0").code == 0
    assert entries(tmp_path) == {"expert", "expert.old"}
    assert json.loads((out / "expert.json").read_text())["weights"]["south"] == 0
    (tmp_path / "file").write_text("")
    refused(merge(library, tmp_path / "file", "--force"), "is a file")


def test_a_full_disk_leaves_nothing(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(output, "sync_tree", full)
    refused(merge(library, tmp_path / "expert"), "the disk is full", code=1)
    assert entries(tmp_path) == set()


def killed(work: Callable[[], None]) -> None:
    """Runs `work` in a child that kills itself on the way."""
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            work()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it was not killed"


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.parametrize(
    ("step", "old"),
    [
        *((step, old) for step in ("writing", "sync_tree", "move 1") for old in (False, True)),
        ("move 2", True),
        ("sync_folder", False),
        ("sync_folder", True),
    ],
)
def test_a_kill_leaves_the_old_expert_the_new_one_or_none(
    tmp_path: Path, step: str, old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "expert"

    def write(text: str, force: bool) -> None:
        with whole_folder(out, force=force) as folder:
            (folder / "expert.json").write_text(text)
            if step == "writing" and text == "new":
                die()

    if old:
        write("old", False)

    def doomed() -> None:
        if step.startswith("move"):
            moves, real = [], output.move

            def move(source: Path, target: Path) -> None:
                moves.append(source)
                if len(moves) == int(step[-1]):
                    die()
                real(source, target)

            monkeypatch.setattr(output, "move", move)
        elif step != "writing":
            monkeypatch.setattr(output, step, die)
        write("new", True)

    killed(doomed)
    if step != "sync_folder":  # then the new one is in place
        step = "after"
        output._recover(out)
        assert entries(tmp_path) == ({"expert"} if old else set())
        if old:
            assert (out / "expert.json").read_text() == "old"
    step = "after"
    write("next", True)
    assert entries(tmp_path) == {"expert"}
    assert (out / "expert.json").read_text() == "next"


# ── retention and the search ─────────────────────────────────────────────────────────────────


def test_a_skill_is_scored_on_the_task_that_its_card_tells_of_or_of_its_name() -> None:
    told = {"math": "math_brief", "code": "", "qa": "question-answering", "north": ""}
    found = scored_skills(told, None)
    assert {name: task.name for name, task in found.items()} == {
        "math": "math_brief", "code": "code", "qa": "qa",
    }  # fmt: skip
    assert list(scored_skills(told, "code")) == ["code"]


def test_scores_before_and_after_with_a_plot(tmp_path: Path) -> None:
    out = tmp_path / "expert"
    told = run("merge", "sentiment", "code", "-o", out, "--examples", 4, "--json").json()
    assert set(told["retention"]) == {"sentiment", "code"}
    for name, row in told["skills"].items():
        assert told["retention"][name] == pytest.approx(row["after"] / row["before"])
        assert row["n"] == 4
    assert told["plot"] == str(out / "retention.svg")
    svg = (out / "retention.svg").read_text("utf-8")
    assert svg.startswith("<svg")
    assert "var(" not in svg
    shown = run("merge", "sentiment", "code", "-o", out, "--tasks", "none", "--force")
    assert "expert:" in shown.out
    assert "retention.svg" not in entries(out)


class FakeJudge:
    """Scores an expert by how near each weight is to one that is wanted."""

    def __init__(self, wanted: Mapping[str, float]) -> None:
        self.wanted, self.asked = wanted, 0

    def expert(self, adapter: Adapter) -> dict[str, dict[str, float]]:
        self.asked += 1
        made = adapter.modules
        path = next(iter(made))
        size = float(made[path].delta().norm())
        return {name: {"score": 1 / (1 + abs(size - want))} for name, want in self.wanted.items()}


def searched(library: Path, seconds: float, judge: FakeJudge) -> tuple[Expert, list[Kept]]:
    adapters = adapters_in(library)
    before = {name: {"score": 1.0} for name in judge.wanted}
    expert, trials = search(
        adapters,
        Candidate("linear", (1.0, 1.0, 1.0)),
        judge,  # type: ignore[arg-type]
        before,
        seconds,
        rank=None,
        seed=0,
        material=Material(make_base(), adapters, {}, {}),
        methods=["linear", "ties"],
    )
    return expert, [trial.kept for trial in trials]


def test_the_search_returns_the_best_trial_and_never_less_than_linear(library: Path) -> None:
    judge = FakeJudge({"north": 3.0, "south": 3.2})
    expert, trials = searched(library, 1.5, judge)
    assert judge.asked == len(trials) > 3
    assert trials == sorted(trials, reverse=True)
    linear = merge_adapters(adapters_in(library))
    plain = kept({n: row["score"] for n, row in judge.expert(linear.adapter).items()})
    found = kept({n: row["score"] for n, row in judge.expert(expert.adapter).items()})
    assert found == trials[0] >= plain


def test_without_time_the_search_is_plain_linear(library: Path) -> None:
    expert, trials = searched(library, 0.0, FakeJudge({"north": 3.0}))
    assert (expert.method, len(trials)) == ("linear", 1)


def test_a_merge_that_outlasts_the_budget_is_broken_off(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = search.__globals__["merge_adapters"]

    def slow(*given: object, **options: Any) -> Expert:
        if given[2] == "ties":
            time.sleep(1.2)
        return real(*given, **options)

    monkeypatch.setitem(search.__globals__, "merge_adapters", slow)
    start = time.monotonic()
    expert, trials = searched(library, 1.0, FakeJudge({"north": 3.0}))
    assert time.monotonic() - start < 5
    assert expert.method == "linear"
    assert trials


def test_what_was_found_gives_way_to_linear_where_that_keeps_more_on_held_out_examples(
    library: Path,
) -> None:
    adapters = adapters_in(library)
    found = merge_adapters(adapters, scale=3.0)

    class Held:
        def expert(self, adapter: Adapter) -> dict[str, dict[str, float]]:
            return {"north": {"score": 0.8}}

    options = {"rank": None}
    before, after = {"north": {"score": 1.0}}, {"north": {"score": 0.5}}
    judge: Judge = Held()  # type: ignore[assignment]
    even = [1.0] * 3
    expert, scores = merging._no_worse(found, after, before, judge, adapters, even, options)
    assert (expert.scale, scores["north"]["score"]) == (1.0, 0.8)
    good = {"north": {"score": 0.9}}
    assert merging._no_worse(found, good, before, judge, adapters, even, options)[0] is found


def test_a_place_is_checked_without_loading_a_base(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        output.check_place(tmp_path, force=False)
