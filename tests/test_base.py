"""A base loads frozen and whole, says what it is, and refuses what is broken, with a reason."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from loramix.base import (
    DeviceWarning,
    check_prompt,
    encode_example,
    encode_prompt,
    fingerprint_files,
    load_base,
    pocket_path,
    weights_hash,
)
from loramix.errors import BaseError, PromptError, UsageError
from tiny_base import make_base, make_tokenizer, save_base


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    save_base(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(saved, tmp_path / "copy"))


# ── loading ──────────────────────────────────────────────────────────────────────────────────


def test_a_saved_base_comes_back_frozen_and_bit_for_bit(saved: Path) -> None:
    base = load_base(str(saved), device="cpu")
    assert weights_hash(base.model) == weights_hash(make_base().model)
    assert not any(p.requires_grad for p in base.model.parameters())
    assert not base.model.training
    assert (base.path, base.max_length, base.eos_ids) == (saved, 128, (2,))
    assert base.tokenizer.padding_side == "left"


def test_small_bases_compute_in_float32_on_a_cpu(saved: Path) -> None:
    assert load_base(str(saved), device="cpu").dtype is torch.float32
    half = load_base(str(saved), device="cpu", dtype="bfloat16")
    assert half.dtype is torch.bfloat16
    assert {p.dtype for p in half.model.parameters()} == {torch.bfloat16}


def test_the_fingerprint_is_of_the_files_and_not_of_the_dtype(saved: Path, folder: Path) -> None:
    assert load_base(str(folder), device="cpu").fingerprint == fingerprint_files(saved)
    half = load_base(str(folder), device="cpu", dtype=torch.bfloat16)
    assert half.fingerprint == fingerprint_files(saved)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert fingerprint_files(folder) != fingerprint_files(saved)


def test_the_weights_hash_sees_one_changed_bit() -> None:
    model = make_base().model
    before = weights_hash(model)
    assert weights_hash(model) == before
    bits = model.state_dict()["model.norm.weight"].view(torch.int32)
    bits[3] ^= 1
    assert weights_hash(model) != before


def test_loading_prints_nothing(saved: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_base(str(saved), device="cpu")
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not (pocket_path() / "config.json").exists(), reason="pocket is not there yet")
def test_pocket_ships_with_the_package() -> None:
    base = load_base(device="cpu")
    assert base.id == "pocket"
    assert sum(p.numel() for p in base.model.parameters()) <= 16_000_000
    assert sum(f.stat().st_size for f in pocket_path().glob("*.safetensors")) <= 32_000_000
    assert base.tokenizer.chat_template


# ── what is refused ──────────────────────────────────────────────────────────────────────────


def remove(*names: str):
    return lambda folder: [(folder / name).unlink(missing_ok=True) for name in names]


def write(name: str, text: str):
    return lambda folder: (folder / name).write_text(text)


def pickle_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def drop_a_tensor(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def reshape_a_tensor(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = torch.ones(7)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def cut_the_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])


def need_custom_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mystery", "auto_map": {"AutoModelForCausalLM": "code.Mystery"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("raise SystemExit('this code must never run')")


def forget_the_end_of_text(folder: Path) -> None:
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text())
    del config["eos_token"]
    file.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (remove("config.json"), "no config.json"),
        (remove("model.safetensors"), "no weights"),
        (remove("tokenizer.json"), "no tokenizer"),
        (pickle_weights, "pickle"),
        (write("config.json", "{broken"), "config.json of the base cannot be read"),
        (write("config.json", "[]"), "no JSON object"),
        (write("tokenizer.json", "{}"), "tokenizer of the base cannot be read"),
        (forget_the_end_of_text, "end-of-text"),
        (drop_a_tensor, "model.layers.1.mlp.up_proj.weight"),
        (reshape_a_tensor, "model.norm.weight"),
        (cut_the_weights, "cannot be loaded"),
        (need_custom_code, "no custom code"),
    ],
)
def test_a_broken_folder_is_refused_with_the_reason(folder: Path, spoil, says: str) -> None:
    spoil(folder)
    with pytest.raises(BaseError, match=says) as caught:
        load_base(str(folder), device="cpu")
    assert caught.value.exit_code == 1
    assert "copy" in str(caught.value) or "model." in str(caught.value)


@pytest.mark.parametrize("id", ["/no/such/folder", "./nowhere", "a/b/c", "", "~/no-such-base"])
def test_a_missing_folder_is_named(id: str) -> None:
    with pytest.raises(BaseError, match="does not exist"):
        load_base(id)


def test_a_file_is_no_base(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("")
    with pytest.raises(BaseError, match="not a folder"):
        load_base(str(tmp_path / "weights"))


def test_an_id_that_cannot_be_reached_says_what_to_do_offline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # as the environment variable does
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BaseError, match="cannot be reached") as caught:
        load_base("someone/no-such-model-here")
    assert "pocket" in str(caught.value)


def test_a_text_that_is_no_id_is_refused() -> None:
    with pytest.raises(BaseError, match="no such base"):
        load_base("no spaces allowed!")


@pytest.mark.parametrize("settings", [{"device": "gpuu"}, {"dtype": "int3"}])
def test_an_unknown_device_or_dtype_is_a_wrong_call(saved: Path, settings: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        load_base(str(saved), **settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_without_cuda_the_cpu_does_it_with_one_warning(saved: Path) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        base = load_base(str(saved), device="cuda")
    assert [w.category for w in seen] == [DeviceWarning]
    assert "CPU" in str(seen[0].message)
    assert base.device.type == "cpu"


# ── prompts ──────────────────────────────────────────────────────────────────────────────────


def test_a_prompt_takes_the_chat_template_up_to_the_assistant() -> None:
    base = make_base()
    ids = encode_prompt(base, "the cat", system="sat")
    assert base.tokenizer.decode(ids) == "<|system|>sat</s><|user|>the cat</s><|assistant|>"
    turns = [
        {"role": "user", "content": "the cat"},
        {"role": "assistant", "content": "sat"},
        {"role": "user", "content": "on"},
    ]
    assert base.tokenizer.decode(encode_prompt(base, turns)) == (
        "<|user|>the cat</s><|assistant|>sat</s><|user|>on</s><|assistant|>"
    )


def test_without_a_template_a_prompt_is_a_line() -> None:
    base = make_base(chat=False)
    assert base.tokenizer.decode(encode_prompt(base, "the cat")) == "the cat\n"
    assert base.tokenizer.decode(encode_prompt(base, "the cat", system="sat")) == "sat\nthe cat\n"


@pytest.mark.parametrize("chat", [True, False])
def test_only_the_completion_and_its_end_are_learned(chat: bool) -> None:
    base = make_base(chat=chat)
    ids, labels = encode_example(base, "the cat", " sat")
    prompt = encode_prompt(base, "the cat")
    answer = make_tokenizer()(" sat")["input_ids"] + [2]
    assert ids == prompt + answer
    assert labels == [-100] * len(prompt) + answer


@pytest.mark.parametrize("prompt", ["", "  \n", [], [{"role": "user", "content": " "}]])
def test_an_empty_prompt_is_refused(prompt) -> None:
    with pytest.raises(PromptError, match="empty"):
        check_prompt(make_base(), prompt)


@pytest.mark.parametrize("turn", [{"role": "robot", "content": "x"}, {"role": "user"}, "text"])
def test_a_turn_that_is_none_is_refused(turn) -> None:
    with pytest.raises(PromptError, match="no turn"):
        check_prompt(make_base(), [turn])


def test_a_prompt_that_does_not_fit_says_how_long_it_is_and_the_limit() -> None:
    base = make_base()
    with pytest.raises(PromptError, match="context") as caught:
        check_prompt(base, "z" * 200)
    assert "203 tokens" in str(caught.value)
    assert "at most 127, so that there is room for an answer" in str(caught.value)
    assert "shorten" in str(caught.value)
    assert len(check_prompt(base, "z" * 124)) == 127
    with pytest.raises(PromptError):
        check_prompt(base, "z" * 124, max_new_tokens=2)


def test_nobody_else_speaks_of_a_prompt_that_is_too_long(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    folder = shutil.copytree(saved, tmp_path / "base")
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    text = json.dumps(settings | {"model_max_length": 16})
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    base = load_base(str(folder), "cpu")
    assert base.tokenizer.model_max_length == 16
    encode_prompt(base, "z" * 300)
    assert caplog.messages == []
