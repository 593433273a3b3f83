"""Programs of the code task, and the words in which they are asked for."""

from __future__ import annotations

import random

import pytest

from loramix.pocket.tasks import programs
from loramix.pocket.tasks.program_words import Speaker, joined, third_person


def test_every_written_program_passes_its_own_tests() -> None:
    for program in programs.WRITTEN_PROGRAMS:
        scope: dict[str, object] = {}
        exec(program.code, scope)
        scope["f"] = scope[program.name]
        for test in program.tests():
            exec(test, scope)


def test_no_two_programs_are_asked_for_in_the_same_words() -> None:
    said: dict[str, programs.Program] = {}
    for program in programs.WRITTEN_PROGRAMS:
        for way in (*program.says, *program.does):
            other = said.setdefault(way, program)
            assert other.tests() == program.tests(), (way, other.key, program.key)


def test_no_program_of_the_test_set_is_learned_under_another_name() -> None:
    learned = {
        program.body
        for split in ("train", "dev")
        for kind in programs.split_programs(split).values()
        for program in kind
    } | {program.body for program in programs.WRITTEN_PROGRAMS}
    tested = [p.body for kind in programs.split_programs("test").values() for p in kind]
    assert len(tested) > 100
    assert not learned & set(tested)


def test_the_same_words_never_ask_for_list_programs_with_other_results() -> None:
    rng = random.Random(3)
    said: dict[str, programs.Program] = {}
    for _ in range(15_000):
        program = rng.choice(programs.LIST_PROGRAMS)
        assert program.parts is not None
        speaker = Speaker(rng, *program.parts)
        habit = rng.random()
        way = speaker.thing() if habit < 0.4 else joined(rng, speaker.steps(habit < 0.7))
        other = said.setdefault(way, program)
        assert other.tests() == program.tests(), (way, other.key, program.key)
    assert len(said) > 9_000


@pytest.mark.parametrize(
    ("step", "done"),
    [
        ("square the even ones", "squares the even ones"),
        ("multiply them by two", "multiplies them by two"),
        ("go through the numbers", "goes through the numbers"),
        ("discard zeros", "discards zeros"),
        ("put them in order", "puts them in order"),
        ("play fizzbuzz", "plays fizzbuzz"),
        ("check for zeros", "checks for zeros"),
    ],
)
def test_a_step_is_said_of_a_function_in_the_third_person(step: str, done: str) -> None:
    assert third_person(step) == done
