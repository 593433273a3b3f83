"""`loramix train`: skills of a YAML come into a library with their scores and a gate."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loramix import render
from loramix.answers import METRICS, score_answers
from loramix.commands.train import train
from loramix.errors import (
    AdapterMismatchError,
    ConfigError,
    DataError,
    StorageError,
    UnknownSkillError,
)
from loramix.library import Library
from tiny_base import save_base

YAML = """
base: base
library: library
skills:
  cats:
    description: about cats
    data: {path: cats.jsonl}
    prompt: "{q}"
    completion: "{a}"
    lora: {r: 4}
  dogs:
    data: {path: dogs.jsonl}
    prompt: "{q}"
    completion: "{a}"
    metric: f1
train: {max_steps: 4, batch_size: 8, lr: 0.01, eval_every: 2, bf16: false}
evaluation: {examples: 4, max_new_tokens: 4}
gate: {memory: 20, features: words, policy: blend}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A YAML over two small files and a tiny base."""
    save_base(tmp_path / "base", max_position_embeddings=256)
    for word in ("cat", "dog"):
        rows = [{"q": f"{word} number {i}", "a": f"{word}{i % 3}"} for i in range(40)]
        (tmp_path / f"{word}s.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "config.yaml").write_text(YAML)
    return tmp_path / "config.yaml"


def test_skills_scores_and_gate_come_into_one_library(config: Path) -> None:
    result = train(config)
    assert list(result["skills"]) == ["cats", "dogs"]
    cats = result["skills"]["cats"]
    assert {"base", "skill", "routed", "gain", "dev_loss", "steps", "seconds"} <= set(cats)
    assert cats["scored_on"] == "dev"
    library = Library.open(result["library"])
    assert library.skills["cats"].card.description == "about cats"
    assert library.skills["cats"].memory().shape[0] <= 20
    stored = library.gate()
    assert stored is not None
    assert stored[1]["policy"]["kind"] == "blend"
    assert {path.name for path in Path(result["training"]).iterdir()} == {
        "losses.json",
        "losses.png",
    }

    before = (library.skills["dogs"].path / "adapter_model.safetensors").read_bytes()
    again = train(config, skills=["cats"])
    assert list(again["skills"]) == ["cats"]
    assert again["gate"]["skills"] == ["cats", "dogs"]
    assert again["generation"] == result["generation"] + 1
    dogs = Library.open(result["library"]).skills["dogs"]
    assert (dogs.path / "adapter_model.safetensors").read_bytes() == before

    save_base(config.parent / "base", max_position_embeddings=256, seed=1)
    with pytest.raises(AdapterMismatchError):
        train(config)


BLENDS = """
blends:
  both:
    skills: {cats: 0.5, dogs: 0.5}
    data: {path: both.jsonl}
    prompt: "{q}"
    completion: "{a}"
"""


@pytest.fixture
def blended(config: Path) -> Path:
    rows: list[dict[str, object]] = [
        {"q": f"cat and dog number {i}", "a": f"cat{i % 3} dog{i % 3}"} for i in range(40)
    ]
    for row in rows[:8]:
        row["skills"] = {"cats": 0.9, "dogs": 0.1}
    (config.parent / "both.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config.write_text(YAML + BLENDS)
    return config


def test_skills_learn_a_blend_of_the_yaml_and_the_gate_learns_to_call_for_it(
    blended: Path,
) -> None:
    result = train(blended)
    assert set(result["blends"]) == {"both"}
    assert result["blends"]["both"]["n"] == 4
    assert set(json.loads((Path(result["training"]) / "losses.json").read_text())) == {
        "cats", "dogs", "both",
    }  # fmt: skip
    stored = Library.open(result["library"]).gate()
    assert stored is not None
    assert len(stored[0]["memory.several"]) > 0
    render.train(result)


def test_the_gate_learns_a_rows_own_mix_and_the_blends_for_the_others(blended: Path) -> None:
    result = train(blended)
    stored = Library.open(result["library"]).gate()
    assert stored is not None
    targets = {
        tuple(round(float(w), 2) for w in row[:2]) for row in stored[0]["memory.several.targets"]
    }
    assert targets == {(0.5, 0.5), (0.9, 0.1)}
    assert result["blends"]["both"]["skills"] == {"cats": 0.5, "dogs": 0.5}


@pytest.mark.slow
def test_one_skill_is_trained_anew_beside_a_frozen_partner(blended: Path) -> None:
    train(blended)
    library = Library.open(blended.parent / "library")
    dogs = (library.skills["dogs"].path / "adapter_model.safetensors").read_bytes()
    result = train(blended, skills=["cats"])
    assert set(result["blends"]) == {"both"}
    library = Library.open(blended.parent / "library")
    assert (library.skills["dogs"].path / "adapter_model.safetensors").read_bytes() == dogs


def test_a_blend_waits_for_its_skills(blended: Path, caplog: pytest.LogCaptureFixture) -> None:
    result = train(blended, skills=["cats"])
    assert not result["blends"]
    assert "until there is a skill dogs" in caplog.text


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (("both:", "cats:"), ConfigError, "name of a skill"),
        (("{cats: 0.5, dogs: 0.5}", "{x: 0.5, y: 0.5}"), ConfigError, "none of which is a skill"),
        (("{cats: 0.5, dogs: 0.5}", "{cats: 0.5}"), ConfigError, "skills"),
        (("{cats: 0.5, dogs: 0.5}", "{cats: 0.5, dogs: -1.0}"), ConfigError, "dogs"),
        (("max_steps: 4", "together: false, max_steps: 4"), ConfigError, "together"),
        (("both.jsonl", "none.jsonl"), DataError, "no such file"),
    ],
)
def test_a_blend_that_cannot_be_is_said_before_anything_is_written(
    blended: Path, change: tuple[str, str], error: type[Exception], said: str
) -> None:
    text = blended.read_text()
    head, blends = text.split("blends:")
    blends = blends.replace(*change)
    blended.write_text(head.replace(*change) + "blends:" + blends if "max" in change[0]
                       else head + "blends:" + blends)  # fmt: skip
    with pytest.raises(error, match=said):
        train(blended)
    assert not (blended.parent / "library").exists()


def test_a_row_whose_skills_are_not_those_of_the_blend_is_refused(blended: Path) -> None:
    row = {"q": "cat and dog", "a": "cat dog", "skills": {"birds": 1.0}}
    (blended.parent / "both.jsonl").write_text("\n".join([json.dumps(row)] * 4))
    with pytest.raises(DataError, match="no mix of the blend's skills"):
        train(blended)


def test_what_cannot_be_trained_is_said_before_anything_is_written(config: Path) -> None:
    with pytest.raises(UnknownSkillError, match="did you mean 'cats'"):
        train(config, skills=["cat"])
    text = config.read_text()
    config.write_text(text.replace("features: words", "features: embeddings/meen"))
    with pytest.raises(ConfigError, match="meen"):
        train(config)
    config.write_text(text)
    with (config.parent / "dogs.jsonl").open("a") as file:
        file.write("\n{broken")
    with pytest.raises(DataError, match="41"):
        train(config)
    assert not (config.parent / "library").exists()
    assert not (config.parent / "library-training").exists()


def test_wrong_data_is_told_before_the_base_is_loaded(config: Path) -> None:
    shutil.rmtree(config.parent / "base")  # to load it would be another error
    (config.parent / "dogs.jsonl").unlink()
    with pytest.raises(DataError, match=r"dogs\.jsonl"):
        train(config)


def test_a_wrong_yaml_is_told_before_torch_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("base: pocket\nskillz: {}\n")
    code = (
        "import sys\nfrom loramix.cli import app\n"
        "try: app(['train', sys.argv[1]])\n"
        "except SystemExit as ended: assert ended.code == 2, ended.code\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "wrong.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "skillz" in ended.stderr


def test_rows_kept_for_tests_are_scored_and_early_stopping_never_sees_them(config: Path) -> None:
    rows = [{"q": f"cat number {i}", "a": "cat0"} for i in range(100, 103)]
    (config.parent / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = "    data: {path: cats.jsonl}\n"
    config.write_text(config.read_text().replace(data, f"{data}    test: {{path: test.jsonl}}\n"))
    cats = train(config, skills=["cats"])["skills"]["cats"]
    assert (cats["scored_on"], cats["n"]) == ("test", 3)
    assert cats["dev_loss"] is not None  # of the part of `data` that is held out
    card = Library.open(config.parent / "library").skills["cats"].card
    assert card.provenance["scored on"] == "test rows, 3 examples"
    assert card.provenance["data"].split(", ")[1] == "36 examples"


def test_a_score_on_training_rows_is_told_as_one(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    text = config.read_text().replace("max_steps: 4", "max_steps: 4, dev_fraction: 0")
    config.write_text(text)
    result = train(config, skills=["cats"])
    assert result["skills"]["cats"]["scored_on"] == "train"
    card = Library.open(result["library"]).skills["cats"].card
    assert card.provenance["scored on"] == "its training data, 4 examples"
    capsys.readouterr()
    render.train(result)
    assert "(on its training data)" in capsys.readouterr().out


def test_a_card_holds_no_place_on_the_users_disk(config: Path) -> None:
    library = Library.open(train(config)["library"])
    digest = hashlib.sha256((config.parent / "cats.jsonl").read_bytes()).hexdigest()
    skill = library.skills["cats"]
    assert skill.card.provenance["data"].startswith(f"cats.jsonl (sha256 {digest[:16]})")
    assert str(config.parent / "cats.jsonl") not in (skill.path / "README.md").read_text()
    assert str(config.parent / "cats.jsonl") not in (skill.path / "skill.json").read_text()


def test_files_of_the_user_are_never_in_the_way(config: Path) -> None:
    place = config.parent / "library-training"
    place.mkdir()
    (place / "diary.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"diary\.txt"):
        train(config)
    assert (place / "diary.txt").read_text() == "mine"
    assert not (config.parent / "library").exists()


def test_a_library_can_be_the_working_folder(
    config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    result = train(config, library=Path())
    assert Path(result["library"]) == tmp_path / "here"
    assert Path(result["training"]) == tmp_path / "here-training"


@pytest.mark.slow
def test_a_gate_that_stays_keeps_its_features_and_its_policy(config: Path) -> None:
    train(config)
    text = config.read_text()
    config.write_text(text.replace("features: words", "features: embeddings/mean"))
    with pytest.raises(ConfigError, match="embeddings/mean"):
        train(config, skills=["cats"])
    config.write_text(text.replace(", policy: blend", ""))
    train(config, skills=["cats"])
    stored = Library.open(config.parent / "library").gate()
    assert stored is not None
    assert stored[1]["policy"]["kind"] == "blend"


def test_scraps_of_a_killed_writer_are_no_library(config: Path) -> None:
    scraps = config.parent / "library"
    (scraps / "skills").mkdir(parents=True)
    (scraps / ".lock").write_text("")
    assert list(train(config, skills=["cats"])["skills"]) == ["cats"]


@given(st.sampled_from(sorted(METRICS)), st.text(max_size=20), st.text(max_size=20))
def test_scores_are_shares_and_1_for_the_expected_answer(
    metric: str, expected: str, given: str
) -> None:
    score, same = score_answers(metric, [expected] * 2, [given, expected])
    assert 0 <= score <= 1
    # a text need not hold a number, nor two words in a row
    assert same == 1 or metric in ("number", "rouge_2")


def test_metrics_see_what_they_are_for() -> None:
    assert METRICS["exact"]("Paris", " the paris. ") == 1
    assert METRICS["f1"]("in Paris", "Paris") == pytest.approx(2 / 3)
    assert METRICS["rouge_l"]("one two three", "one three two") == pytest.approx(2 / 3)
    assert METRICS["number"]("#### 1,200", "so it is 1200.0") == 1
    assert METRICS["number"]("12", "none") == 0
