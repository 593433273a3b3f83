"""`generate` and `chat`: one answer, or turn by turn, each with the mix that was asked for."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import loramix
from loramix import render
from loramix.adapter import Adapter, LoraModule, LoraSettings, init_adapter
from loramix.base import Base, pocket_path
from loramix.commands import generate as commands
from loramix.commands.generate import Sampling
from loramix.engine import Engine
from loramix.errors import (
    AdapterMismatchError,
    ConfigError,
    LibraryError,
    PromptError,
    RecipeError,
    UnknownSkillError,
    UsageError,
    UsageWarning,
)
from loramix.gate import RoutedExample, learn_gate
from loramix.generate import generate
from loramix.library import Library, SkillCard
from loramix.mix import Mix
from loramix.mixed import MixedModel
from tiny_base import make_base, save_base

SHORT = Sampling(max_new_tokens=6)
SKILLS = ("cats", "dogs")
EXAMPLES = [
    RoutedExample(f"{n} {animal} please", {skill: 1.0})
    for n in ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    for animal, skill in (("meow", "cats"), ("woof", "dogs"))
]


def skill(base: Base, seed: int) -> Adapter:
    """An adapter that changes what is said."""
    new = init_adapter(base.model, LoraSettings(r=4, alpha=8), seed)
    generator = torch.Generator().manual_seed(seed)
    return Adapter(
        {
            path: LoraModule(m.A, torch.randn(m.B.shape, generator=generator), m.scaling)
            for path, m in new.modules.items()
        },
        new.config,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of two skills beside its base."""
    place = tmp_path_factory.mktemp("chat")
    base = save_base(place / "base")
    library = Library.create(place / "library", str(place / "base"), base.fingerprint)
    gate = learn_gate(base, EXAMPLES, SKILLS)
    with library.edit() as txn:
        for seed, name in enumerate(SKILLS):
            card = SkillCard(description=f"speaks of {name}")
            memory = gate.remember([e.prompt for e in EXAMPLES if name in e.weights])
            txn.add(name, skill(base, seed), card, memory)
        txn.set_gate(*gate.state())
    return place / "library"


def expected(prompt: Any, recipe: str, sampling: Sampling = SHORT) -> str:
    """What the tiny base says, by the way that does not go through the commands."""
    base = make_base()
    mixed = MixedModel(base.model)
    for seed, name in enumerate(SKILLS):
        mixed.add(name, skill(base, seed))
    return generate(mixed, base, [prompt], Mix.parse(recipe), sampling)[0].text


# ── generate ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("recipe", ["base", "cats", "dogs=0.5,cats=0.25"])
def test_generate_says_what_that_mix_says(folder: Path, recipe: str) -> None:
    shown: list[str] = []
    told = commands.generate(
        "the cat", mix=recipe, sampling=SHORT, library=folder, device="cpu", write=shown.append
    )
    assert told["text"] == expected("the cat", recipe)
    assert "".join(shown).removesuffix("\n") == told["text"]
    assert told["mix"] == Mix.parse(recipe).weights
    assert told["usage"]["completion_tokens"] <= 6
    assert told["usage"]["prompt_tokens"] > 0
    assert told["router"] is None


@pytest.mark.parametrize("router", ["gate", "keywords", "centroid", "fixed:dogs=1,cats=0.01"])
def test_auto_asks_the_router_and_says_what_it_said(folder: Path, router: str) -> None:
    told = commands.generate(
        "eleven woof please", router=router, sampling=SHORT, library=folder, device="cpu"
    )
    assert set(told["scores"]) == {*SKILLS, "base"}
    assert sum(told["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert told["router"] == router.partition(":")[0]
    assert told["policy"] == "top1"
    assert max(told["mix"], key=told["mix"].get) == "dogs"
    recipe = str(Mix.of(told["mix"]))
    assert told["text"] == expected("eleven woof please", recipe)


def test_the_policy_can_be_overridden(folder: Path) -> None:
    told = commands.generate(
        "meow woof please", policy="blend", sampling=SHORT, library=folder, device="cpu"
    )
    assert told["policy"] == "blend"


@pytest.mark.parametrize("dtype", ["bf16", "int8"])
def test_the_weights_can_be_held_in_other_types(folder: Path, dtype: str) -> None:
    ways = {"sampling": SHORT, "library": folder, "dtype": dtype}
    report = commands.generate("the cat", mix="cats=0.7,dogs=0.3", **ways)
    assert report["usage"]["completion_tokens"] == SHORT.max_new_tokens
    assert commands.generate("eleven woof please", **ways)["mix"] == {"dogs": 1.0}
    with pytest.raises(UsageError, match="no data type"):
        commands.generate("the cat", mix="cats", library=folder, dtype="int3")


def test_what_is_wrong_is_said_before_the_base_is_loaded(folder: Path, tmp_path: Path) -> None:
    def ask(prompt: str = "hello", **settings: Any) -> None:
        commands.generate(prompt, **{"library": folder, "device": "no such device", **settings})

    with pytest.raises(PromptError, match="empty"):
        ask(" ")
    with pytest.raises(UnknownSkillError, match="'cat'"):
        ask(mix="cat")
    with pytest.raises(RecipeError):
        ask(mix="cats=-1")
    with pytest.raises(RecipeError, match="empty"):
        ask(mix="")
    with pytest.raises(ConfigError, match="policy"):
        ask(policy="best")
    with pytest.raises(ConfigError, match="did you mean 'gate'"):
        ask(router="gates")
    with pytest.raises(ConfigError, match="no such router"):
        ask(router="gate:cats")
    for router in ("fixed:", "fixed"):
        with pytest.raises(RecipeError, match="empty"):
            ask(router=router)
    with pytest.raises(UnknownSkillError, match="'cat'"):
        ask(router="fixed:cat")
    with pytest.raises(LibraryError):
        ask(library=tmp_path)


@pytest.mark.parametrize("beside", [{"router": "gate"}, {"policy": "topk"}])
@pytest.mark.parametrize("mix", ["cats", "base", "cats=0.5,dogs=0.5"])
def test_a_router_or_a_policy_beside_a_named_mix_is_refused(
    folder: Path, mix: str, beside: dict[str, str]
) -> None:
    [(option, value)] = beside.items()
    with pytest.raises(UsageError, match=f"--mix {mix} --{option} {value}"):
        commands.generate("hello", mix=mix, library=folder, device="no such device", **beside)


def test_a_base_that_changed_under_the_library_is_refused(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    Library.create(tmp_path / "library", str(tmp_path / "base"), base.fingerprint)
    save_base(tmp_path / "base", seed=1)
    with pytest.raises(AdapterMismatchError, match="another base"):
        commands.generate("hello", mix="base", library=tmp_path / "library", device="cpu")


# ── chat ─────────────────────────────────────────────────────────────────────────────────────

Typed = str | type[BaseException]
Talk = Callable[..., str]


@pytest.fixture
def talk(folder: Path) -> Talk:
    """Types lines into a chat, and gives all that it wrote."""

    def run(*lines: Typed, sampling: Sampling = SHORT, **settings: Any) -> str:
        waiting: Iterator[Typed] = iter(lines)
        written: list[str] = []

        def read(ask: str) -> str | None:
            written.append(ask)
            line = next(waiting, None)
            if isinstance(line, type):
                raise line
            return line

        settings = {"mix": "cats", "library": folder, "device": "cpu", **settings}
        commands.chat(sampling=sampling, read=read, write=written.append, **settings)
        assert next(waiting, None) is None or "/quit" in lines
        return "".join(written)

    return run


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def test_each_turn_knows_the_turns_before_it(talk: Talk) -> None:
    first = expected("the cat", "cats")
    second = expected([user("the cat"), assistant(first), user("and the dog")], "cats")
    shown = talk("the cat", "and the dog")
    assert f"> {first}\n[cats=1" in shown
    assert f"> {second}\n[cats=1" in shown
    assert second != expected("and the dog", "cats")


def test_clear_forgets_them(talk: Talk) -> None:
    shown = talk("the cat", "/clear", "and the dog")
    assert f"> {expected('and the dog', 'cats')}\n[cats=1" in shown


def test_mix_shows_and_sets_the_mix_from_the_next_turn_on(talk: Talk) -> None:
    shown = talk("/mix", "/mix dogs=0.5, cats=0.25", "/mix base", "the cat", "/mix")
    assert "> mix: cats=1\n> mix: dogs=0.5,cats=0.25\n> mix: base\n" in shown
    assert f"> {expected('the cat', 'base')}\n[base" in shown


def test_auto_routes_each_turn_that_stands_alone_by_itself(talk: Talk) -> None:
    shown = talk("eleven woof please", "eleven meow please", mix="auto")
    assert "\n[dogs=" in shown
    assert "\n[cats=" in shown


def test_mistakes_are_told_and_the_chat_goes_on(talk: Talk) -> None:
    shown = talk("/mix cat", "/mix cats=0", "/mixx", "/", "", "  ", "z" * 300, "the cat")
    for said in (
        "did you mean 'cats'?",
        "add up to nothing",
        "Did you mean /mix?",
        "no command /.",
    ):
        assert said in shown
    assert "303 tokens" in shown
    assert f"> {expected('the cat', 'cats')}\n[cats=1" in shown


@pytest.mark.slow
def test_a_line_that_is_no_text_is_told_and_the_chat_goes_on(folder: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "loramix", "chat", "--mix", "cats", "--library", folder],
        input=b"caf\xff\n/mix\n",
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert b"The line is not text in UTF-8" in ended.stdout
    assert b"surrogates" not in ended.stdout
    assert b"mix: cats=1" in ended.stdout


def test_skills_and_help_are_listed(talk: Talk) -> None:
    shown = talk("/skills", "/help", "/quit", "never read")
    assert "cats: speaks of cats\ndogs: speaks of dogs\n" in shown
    for command in ("/mix", "/skills", "/clear", "/help", "/quit"):
        assert command in shown


@pytest.mark.parametrize("end", ["/quit", "/exit", KeyboardInterrupt])
def test_quit_end_of_input_and_ctrl_c_leave(talk: Talk, end: Typed) -> None:
    assert talk(end).count("> ") == 1
    assert talk("the cat").count("> ") == 2


def test_ctrl_c_stops_an_answer_and_keeps_what_there_is(talk: Talk, folder: Path) -> None:
    lines = iter(["the cat", "and the dog"])
    written: list[str] = []

    def read(ask: str) -> str | None:
        written.append(ask)
        return next(lines, None)

    def write(text: str) -> None:
        """Ctrl-C comes while the third piece of the first answer is shown."""
        written.append(text)
        if written.count("> ") == 1 and written[-4] == "> ":
            raise KeyboardInterrupt

    commands.chat(mix="cats", sampling=SHORT, library=folder, device="cpu", read=read, write=write)
    kept, _, rest = "".join(written).partition("> ")[2].partition("\n[")
    assert rest.startswith("cats=1, stopped]\n> ")
    assert kept
    assert kept != expected("the cat", "cats")
    assert expected("the cat", "cats").startswith(kept)
    turns = [user("the cat"), assistant(kept), user("and the dog")]
    assert f"> {expected(turns, 'cats')}\n[cats=1" in rest


def test_a_turn_reads_only_what_the_same_mix_has_not_read(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    reused: list[int] = []
    close = Engine.close

    def counted(engine: Engine) -> None:
        reused.append(engine.stats().reused_tokens)
        close(engine)

    monkeypatch.setattr(Engine, "close", counted)
    first = "the cat sat on the mat and the dog " * 3 + "too"
    shown = talk(first, "and then")
    assert reused.pop() >= 32
    talk(first, "/mix dogs", "and then")
    assert reused.pop() == 0  # what another mix has read is another thing
    said = expected(first, "cats")
    assert f"> {said}\n" in shown
    assert f"> {expected([user(first), assistant(said), user('and then')], 'cats')}\n" in shown


def test_a_full_context_loses_its_oldest_turns(talk: Talk) -> None:
    shown = talk(*["z" * 40] * 4)
    assert shown.count("the context is full: the oldest question and what was answered") >= 1
    assert shown.count("the context is full") == 2
    assert "does not fit" not in shown


def test_a_message_that_does_not_fit_drops_nothing(talk: Talk) -> None:
    shown = talk("the cat", "z" * 900, "and the dog")
    assert "the context is full" not in shown
    assert "expected: at most" in shown
    turns = [user("the cat"), assistant(expected("the cat", "cats")), user("and the dog")]
    assert f"> {expected(turns, 'cats')}\n" in shown


def test_what_is_hardly_meant_is_said(folder: Path) -> None:
    with pytest.warns(UsageWarning, match="of cats,dogs add up to 2;"):
        commands.generate("the cat", mix="cats,dogs", sampling=SHORT, library=folder, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        even = "cats=0.5,dogs=0.5"
        commands.generate("the cat", mix=even, sampling=SHORT, library=folder, device="cpu")


@pytest.mark.parametrize("full", [False, True], ids=["few tokens asked for", "the context"])
def test_an_answer_that_is_cut_is_said_to_be(
    folder: Path, full: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    sampling = Sampling(max_new_tokens=10_000 if full else 3)
    prompt = "z" * 100 if full else "the cat"
    made = commands.generate(prompt, mix="cats", sampling=sampling, library=folder, device="cpu")
    assert made["finish_reason"] == "length"
    render.generate(made)
    told = " ".join(capsys.readouterr().err.split())
    if full:
        assert told == f"[cats=1, cut: the context of {made['context']} tokens is full]"
        assert sum(made["usage"].values()) == made["context"]
    else:
        assert told == "[cats=1, cut after 3 tokens; --max-new-tokens allows more]"


def test_a_wrong_start_ends_the_command(talk: Talk, tmp_path: Path) -> None:
    with pytest.raises(UnknownSkillError):
        talk(mix="cat")
    with pytest.raises(LibraryError):
        talk(library=tmp_path)


# ── the cold start ───────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_the_command_loads_nothing_that_it_does_not_need(folder: Path) -> None:
    call = [
        "generate",
        "eleven woof please",
        "--json",
        "--max-new-tokens",
        "2",
        "--library",
        folder,
    ]
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "loramix", *call, "--library", folder],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(loramix.__file__).parents[1])},
    )
    assert set(json.loads(ended.stdout)["mix"]) == {"dogs"}
    loaded = {
        line.rpartition("|")[2].strip().partition(".")[0] for line in ended.stderr.split("\n")
    }
    assert {"torch", "transformers"} <= loaded
    assert not loaded & {"scipy", "sklearn", "peft", "datasets", "pandas", "matplotlib"}


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.skipif(
    not (pocket_path() / "config.json").exists(), reason="the pocket base is not built"
)
def test_a_fresh_process_answers_within_six_seconds() -> None:
    """The quickest of five: a busy machine only ever adds to the time that it takes."""

    def seconds(*call: str) -> float:
        start = time.perf_counter()
        done = subprocess.run([sys.executable, *call], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        answers.append(done.stdout)
        return time.perf_counter() - start

    answers: list[str] = []
    took: list[float] = []
    while len(took) < 5 and min(took, default=math.inf) > 6:
        took.append(seconds("-m", "loramix", "generate", "What is 15% of 240?", "--json"))
        assert json.loads(answers[-1])["mix"] == {"math": 1.0}
    if min(took) > 6:
        libraries = "import torch; from transformers import LlamaForCausalLM"
        bare = min(seconds("-c", libraries) for _ in range(3))
        if bare > 6:
            pytest.xfail(f"{took} s; to import torch and transformers alone takes {bare:.1f} s")
    assert min(took) <= 6, took
