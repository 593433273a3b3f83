"""Adapters: files that PEFT and loramix both read, and everything that is refused."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import check_target_module_exists
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from loramix.adapter import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    Adapter,
    LoraModule,
    LoraSettings,
    blend_adapter,
    init_adapter,
    read_adapter,
    write_adapter,
)
from loramix.errors import (
    AdapterError,
    AdapterMismatchError,
    StorageError,
    UnsupportedAdapterError,
)
from loramix.mixed import MixedModel
from loramix.peft_config import check_config, is_target
from tiny import make_tiny, random_adapter, token_ids

Q_PROJ = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.fixture
def folder(tiny_llama: PreTrainedModel, tmp_path: Path) -> Path:
    """A good adapter for the tiny Llama, on disk."""
    write_adapter(random_adapter(tiny_llama), tmp_path)
    return tmp_path


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / CONFIG_FILE
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / WEIGHTS_FILE)
    change(tensors)
    save_file(tensors, folder / WEIGHTS_FILE)


@torch.no_grad()
def our_logits(model: PreTrainedModel, adapter: Adapter, ids: torch.Tensor) -> torch.Tensor:
    mixed = MixedModel(model)
    mixed.add("it", adapter)
    return mixed(ids, mix_weights=torch.ones(len(ids), 1), mix_names=["it"]).logits


def relative(got: torch.Tensor, right: torch.Tensor) -> float:
    return float((got - right).norm() / right.norm())


peft_shapes = st.sampled_from(
    [
        {"target_modules": ["q_proj", "v_proj"]},
        {"target_modules": r".*\.1\..*(q_proj|down_proj)"},
        {"target_modules": ["q_proj", "k_proj", "up_proj"], "rank_pattern": {"q_proj": 3}},
        {"target_modules": "all-linear", "alpha_pattern": {r".*\.0\..*": 3}},
        {"target_modules": ["layers.0.mlp.gate_proj", "o_proj"], "rank_pattern": {"^model.*": 2}},
        {"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [1]},
        {"target_modules": ["q_proj"], "layers_to_transform": 0, "layers_pattern": "layers"},
        {"target_modules": ["q_proj", "v_proj"], "exclude_modules": r".*\.0\..*v_proj"},
        {"target_modules": ["q_proj", "v_proj"], "init_lora_weights": "gaussian"},
    ]
)


@given(peft_shapes, st.integers(1, 8), st.sampled_from([1, 3, 16]), st.booleans())
@settings(max_examples=12)
@pytest.mark.peer
def test_what_peft_saves_is_read_and_agrees(
    tmp_path_factory: pytest.TempPathFactory,
    shape: dict[str, Any],
    r: int,
    alpha: int,
    rslora: bool,
) -> None:
    folder = tmp_path_factory.mktemp("peft")
    config = LoraConfig(r=r, lora_alpha=alpha, use_rslora=rslora, task_type="CAUSAL_LM", **shape)
    theirs = get_peft_model(make_tiny("llama"), config).eval()
    for name, parameter in theirs.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1)
    theirs.save_pretrained(folder)
    ids, model = token_ids(2, 6), make_tiny("llama")
    with torch.no_grad():
        right = theirs(ids).logits
    assert relative(our_logits(model, read_adapter(folder, model), ids), right) < 1e-5
    assert read_adapter(folder).modules.keys() == read_adapter(folder, model).modules.keys()


@pytest.mark.parametrize("arch", ["llama", "gpt2", "gpt_neox", "opt"])
@pytest.mark.peer
def test_what_we_write_peft_loads_and_agrees(arch: str, tmp_path: Path) -> None:
    shape = LoraSettings(
        r=5,
        alpha=7.5,
        target_modules="all-linear",
        use_rslora=True,
        rank_pattern={r".*\.0\..*": 2},
        alpha_pattern={r".*\.1\..*": 3},
    )
    model, ids = make_tiny(arch), token_ids(2, 6)
    adapter = random_adapter(model, shape)
    write_adapter(adapter, tmp_path)
    with torch.no_grad():
        right = PeftModel.from_pretrained(make_tiny(arch), tmp_path)(ids).logits
    assert relative(our_logits(model, adapter, ids), right) < 1e-5
    again = read_adapter(tmp_path, model)
    assert again.config == adapter.config
    for path, module in adapter.modules.items():
        assert torch.equal(again.modules[path].A, module.A)
        assert torch.equal(again.modules[path].B, module.B)
        assert again.modules[path].scaling == pytest.approx(module.scaling)


def test_reading_and_writing_again_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_adapter(read_adapter(folder), tmp_path / "again")
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


paths = st.sampled_from(
    [path for path, _ in make_tiny("llama").named_modules() if path]
    + [path for path, _ in make_tiny("gpt2").named_modules() if path]
    + ["model.layers.1.experts.0.q_proj", "q_proj", "model.layers.11.self_attn.q_proj"]
)
name_lists = st.lists(
    st.sampled_from(["q_proj", "attn.c_attn", "proj", "mlp", "layers.1.mlp.up_proj", "experts"]),
    min_size=1,
    max_size=3,
)
patterns = st.sampled_from([r".*q_proj", r"model\.layers\.1\..*", "q_proj", r".*\.(mlp|h)\..*"])


@given(
    paths,
    st.one_of(name_lists, patterns),
    st.one_of(st.none(), name_lists, patterns),
    st.one_of(st.none(), st.integers(0, 2), st.lists(st.integers(0, 12), max_size=3)),
    st.one_of(st.none(), st.sampled_from(["layers", "h", ["h", "layers"]])),
)
@settings(max_examples=100)
@pytest.mark.peer
def test_a_config_covers_the_layers_that_peft_says(path, targets, exclude, layers, pattern) -> None:
    config = {
        "target_modules": targets,
        "exclude_modules": exclude,
        "layers_to_transform": layers if isinstance(targets, list) else None,
        "layers_pattern": pattern,
    }
    theirs = LoraConfig(target_modules=targets, exclude_modules=exclude)
    theirs.target_modules = targets
    theirs.layers_to_transform = config["layers_to_transform"]
    theirs.layers_pattern = pattern
    verdict = check_target_module_exists(theirs, path)
    right = bool(verdict) and type(verdict).__name__ != "_ExcludedModule"
    assert is_target(config, path) == right


def test_every_fixture_config_is_accepted_or_refused_by_name(
    shared: Path, tiny_llama: PreTrainedModel, tmp_path: Path
) -> None:
    refused = {"peft-rank32-dora": "DoRA", "peft-rank14-target-mlp-bdlora": "BD-LoRA"}
    fixtures = sorted((shared / "fixtures" / "adapter_configs").glob("*.json"))
    assert fixtures
    for file in fixtures:
        config = json.loads(file.read_text())
        if file.stem in refused:
            with pytest.raises(UnsupportedAdapterError, match=refused[file.stem]):
                check_config(config)
            continue
        shape = LoraSettings(
            r=config["r"],
            alpha=config["lora_alpha"],
            target_modules=tuple(config["target_modules"] or ("q_proj", "v_proj")),
            use_rslora=config["use_rslora"],
        )
        wanted = random_adapter(tiny_llama, shape)
        write_adapter(wanted, tmp_path / file.stem)
        (tmp_path / file.stem / CONFIG_FILE).write_text(file.read_text())
        got = read_adapter(tmp_path / file.stem, tiny_llama)
        root = math.sqrt(config["r"]) if config["use_rslora"] else config["r"]
        assert got.modules.keys() == wanted.modules.keys()
        assert {m.scaling for m in got.modules.values()} == {config["lora_alpha"] / root}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"alora_invocation_tokens": [1, 2]}, "aLoRA"),
        ({"trainable_token_indices": [5]}, "trained tokens"),
        ({"trainable_token_indices": {"embed_tokens": [5]}}, "trained tokens"),
        ({"modules_to_save": ["lm_head"]}, "saved heads"),
        ({"bias": "all"}, "trained biases"),
        ({"bias": "lora_only"}, "trained biases"),
        ({"lora_bias": True}, "trained biases"),
        ({"use_bdlora": {"nblocks": 2}}, "BD-LoRA"),
        ({"use_bdlora": {}}, "BD-LoRA"),
        ({"use_qalora": True}, "QA-LoRA"),
        ({"target_parameters": ["mlp.experts.up_proj"]}, "bare parameters"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "replicated layers"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa"),
        ({"init_lora_weights": "olora"}, "olora"),
        ({"init_lora_weights": "loftq"}, "loftq"),
        ({"peft_type": "LOHA"}, "LOHA"),
        ({"peft_type": None}, "without peft_type"),
        ({"task_type": "SEQ_CLS"}, "SEQ_CLS"),
        ({"use_tomorrows_lora": True}, "use_tomorrows_lora"),
    ],
)
def test_what_is_no_plain_lora_is_refused_by_name(
    folder: Path, change: dict[str, Any], name: str
) -> None:
    change_config(folder, **change)
    with pytest.raises(UnsupportedAdapterError, match=name):
        read_adapter(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"task_type": None},
        {"bias": None},
        {"fan_in_fan_out": None},
        {"use_tomorrows_lora": None, "another": False},
        {"trainable_token_indices": [], "alora_invocation_tokens": None},
        {"init_lora_weights": "eva", "eva_config": {"rho": 2.0}},
    ],
)
def test_settings_that_change_nothing_are_accepted(folder: Path, change: dict[str, Any]) -> None:
    change_config(folder, **change)
    assert read_adapter(folder).rank == 4


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("r", 0), ("r", -4), ("r", "4"), ("r", 2.5), ("r", True), ("r", None)),
        *(("lora_alpha", "x"), ("lora_alpha", 10**400), ("rank_pattern", {"(?i)q": 4})),
        *(("lora_alpha", None), ("rank_pattern", {"q_proj": 0})),
        *(("rank_pattern", [1]), ("alpha_pattern", {"(": 1}), ("target_modules", "(")),
        *(("target_modules", [1]), ("target_modules", 7), ("layers_to_transform", "0")),
    ],
)
def test_settings_that_make_no_sense_are_refused(folder: Path, key: str, value: object) -> None:
    change_config(folder, **{key: value})
    with pytest.raises(AdapterError, match=key):
        read_adapter(folder)


def copies(old: str, new: str) -> Callable[[dict[str, torch.Tensor]], object]:
    """Adds each tensor whose key has `old` once more under `new`."""
    return lambda tensors: tensors.update(
        {key.replace(old, new): t.clone() for key, t in tensors.items() if old in key}
    )


def put(key: str, tensor: torch.Tensor) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda tensors: tensors.update({key: tensor})


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda t: t.pop(f"{Q_PROJ}.lora_B.weight"), AdapterMismatchError, "missing: .*lora_B"),
        (put("strange", torch.ones(1)), AdapterMismatchError, "surplus: strange"),
        (
            lambda t: [t.pop(f"{Q_PROJ}.lora_{s}.weight") for s in "AB"],
            AdapterMismatchError,
            "missing: .*layers.0.self_attn.q_proj",
        ),
        (
            copies("q_proj", "o_proj"),
            AdapterMismatchError,
            "surplus: .*o_proj",
        ),
        (
            copies("layers.0", "layers.7"),
            AdapterMismatchError,
            r"surplus: .*layers\.7",
        ),
        (
            put(f"{Q_PROJ}.lora_A.weight", torch.full((4, 32), torch.nan)),
            AdapterMismatchError,
            "NaN",
        ),
        (
            put(f"{Q_PROJ}.lora_B.weight", torch.full((32, 4), -torch.inf)),
            AdapterMismatchError,
            "NaN or infinite",
        ),
        (put(f"{Q_PROJ}.lora_A.weight", torch.ones(5, 32)), AdapterMismatchError, "shapes"),
        (put(f"{Q_PROJ}.lora_A.weight", torch.ones(4, 31)), AdapterMismatchError, "another base"),
        (put(f"{Q_PROJ}.lora_A.weight", torch.ones(4, 32, 1)), AdapterMismatchError, "shapes"),
        (
            put(f"{Q_PROJ}.lora_A.weight", torch.ones(4, 32, dtype=torch.int8)),
            AdapterMismatchError,
            "int8",
        ),
        (
            put(f"{Q_PROJ}.lora_magnitude_vector", torch.ones(32)),
            UnsupportedAdapterError,
            "DoRA",
        ),
        (put(f"{Q_PROJ}.lora_B.bias", torch.ones(32)), UnsupportedAdapterError, "biases"),
        (
            put("base_model.model.model.embed_tokens.weight", torch.ones(98, 32)),
            UnsupportedAdapterError,
            "resized or saved embeddings",
        ),
        (
            put("base_model.model.lm_head.weight", torch.ones(98, 32)),
            UnsupportedAdapterError,
            "head",
        ),
        (
            put("base_model.model.model.embed_tokens.lora_embedding_A", torch.ones(4, 97)),
            AdapterMismatchError,
            r"missing: .*embed_tokens\.lora_embedding_B",
        ),
        (
            put("base_model.model.model.embed_tokens.token_adapter.x", torch.ones(1)),
            UnsupportedAdapterError,
            "trained tokens",
        ),
        (dict.clear, AdapterMismatchError, "no weights"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    folder: Path,
    tiny_llama: PreTrainedModel,
    change: Callable[[dict[str, torch.Tensor]], object],
    error: type[AdapterError],
    said: str,
) -> None:
    change_tensors(folder, change)
    with pytest.raises(error, match=said):
        read_adapter(folder, tiny_llama)


def test_what_really_is_dora_or_has_saved_modules_is_refused(tmp_path: Path) -> None:
    for i, extra in enumerate([{"use_dora": True}, {"modules_to_save": ["lm_head"]}]):
        config = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", **extra)
        get_peft_model(make_tiny("llama"), config).save_pretrained(tmp_path / str(i))
        with pytest.raises(UnsupportedAdapterError):
            read_adapter(tmp_path / str(i))


@pytest.mark.peer
def test_the_embeddings_and_the_head_that_peft_saves_beside_their_lora_must_be_the_bases(
    tmp_path: Path, tiny_llama: PreTrainedModel
) -> None:
    config = LoraConfig(
        r=2,
        target_modules=["lm_head", "embed_tokens", "v_proj"],
        task_type="CAUSAL_LM",
        init_lora_weights=False,
    )
    theirs = get_peft_model(make_tiny("llama"), config).eval()
    theirs.save_pretrained(tmp_path)
    saved = load_file(tmp_path / WEIGHTS_FILE)
    assert sum(key.endswith("base_layer.weight") for key in saved) == 2
    ids, mixed = token_ids(2, 6), MixedModel(tiny_llama)
    mixed.add("a", read_adapter(tmp_path, tiny_llama))
    with torch.no_grad():
        torch.testing.assert_close(
            mixed(ids, mix_weights=torch.ones(2, 1)).logits, theirs(ids).logits
        )
    write_adapter(mixed.adapter("a"), tmp_path / "ours")
    back = PeftModel.from_pretrained(make_tiny("llama"), tmp_path / "ours").eval()
    with torch.no_grad():
        torch.testing.assert_close(back(ids).logits, theirs(ids).logits)
    assert (
        read_adapter(tmp_path).modules.keys() == read_adapter(tmp_path, tiny_llama).modules.keys()
    )
    embedded = "base_model.model.model.embed_tokens.base_layer.weight"
    for change in (put(embedded, torch.ones(97, 32)), put(embedded, torch.ones(98, 32))):
        change_tensors(tmp_path, change)
        with pytest.raises(UnsupportedAdapterError, match="resized or saved embeddings"):
            read_adapter(tmp_path, tiny_llama)


def test_pickled_weights_are_never_opened(folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()
    # Opening this would fail loudly; refusing it must not even try.
    (folder / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(UnsupportedAdapterError, match="pickled"):
        read_adapter(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"[" * 100_000])
def test_a_broken_config_is_an_adapter_error(folder: Path, content: bytes) -> None:
    (folder / CONFIG_FILE).write_bytes(content)
    with pytest.raises(AdapterError, match=CONFIG_FILE):
        read_adapter(folder)


@pytest.mark.parametrize("cut", [0, 5, 100, 2000])
def test_a_broken_weights_file_is_an_adapter_error(folder: Path, cut: int) -> None:
    file = folder / WEIGHTS_FILE
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(AdapterError, match=WEIGHTS_FILE):
        read_adapter(folder)


def test_a_folder_that_is_none_says_what_is_missing(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(AdapterError, match=CONFIG_FILE):
        read_adapter(tmp_path / "nowhere")
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(AdapterError, match=WEIGHTS_FILE):
        read_adapter(folder)


def test_an_adapter_for_another_base_names_the_difference(folder: Path) -> None:
    with pytest.raises(AdapterMismatchError, match="another base"):
        read_adapter(folder, make_tiny("llama", hidden_size=64))
    with pytest.raises(AdapterMismatchError, match="surplus"):
        read_adapter(folder, make_tiny("gpt2"))
    with pytest.raises(AdapterMismatchError, match=r"missing: .*layers\.2"):
        read_adapter(folder, make_tiny("llama", num_hidden_layers=3))


def test_a_failed_write_leaves_the_old_files_whole(
    folder: Path, tiny_llama: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        write_adapter(random_adapter(tiny_llama, seed=3), folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_config_that_does_not_describe_the_tensors_is_not_written(
    tiny_llama: PreTrainedModel, tmp_path: Path
) -> None:
    adapter = random_adapter(tiny_llama)
    wrong = Adapter(adapter.modules, {**adapter.config, "lora_alpha": 99})
    with pytest.raises(AdapterError, match="does not describe"):
        write_adapter(wrong, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_new_adapter_starts_as_pefts_does(tiny_llama: PreTrainedModel) -> None:
    shape = LoraSettings(r=8, target_modules="all-linear")
    adapter = init_adapter(tiny_llama, shape, seed=1)
    for module in adapter.modules.values():
        bound = 1 / math.sqrt(module.A.shape[1])
        assert not module.B.any()
        assert module.A.abs().max() <= bound
        assert module.A.std() == pytest.approx(bound / math.sqrt(3), rel=0.2)
    same, other = init_adapter(tiny_llama, shape, seed=1), init_adapter(tiny_llama, shape, seed=2)
    path = next(iter(adapter.modules))
    assert torch.equal(same.modules[path].A, adapter.modules[path].A)
    assert not torch.equal(other.modules[path].A, adapter.modules[path].A)


def test_targets_that_match_nothing_name_what_there_is(tiny_llama: PreTrainedModel) -> None:
    with pytest.raises(AdapterError, match=r"q_proj.*v_proj"):
        init_adapter(tiny_llama, LoraSettings(target_modules=("c_attn",)))
    with pytest.raises(AdapterError, match=r"no LoRA fits: .*mlp"):
        init_adapter(tiny_llama, LoraSettings(target_modules=r".*mlp"))


@pytest.mark.parametrize(
    "bad",
    [
        *({"r": 0}, {"alpha": 0}, {"dropout": 1.0}, {"target_modules": []}, {"rank": 4}),
        {"rank_pattern": {"q_proj": 0}},
    ],
)
def test_settings_are_checked_when_they_are_made(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        LoraSettings(**bad)


def test_a_blend_keeps_short_target_names_where_all_agree(tiny_llama: PreTrainedModel) -> None:
    one, two = random_adapter(tiny_llama, seed=1), random_adapter(tiny_llama, seed=2)
    assert blend_adapter([one, two], [1, 1]).config["target_modules"] == ["q_proj", "v_proj"]
    other = random_adapter(tiny_llama, LoraSettings(target_modules=("k_proj",)))
    whole = blend_adapter([one, other], [0.5, 0.5])
    assert whole.config["target_modules"] == sorted(whole.modules)
    assert whole.config["rank_pattern"]


def test_a_blend_of_one_adapter_with_itself_is_that_adapter(tiny_llama: PreTrainedModel) -> None:
    one, ids = random_adapter(tiny_llama), token_ids(1, 6)
    half = blend_adapter([one, one], [0.5, 0.5])
    assert half.rank == 2 * one.rank
    got, right = our_logits(tiny_llama, half, ids), our_logits(tiny_llama, one, ids)
    assert relative(got, right) < 1e-5


@pytest.mark.parametrize("weights", [[], [0.5], [0.0, 0.0], [math.nan, 1.0], [1.0, math.inf]])
def test_a_blend_of_nothing_is_refused(tiny_llama: PreTrainedModel, weights: list[float]) -> None:
    with pytest.raises(AdapterError):
        blend_adapter([random_adapter(tiny_llama)] * 2, weights)


def test_an_adapter_knows_its_size(tiny_llama: PreTrainedModel) -> None:
    adapter = random_adapter(tiny_llama, LoraSettings(r=4, rank_pattern={"v_proj": 2}))
    numbers = 2 * (4 * (32 + 32) + 2 * (32 + 16))
    assert (adapter.rank, adapter.num_parameters, adapter.nbytes) == (4, numbers, 4 * numbers)
    assert Adapter({}, {}).rank == 0


def test_module_delta_is_scaling_times_b_a() -> None:
    module = LoraModule(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [4.0]]), 0.5)
    assert module.delta().tolist() == [[1.5, 3.0], [2.0, 4.0]]


def test_reading_is_quiet(folder: Path, caplog: pytest.LogCaptureFixture, capsys) -> None:
    with caplog.at_level(logging.WARNING):
        read_adapter(folder)
    assert not caplog.records
    assert capsys.readouterr() == ("", "")


def test_settings_come_back_from_the_config_that_they_wrote() -> None:
    for shape in (
        LoraSettings(),
        LoraSettings(
            r=4, alpha=6, target_modules="all-linear", use_rslora=True, dropout=0.5,
            rank_pattern={"embed_tokens": 8}, alpha_pattern={"embed_tokens": 16},
        ),
    ):  # fmt: skip
        assert LoraSettings.of(shape.to_config()) == shape
