"""A YAML means exactly one thing, or a message says on which line it does not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from typer.testing import CliRunner

from loramix.commands.init import init
from loramix.config import (
    BlendConfig,
    Config,
    EvaluationConfig,
    GateConfig,
    SkillConfig,
    SkillTraining,
    TrainConfig,
    load_config,
    template_yaml,
)
from loramix.data import load_examples
from loramix.errors import ConfigError, StorageError, UsageError
from loramix.mix import Policy

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
SKILL = "skills:\n  qa:\n    data: {path: qa.jsonl}\n"


def load(folder: Path, text: str | bytes) -> Config:
    path = folder / "run.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_config(path)


def complaint(folder: Path, text: str | bytes) -> str:
    """The message for a YAML that cannot be used; its exit code says that the call was wrong."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    assert caught.value.exit_code == 2
    assert "run.yaml" in str(caught.value)
    assert "pydantic" not in str(caught.value)
    return str(caught.value)


# What a good YAML means


def test_the_yaml_of_the_design_means_what_it_says(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        base: pocket
        skills:
          sentiment:
            description: tells how the writer feels
            data: {path: data/sentiment.jsonl}
            prompt: "{sentence}"
            completion: "{label}"
            lora: {r: 16, alpha: 32, target_modules: [q_proj, v_proj]}
        gate: {features: auto, policy: top1}
        """,
    )
    skill = config.skills["sentiment"]
    assert skill.data.path == tmp_path / "data" / "sentiment.jsonl"
    assert (skill.lora.r, skill.lora.alpha) == (16, 32)
    assert skill.lora.target_modules == ("q_proj", "v_proj")
    assert config.gate.policy == "top1"
    assert config.train == TrainConfig()


def test_paths_start_at_the_folder_of_the_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "project"
    (folder / "models" / "mine").mkdir(parents=True)
    (folder / "qa.jsonl").write_text('{"prompt": "p", "completion": "c"}\n')
    text = f"base: models/mine\nlibrary: out\n{SKILL}    dev: {{path: /data/dev.jsonl}}\n"
    (folder / "run.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    config = load_config("project/run.yaml")
    monkeypatch.chdir("/")
    assert config.base == str(folder / "models" / "mine")
    assert config.library == folder / "out"
    assert load_examples(config.skills["qa"].data)[0].prompt == "p"
    assert config.skills["qa"].dev is not None
    assert config.skills["qa"].dev.path == Path("/data/dev.jsonl")


@pytest.mark.parametrize("base", ["pocket", "TinyLlama/TinyLlama-1.1B-Chat-v1.0"])
def test_a_base_that_is_no_folder_stays_an_id(tmp_path: Path, base: str) -> None:
    assert load(tmp_path, f"base: {base}\n{SKILL}").base == base


def test_a_skill_may_train_in_its_own_way_when_it_trains_alone(tmp_path: Path) -> None:
    text = "train: {together: false, lr: 1e-3, epochs: 2}\n" + SKILL + "    train: {lr: 5e-4}\n"
    config = load(tmp_path, text)
    assert config.training("qa").lr == 5e-4
    assert config.training("qa").epochs == 2
    both = text.replace("together: false", "together: true")
    assert load(tmp_path, both).training("qa").lr == 5e-4, "one skill alone is no contradiction"
    message = complaint(tmp_path, both + "  math: {data: {builtin: math}}\n")
    assert "skills.qa.train cannot hold in one run" in message
    assert set(SkillTraining.model_fields) <= set(TrainConfig.model_fields)


def test_thresholds_of_the_gate_that_are_not_given_are_the_fitted_ones() -> None:
    fitted = Policy(blend_threshold=0.31, none_threshold=0.62)
    assert GateConfig().make_policy(fitted) == fitted
    mine = GateConfig(policy="topk", k=3, blend_threshold=0.0).make_policy(fitted)
    assert mine == Policy("topk", k=3, blend_threshold=0.0, none_threshold=0.62)


def test_the_kinds_of_features_are_those_of_the_gate(tmp_path: Path) -> None:
    from loramix.config.models import FEATURE_SOURCES
    from loramix.gate.features import AUTO, POOLS

    assert set(POOLS) == set(FEATURE_SOURCES)
    assert GateConfig(features=AUTO).features == AUTO


@pytest.mark.parametrize("number", ["1e-3", "1E-3", "1.0e-3", "0.001", ".1e-2", "+1e-3", "1.e-3"])
def test_numbers_may_be_written_as_people_write_them(tmp_path: Path, number: str) -> None:
    assert load(tmp_path, f"train: {{lr: {number}}}\n{SKILL}").train.lr == 0.001


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_byte_order_marks_change_nothing(
    tmp_path: Path, ends: str, mark: bytes
) -> None:
    text = SKILL + "base: pocket # é\n"
    config = load(tmp_path, mark + text.replace("\n", ends).encode())
    assert config == load(tmp_path, text)


# What is wrong, and on which line


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("bsae: pocket\n" + SKILL, "line 1: unknown key 'bsae' | perhaps 'base'"),
        (SKILL + "    promt: x\n", "line 4: unknown key 'promt' in skills.qa | perhaps 'prompt'"),
        (
            "skills:\n  qa:\n    data:\n      pth: qa.jsonl\n",
            "line 4: unknown key 'pth' in skills.qa.data | perhaps 'path'",
        ),
        (SKILL + "    lora: {rank: 4}\n", "line 4: unknown key 'rank' in skills.qa.lora"),
        (
            SKILL + "    train: {l: 1}\n",
            "line 4: unknown key 'l' in skills.qa.train | perhaps 'lr'",
        ),
        (SKILL + "train:\n  lr: 1\n  epoch: 3\n", "line 6: unknown key 'epoch' | perhaps 'epochs'"),
        (SKILL + "gate: {zzz: 1}\n", "line 4: unknown key 'zzz' in gate | one of features, policy"),
        ("base: pocket\n", "'skills' is missing"),
        ("skills: {}\n", "line 1: skills: "),
        ("base: pocket\nskills:\n  qa: {prompt: '{q}'}\n", "line 3: 'skills.qa.data' is missing"),
    ],
)
def test_unknown_and_missing_keys_are_named_with_the_nearest(
    tmp_path: Path, text: str, says: str
) -> None:
    message = complaint(tmp_path, text)
    for part in says.split(" | "):
        assert part in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train: {epochs: true}", "line 4: train.epochs: | True"),
        ("train: {epochs: many}", "line 4: train.epochs: | 'many'"),
        ("train: {epochs: .nan}", "line 4: train.epochs: "),
        ("train: {max_steps: 1.5}", "line 4: train.max_steps: | 1.5"),
        ("train: {batch_size: 0}", "line 4: train.batch_size: | greater than or equal to 1"),
        ("train: {batch_size: '8'}", "line 4: train.batch_size: | '8'"),
        ("train: {bf16: perhaps}", "line 4: train.bf16: "),
        ("train: {lr: -1e-3}", "line 4: train.lr: "),
        ("train: 7", "line 4: train: "),
        ("base: 7", "line 4: base: "),
        ("base: ''", "line 4: base: the base has no name"),
        ("base: 2024-02-30", "line 4: day is out of range for month"),
        ("gate: {policy: best}", "line 4: gate.policy: | 'top1'"),
        ("gate: {features: late}", "line 4: gate.features: use auto, or some of embeddings"),
        ("gate: {none_threshold: 1.5}", "line 4: gate.none_threshold: "),
        ("    lora: {r: 0}", "line 4: skills.qa.lora.r: "),
        ("    lora: {target_modules: []}", "line 4: skills.qa.lora.target_modules: "),
        ("    lora: {target_modules: 7}", "line 4: skills.qa.lora.target_modules: "),
        ("    metric: taste", "line 4: skills.qa.metric: "),
        ("    prompt: [a]", "line 4: skills.qa.prompt: "),
        ("    prompt: hello", "line 4: skills.qa.prompt: the template 'hello' shows no column"),
        ("    prompt: '{question'", "line 4: skills.qa.prompt: expected '}'"),
        ("    prompt: '{}'", "line 4: skills.qa.prompt: '{}' names no column"),
        ("    completion: '{a.b}'", "line 4: skills.qa.completion: '{a.b}' reads an attribute"),
        ("    dev: {path: a, hub: b}", "line 4: skills.qa.dev: needs exactly one of path"),
        ("    dev: {}", "line 4: skills.qa.dev: needs exactly one of path, hub and builtin"),
        ("    dev: {path: a, name: b}", "line 4: skills.qa.dev: `name` picks a configuration"),
        ("    dev: {path: a, limit: 0}", "line 4: skills.qa.dev.limit: "),
        ("    dev: qa.jsonl", "line 4: skills.qa.dev: "),
    ],
)
def test_wrong_values_are_named_by_place_and_line(tmp_path: Path, text: str, says: str) -> None:
    message = complaint(tmp_path, f"{SKILL}{text}\n")
    for part in says.split(" | "):
        assert part in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train: {epochs: many}", "train.epochs: must be a number"),
        ("train: {batch_size: 1.5}", "train.batch_size: must be a whole number"),
        ("train: {together: 1}", "train.together: must be true or false"),
        ("train: {lr: 2}", "train.lr: must be less than or equal to 1"),
        ("train: {epochs: .inf}", "train.epochs: must be a finite number"),
        ("train: 7", "train: must be keys with values"),
        ("base: 7", "base: must be text"),
        ("gate: {policy: best}", "gate.policy: must be 'top1', 'topk' or 'blend'"),
        ("    dev: {path: 7}", "skills.qa.dev.path: must be a path"),
        ("    lora: {target_modules: 7}", "skills.qa.lora.target_modules: must be a list"),
    ],
)
def test_a_wrong_value_is_told_in_our_words(tmp_path: Path, text: str, says: str) -> None:
    message = complaint(tmp_path, f"{SKILL}{text}\n")
    assert says in message
    for word in ("Input should", "valid", "pydantic", "dictionary"):
        assert word not in message


def test_all_problems_are_listed_in_the_order_of_the_file(tmp_path: Path) -> None:
    message = complaint(tmp_path, SKILL + "    promt: x\ntrain:\n  epoch: 3\n  lr: no\n")
    lines = [message.index(f"line {n}") for n in (4, 6, 7)]
    assert lines == sorted(lines)
    many = "".join(f"x{i}: 1\n" for i in range(50))
    message = complaint(tmp_path, SKILL + many)
    assert "and 41 more" in message
    assert len(message.splitlines()) < 20


@pytest.mark.parametrize("name", ["auto", "base", "all"])
def test_reserved_skill_names_are_refused(tmp_path: Path, name: str) -> None:
    message = complaint(tmp_path, f"skills:\n  {name}: {{data: {{builtin: math}}}}\n")
    assert "line 2" in message
    assert f"'{name}' is a reserved word" in message


@pytest.mark.parametrize("name", ["Math", "my skill", "-x", "é", "a" * 65, "../x", "a/b", "''"])
def test_invalid_skill_names_are_refused(tmp_path: Path, name: str) -> None:
    message = complaint(tmp_path, f"skills:\n  {name}: {{data: {{builtin: math}}}}\n")
    assert "line 2" in message
    assert "a-z, 0-9, _ and -" in message


@pytest.mark.parametrize("name", ["1", "yes", "null", "1.5", "2020-01-01"])
def test_skill_names_that_yaml_takes_for_something_else_need_quotes(
    tmp_path: Path, name: str
) -> None:
    message = complaint(tmp_path, f"skills:\n  {name}: {{data: {{builtin: math}}}}\n")
    assert "line 2: a key that is not text" in message
    assert f'put it in quotes: "{name}":' in message


def test_a_name_that_stands_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    message = complaint(
        tmp_path, SKILL + "  math: {data: {builtin: math}}\n  qa: {data: {hub: x}}\n"
    )
    assert "line 5: 'qa' stands twice" in message
    assert "the first is on line 2" in message
    assert "line 2: 'r' stands twice" in complaint(
        tmp_path, "skills:\n  qa: {lora: {r: 1, r: 2}}\n"
    )


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch PROOF']",
        "!!python/object/new:os.system ['touch PROOF']",
        "!!python/name:os.system",
        "!!python/tuple [a, b]",
        "!!python/str x",
        "!!binary aGVsbG8=",
        "!!set {a, b}",
        "!mine {a: b}",
        "!mine x",
    ],
)
def test_tags_are_refused_and_nothing_runs(
    tmp_path: Path, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = complaint(tmp_path, f"{SKILL}base: {value}\n")
    assert "line 4: tags are not allowed" in message
    assert value.split()[0] in message
    assert not (tmp_path / "PROOF").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("# only a comment\n", "empty"),
        ("- a\n- b\n", "not a mapping"),
        ("just a text", "not a mapping"),
        ("skills:\n\tqa: 1\n", "line 2: not valid YAML"),
        ("base: pocket\nskills: [a, b\n", "not valid YAML"),
        ("base: a: b\n", "line 1: not valid YAML"),
        ('base: pocket\nskills:\n  qa:\n    prompt: "{q}\n', "not valid YAML"),
        ("base: pocket\n prompt: {q}\n", "not valid YAML"),
        ("base: *nobody\n", "line 1: not valid YAML"),
        ("base: a\n---\nbase: b\n", "line 2: not valid YAML"),
        ("base: \x00\n", "not valid YAML"),
        ("base: {pocket}: 1\n", "not valid YAML"),
        ("{a: b}: 1\n", "line 1: a key that is not text"),
        ("x: &x {r: 1}\ny: {<<: *x}\n", "merging is not supported"),
        ("x: " + "[" * 1000, "nested too deeply"),
        ("x: &x [*x]\n", "nested too deeply"),
        ("base: " + "9" * 5000, "line 1: "),
    ],
)
def test_text_that_is_no_config_is_refused_in_words(tmp_path: Path, text: str, says: str) -> None:
    assert says in complaint(tmp_path, text)


def test_aliases_within_aliases_cannot_eat_the_memory(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert "too many values" in complaint(tmp_path, "\n".join(lines))


def test_bytes_that_are_not_utf8_are_named_by_their_line(tmp_path: Path) -> None:
    message = complaint(tmp_path, b"base: pocket\n# caf\xe9\n" + SKILL.encode())
    assert "line 2: not UTF-8" in message
    assert "0xe9" in message
    assert "not UTF-8" in complaint(tmp_path, ("base: pocket\n" + SKILL).encode("utf-16"))


def test_a_missing_yaml_names_the_one_that_was_meant(tmp_path: Path) -> None:
    (tmp_path / "loramix.yaml").write_text(SKILL)
    with pytest.raises(ConfigError, match=r"(?s)no such file.*perhaps 'loramix.yaml'") as caught:
        load_config(tmp_path / "lormix.yaml")
    assert caught.value.exit_code == 2
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(st.one_of(st.binary(max_size=80), st.text("ab:-[]{}&*!?|>'\"#%@`,\n \t0.e<~", max_size=60)))
def test_no_file_brings_a_traceback(tmp_path: Path, content: str | bytes) -> None:
    with pytest.raises(ConfigError):
        load(tmp_path, content)


# The YAML that `loramix init` writes, and the examples


def test_the_written_yaml_loads_and_states_every_default(tmp_path: Path) -> None:
    written = Path(init(tmp_path)["path"])
    assert written == tmp_path / "loramix.yaml"
    config = load_config(written)
    assert (config.train, config.gate) == (TrainConfig(), GateConfig())
    assert (config.evaluation, config.base) == (EvaluationConfig(), "pocket")
    data = yaml.safe_load(written.read_text())
    assert set(data) == set(Config.model_fields)
    for name, model in (("train", TrainConfig), ("gate", GateConfig)):
        assert list(data[name]) == list(model.model_fields)
    for name, field in SkillConfig.model_fields.items():
        assert f"#   {name:<12} {(field.description or '')[:20]}" in template_yaml()


def test_the_commented_skill_of_the_written_yaml_is_right_too(tmp_path: Path) -> None:
    text = template_yaml()
    start = text.index("  # support:")
    end = text.index("train:", start)
    uncommented = re.sub(r"^  # ", "  ", text[start:end], flags=re.MULTILINE)
    config = load(tmp_path, text[:start] + uncommented + text[end:])
    assert config.skills["support"].completion == "{answers[0]}"


@pytest.mark.parametrize(
    "model",
    [Config, SkillConfig, BlendConfig, TrainConfig, GateConfig, EvaluationConfig, SkillTraining],
)
def test_every_key_has_help(model: type[BaseModel]) -> None:
    shared = TrainConfig.model_fields if model is SkillTraining else {}
    for name, field in model.model_fields.items():
        assert field.description or shared[name].description, name


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_load(path: Path) -> None:
    assert load_config(path).skills


def test_the_real_tasks_find_their_data(shared: Path) -> None:
    text = (ROOT / "examples" / "real_tasks.yaml").read_text()
    config = load_config(ROOT / "examples" / "real_tasks.yaml")
    assert "../shared/data" in text
    for skill in config.skills.values():
        assert skill.data.path is not None
        tail = Path(*skill.data.path.parts[-3:])
        source = skill.data.model_copy(update={"path": shared / tail, "limit": 50})
        assert len(load_examples(source, skill.prompt, skill.completion)) == 50


def test_init_keeps_a_file_that_is_there_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("precious")
    with pytest.raises(UsageError, match="is there already") as caught:
        init(path)
    assert caught.value.exit_code == 2
    assert path.read_text() == "precious"
    init(path, force=True)
    assert load_config(path).skills
    assert [p.name for p in tmp_path.iterdir()] == ["mine.yaml"], "no draft is left"


def test_init_says_where_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        init(tmp_path / "nowhere" / "x.yaml")
    (tmp_path / "loramix.yaml").mkdir()
    with pytest.raises(StorageError, match="renaming failed") as caught:
        init(tmp_path, force=True)
    assert caught.value.exit_code == 1
    assert [p.name for p in tmp_path.iterdir()] == ["loramix.yaml"], "no draft is left"


def test_the_command_line_ends_with_the_right_exit_code(tmp_path: Path) -> None:
    from loramix.cli import app

    path = str(tmp_path / "run.yaml")
    runner = CliRunner()
    first = runner.invoke(app, ["init", path, "--json"])
    assert first.exit_code == 0
    assert yaml.safe_load(first.stdout) == {"path": path}
    again = runner.invoke(app, ["init", path])
    assert again.exit_code == 2
    assert "--force" in again.stderr
    assert runner.invoke(app, ["init", path, "--force"]).exit_code == 0
