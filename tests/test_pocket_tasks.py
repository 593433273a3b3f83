"""The pocket tasks: distinct, held out by template and by content, scored fairly."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import random
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from loramix.pocket import words
from loramix.pocket.tasks import (
    BUILTIN,
    COMPOSITES,
    NONE,
    TASKS,
    code,
    counted,
    math,
    math_equations,
    math_parts,
    math_phrases,
    messages,
    phrasing,
    programs,
    qa,
    sentiment,
    summarization,
)
from loramix.pocket.tasks import composites as composite_tasks
from loramix.pocket.tasks import none as none_task
from loramix.pocket.words import SPLITS, pool

EVERY = [*BUILTIN.values(), *COMPOSITES.values(), NONE]
TEMPLATES = {
    "sentiment": sentiment.ASK, "summarization": summarization.ASK,
    "calculate": math_phrases.CALCULATE, "solve": math_phrases.SOLVE, "gain": math_phrases.GAIN,
    "loss": math_phrases.LOSS, "groups": math_phrases.GROUPS, "share": math_phrases.SHARE,
    "portion": math_phrases.PORTION, "code": code.ASK, "code_to": code.TO,
    "code_does": code.DOES, "code_takes": code.TAKES, "code_given": code.GIVEN,
    "code_before": code.BEFORE, "code_after": code.AFTER, "layouts": qa.LAYOUTS,
    "praise": messages.PRAISE, "blame": messages.BLAME, "facts": messages.FACTS,
    "none": none_task.ASK, "both": composite_tasks.BOTH_OF_TEXT,
    "code_math": composite_tasks.CODE_AND_MATH, "have": counted.HAVE,
    "together": counted.TOGETHER, "apart": counted.APART,
    "before": phrasing.BEFORE, "after": phrasing.AFTER,
    **{f"worded_{kind}": asked for kind, asked in math_parts.WORDED.items()},
    **{f"told_{k}_{n}": s.facts for k, told in math_parts.PARTS.items()
       for n, s in enumerate(told)},
    **{f"asked_{k}_{n}": s.asks for k, told in math_parts.PARTS.items()
       for n, s in enumerate(told)},
    "both_roots": math_equations.BOTH, "what_x": math_equations.WHAT_X,
    "number": math_equations.WHAT_NUMBER,
    "more": math_equations.MORE, "fewer": math_equations.FEWER, "plain": math_equations.PLAIN,
    "one_more": math_equations.ONE_MORE, "one_fewer": math_equations.ONE_FEWER,
    "openings": math_parts.OPENINGS,
}  # fmt: skip


@pytest.mark.parametrize("task", EVERY, ids=lambda t: t.name)
def test_same_seed_same_examples_other_seed_others(task) -> None:
    first, again = task.examples("train", 40, 1), task.examples("train", 40, 1)
    assert first == again
    assert {e.prompt for e in first} != {e.prompt for e in task.examples("train", 40, 2)}


@pytest.mark.parametrize("task", EVERY, ids=lambda t: t.name)
def test_splits_share_no_prompt(task) -> None:
    prompts = [{e.prompt for e in task.examples(split, 150, 0)} for split in SPLITS]
    for one, other in itertools.combinations(prompts, 2):
        assert not one & other


@pytest.mark.slow
@pytest.mark.parametrize("task", BUILTIN.values(), ids=lambda t: t.name)
def test_every_task_makes_5000_distinct_examples(task) -> None:
    examples = task.examples("train", 5000, 0)
    assert len({e.prompt for e in examples}) == 5000


@pytest.mark.parametrize("name", TEMPLATES)
def test_test_templates_stand_in_no_other_split(name: str) -> None:
    templates = TEMPLATES[name]
    assert len(set(templates)) == len(templates), "a template stands twice"
    held_out = pool(templates, "test")
    assert held_out
    assert not set(held_out) & set(pool(templates, "train"))


@pytest.mark.parametrize("attribute", [*qa.PERSON.items(), *qa.COMPANY.items()], ids=lambda a: a[0])
def test_question_and_fact_templates_are_held_out(attribute) -> None:
    for patterns in (attribute[1].facts, attribute[1].asks):
        assert len(set(patterns)) == len(patterns) >= 6
        assert not set(pool(patterns, "test")) & set(pool(patterns, "train"))


POOLS = (words.ASPECTS, words.PRODUCTS, words.CITIES, words.FIRST, words.LAST, words.COMPANIES)
HELD_OUT = {entity.lower() for used in POOLS for entity in pool(used, "test")}
TRAINED = {entity.lower() for used in POOLS for entity in pool(used, "train")} - HELD_OUT
# phrases that hold an entity's word without naming it: a big fan of, on the other hand
IDIOMS = [*words.LIKE, *words.DISLIKE, *words.GOOD, *words.BAD, *messages.OPENERS]
_KNOWN = sorted({*HELD_OUT, *TRAINED, *(i.lower() for i in IDIOMS)}, key=len, reverse=True)
_ANY = re.compile(rf"\b(?:{'|'.join(map(re.escape, _KNOWN))})\b")


def entities(text: str) -> set[str]:
    """What a text names, the longest name at each place: battery life, not battery."""
    return set(_ANY.findall(text.lower())) & (HELD_OUT | TRAINED)


@pytest.mark.parametrize(
    ("task", "used"),
    [("sentiment", words.ASPECTS), ("summarization", words.ASPECTS), ("qa", words.FIRST)],
    ids=["sentiment", "summarization", "qa"],
)
def test_test_texts_hold_no_training_entity(task: str, used: list[str]) -> None:
    named: dict[str, set[str]] = {}
    for split in ("train", "test"):
        found = [entities(e.meta["text"]) for e in TASKS[task].examples(split, 400, 0)]
        assert sum(map(bool, found)) > 0.8 * len(found)
        named[split] = set().union(*found)
        own = {entity.lower() for entity in pool(used, split)}
        assert len(named[split] & own) > 0.8 * len(own), "the search finds what is there"
    leaked = named["test"] & TRAINED
    if task == "qa":  # its sentences speak of the color of an animal and the seat of a company
        leaked -= {aspect.lower() for aspect in words.ASPECTS}
    else:
        assert all(any(" " in entity for entity in some) for some in named.values())
    assert leaked == set()


@pytest.mark.parametrize("task", ["math", "math_brief", "code", "code_brief"])
def test_test_contents_stand_in_no_other_split(task: str) -> None:
    contents = {
        split: {e.meta["content"] for e in BUILTIN[task].examples(split, 400, 0)}
        for split in SPLITS
    }
    assert contents["test"]
    assert not contents["test"] & contents["train"]
    assert not contents["test"] & contents["dev"]


@pytest.mark.parametrize("task", BUILTIN.values(), ids=lambda t: t.name)
def test_the_right_answer_scores_one_and_others_nothing(task) -> None:
    for split in SPLITS:
        examples = task.examples(split, 40, 3)
        right = [e.completion for e in examples]
        assert task.score_many(examples, right) == [1.0] * 40
    assert task.score_many(examples, [""] * 40) == [0.0] * 40
    assert task.score_many(examples, [e.prompt for e in examples]) == [0.0] * 40
    shifted = right[1:] + right[:1]
    assert sum(task.score_many(examples, shifted)) < 20


@pytest.mark.parametrize("composite", COMPOSITES.values(), ids=lambda c: c.name)
def test_each_part_of_a_composite_is_scored_by_itself(composite) -> None:
    examples = composite.examples("test", 30, 0)
    both = composite.score_parts(examples, [e.completion for e in examples])
    assert set(both) == set(composite.skills)
    assert all(scores == [1.0] * 30 for scores in both.values())
    none = composite.score_parts(examples, ["no idea"] * 30)
    assert all(scores == [0.0] * 30 for scores in none.values())
    assert all(set(e.meta["skills"]) == set(composite.skills) for e in examples)


@pytest.mark.parametrize("composite", COMPOSITES.values(), ids=lambda c: c.name)
def test_what_is_answerable_has_one_answer_and_is_of_the_examples(composite) -> None:
    found = composite.answerable("train", 60, 2)
    assert len({e.prompt for e in found}) == 60
    assert not any(e.meta.get("general") for e in found)
    assert {e.prompt for e in found} <= {e.prompt for e in composite.examples("train", 180, 2)}
    if composite.name == "code_and_math":
        assert any(e.meta["general"] for e in composite.examples("train", 60, 2))


def test_programs_agree_with_their_own_tests_and_differ_from_each_other() -> None:
    keys = [p.key for p in (*programs.LIST_PROGRAMS, *programs.WRITTEN_PROGRAMS)]
    assert len(set(keys)) == len(keys)
    rng = random.Random(0)
    for _ in range(50):
        program = programs.draw_program(rng, "test")
        assert all(test.startswith("assert f(") for test in program.tests())


_SPELLED = {name: str(n) for n, name in enumerate(math.SMALL_NUMBERS, 2)}


def _numbers(text: str) -> set[str]:
    found = re.findall(rf"\d+|\b(?:{'|'.join(_SPELLED)})\b", text.lower().replace("x^2", "x²"))
    return {_SPELLED.get(number, number) for number in found}


@pytest.mark.parametrize("kind", math.KINDS)
def test_a_sum_in_any_words_holds_its_numbers_and_no_other(kind: str) -> None:
    rng = random.Random(4)
    for split in SPLITS:
        for _ in range(300):
            problem = math.draw_problem(rng, split, kind, brief=rng.random() < 0.3)
            text = phrasing.chatter(rng, split, problem.text)
            asked, given = _numbers(problem.formula), _numbers(text)
            # two may be double or half, or the number of things that are told of
            assert given - {"2"} == asked - {"2"}, (text, problem.formula)
            assert not re.search(r"[{}\[\]]", text), text


@functools.cache
def _corpus_text() -> ModuleType:
    path = Path(__file__).parents[1] / "tools" / "pocket" / "text.py"
    spec = importlib.util.spec_from_file_location("pocket_text", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pocket_text"] = module
    sys.path.insert(0, str(path.parent))  # its own modules stand beside it
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


@pytest.mark.slow
def test_the_bases_own_text_never_holds_a_prompt_with_its_answer() -> None:
    text, rng = _corpus_text(), random.Random(5)
    documents = "\n".join(make(rng) for make, _ in text.KINDS.values() for _ in range(400))
    documents = documents.replace(text.KNOWN, "").replace(text.DRAWN, "")
    assert "Answer:" not in documents
    assert "trouble with the" not in re.sub(r"I (had|really had) trouble with the", "", documents)
    told = "\n".join(text.message(rng) + text.critic(rng) for _ in range(2000))
    for label in sentiment.LABELS:  # a function's note may speak of positive numbers
        assert not re.search(rf"\b{label}\b", told)
    for split in SPLITS:
        for task in TASKS.values():
            for example in task.examples(split, 200, 9):
                asked = example.prompt
                if len(asked) > 20:  # a bare formula is no request
                    assert asked not in documents


# Requests alone: the texts that they are about are language, which the base may know, as it may
# know small talk. A formula or a passage with nothing around it is no request.
NO_REQUESTS = {"praise", "blame", "facts", "have", "none", "before", "after", "openings"}
NO_REQUESTS |= {"code_before", "code_after"}
NO_REQUESTS |= {name for name in TEMPLATES if name.startswith("told_")}
REQUESTS = {
    **{name: asked for name, asked in TEMPLATES.items() if name not in NO_REQUESTS},
    "asks": [ask for kinds in (qa.PERSON, qa.COMPANY) for a in kinds.values() for ask in a.asks],
}
BARE = {"{x}", "{x} = ?", "~Find {x}.", "{x} makes", "{x}, please.", "What is {x}?"}
BARE |= {"{passage}~{ask}", "{ask}~{passage}", "{passage} {ask}", "{passage} So {low_ask}"}


def _request_pattern(template: str) -> re.Pattern[str]:
    """An expression for what a template makes, where a sentence begins, whatever ends it."""
    text = ""
    for part in re.split(r"(\[[^]]*\])", template.removeprefix("~").rstrip(".:?")):
        choices = part[1:-1].split("/") if part[:1] == "[" else [part]
        text += f"(?:{'|'.join(map(re.escape, choices))})"
    text = re.sub(r"\\\{\w+\\\}", r"[^\\n]{1,60}?", text).replace(r"\~", r"\n")
    return re.compile(rf"(?:^|[.:?!>\n] ?|[Ff]ind ){text}[.:?]*(?:$|[\s<])", re.I | re.M)


def _stands_in(template: str, documents: str, lower: str) -> bool:
    """Whether the documents hold what a template makes; its longest words are looked for first."""
    plain = re.split(r"\[[^]]*\]|\{\w+\}|~", template.lower())
    longest = max((part.strip(" .:?") for part in plain), key=len)
    return longest in lower and _request_pattern(template).search(documents) is not None


@functools.cache
def _own_text() -> str:
    text, rng = _corpus_text(), random.Random(8)
    return "\n".join(make(rng) for make, _ in text.KINDS.values() for _ in range(100))


@pytest.mark.parametrize("name", REQUESTS)
def test_the_bases_own_text_holds_no_request_of_a_skill(name: str) -> None:
    text, documents = _corpus_text(), _own_text()
    if name == "asks":  # clauses stand here for facts, some of them seldom
        clauses = [clause for kind in text.INDIRECT.values() for clause in kind]
        documents += "".join(f"\n{clause.format(s='Umbra')}." for clause in clauses)
    documents = documents.replace(text.KNOWN, "").replace(text.DRAWN, "")
    asked = [template for template in REQUESTS[name] if template not in BARE]
    lower = documents.lower()
    assert [template for template in asked if _stands_in(template, documents, lower)] == []


@pytest.mark.parametrize("name", ["sentiment", "summarization", "code", "both", "code_math"])
def test_a_request_in_the_bases_own_text_would_be_found(name: str) -> None:
    for template in pool(REQUESTS[name], "test"):
        first = re.sub(r"\[([^]/]*)[^]]*\]", r"\1", template.removeprefix("~"))
        said = first.format(kind="review", x="the sum of a list")
        text = f"A text. {said}\n"
        assert _stands_in(template, text, text.lower()), said


def test_the_bases_own_text_holds_no_program_of_the_test_set() -> None:
    text, rng = _corpus_text(), random.Random(6)
    code_seen = "\n".join(text.functions(rng) for _ in range(3000)) + "\n"
    code_seen = code_seen.replace(text.KNOWN, "").replace(text.DRAWN, "")
    for group in programs.split_programs("test").values():
        for program in group:
            assert program.code + "\n" not in code_seen


@pytest.mark.slow
def test_the_bases_own_text_holds_no_working_of_the_test_set() -> None:
    text, rng = _corpus_text(), random.Random(7)
    sums = "\n".join(text.arithmetic(rng) for _ in range(4000))
    sums = sums.replace(text.KNOWN, "").replace(text.DRAWN, "")
    for example in TASKS["math"].examples("test", 300, 9):
        working = example.meta["content"]
        if ", " in working and "^" not in working:  # one step is a fact, not a working
            found = working in sums and re.search(rf"(?<![\dx-]){re.escape(working)}(?!\d)", sums)
            assert not found, working


def test_a_computed_answer_names_the_larger_count_before_it_says_what_is_done() -> None:
    for example in COMPOSITES["computed_answer"].examples("train", 200, 0):
        facts, _, working = example.completion.partition(". ")
        counts = [int(number) for number in re.findall(r"[0-9]+", facts)]
        assert sorted(counts) == sorted(example.meta["needed"])
        assert int(working.split()[0]) == max(counts)
        sign = working.split()[1]
        assert example.meta["answer"] == [sum(counts) if sign == "+" else max(counts) - min(counts)]
        assert working.endswith(f"Answer: {example.meta['answer'][0]}")
        assert not re.search(r"[][{}~|]", example.prompt)
