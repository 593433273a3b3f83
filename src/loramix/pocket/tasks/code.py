"""Writes a small Python function for an instruction; scored by running it against tests.

Asked for in many ways, or in few (`BRIEF`), which minutes are enough to learn.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Sequence
from dataclasses import replace

from loramix.data import Example
from loramix.pocket.sandbox import run_many
from loramix.pocket.tasks.phrasing import chatter, request
from loramix.pocket.tasks.program_words import Speaker, joined, third_person
from loramix.pocket.tasks.programs import Program, draw_program
from loramix.pocket.tasks.task import Task
from loramix.pocket.words import Split, phrases

ASK_BRIEF = phrases("""
~Write a [Python/python/small Python] function that returns {x}.
~[Write/Create/Make] a function that [returns/gives] {x}.
~Write Python code [for/that returns] {x}.
~Implement a [Python function/function] that [computes/returns] {x}.
~Code a function that returns {x}.
~Define a function [for/returning] {x}.
[Python function/A Python function] that returns {x}
~[Show/Give] me a Python function that returns {x}.
How do I [get/compute/write] {x} in Python?
[In Python/Using Python], return {x}.
I need a [function/Python function] that returns {x}.
~Program a [method/function] to get {x}.
Python code [for/to get] {x}
[def/function] for {x} in Python
What is the Python code for {x}?
~Build a [small/short] function to [compute/find/return] {x}.
~Write a [script/snippet] that [returns/finds] {x} in Python.
~Write [Python/code] that [computes/works out] {x}.
""")
ASK = ASK_BRIEF + phrases("""
I [want/would like] {x}. [In Python/Python function], please.
[Need/need] a [function/python function] for {x}
~Return {x} in Python.
How would I [get/find/compute] {x} with Python?
What does a function [returning/for] {x} look like in Python?
[Python:/python -] {x}
~Make a function whose result is {x}.
Python function, input as needed, output: {x}
I am looking for a [function/Python function] that gives me {x}.
Can Python give me {x}? Write the function.
~Find {x} with [Python/a Python function].
~Produce a Python function for {x}.
""")


TO = phrases("""
~Write a [Python/python/small Python] function to {x}.
~[Write/Create/Make] a function that can {x}.
How do I {x} in Python?
~Write Python code to {x}.
[Python function/Function in Python/Python code] to {x}
I [want/need/would like] to {x} in Python.
~Show me how to {x} in Python.
How [can I/would you/does one] {x} [in/with/using] Python?
I need a [function/Python function/piece of Python] to {x}.
~Give me [Python code/a Python function/some Python] to {x}.
[In Python/With Python/Using Python]: {x}.
What is the Python [way/code] to {x}?
~Implement a [function/Python function] to {x}.
~Code a Python function to {x}.
I am looking for a [function/Python function/way in Python] to {x}.
Is there a Python function to {x}? Write one.
[My task is/The exercise is/My homework is] to {x} in Python.
~{x} with a Python function.
What function do I write to {x}? Python, please.
[Python:/python -/def:] {x}
~Make me a [tiny/short/simple] Python function to {x}.
{x}. [Write it in Python./In Python, please./Python function./As a Python function, please.]
Let's write Python to {x}.
~Help me {x} in Python.
The goal is to {x}; write the Python [function/code].
[For my project/For school/At work] I have to {x} in Python.
~Build a function in Python to {x}.
I'd like some [Python/code] that lets me {x}.
Which Python function would {x}?
~Produce Python that is able to {x}.
""")
DOES = phrases("""
~Write a [Python/small Python/python] function that {x}.
~[Write/Create/Make] a [function/method] which {x}.
I need a [function/Python function] that {x}.
~Give me a [Python function/function in Python] that {x}.
[Python function/A function/function] that {x}
~Code a Python function that {x}.
I [want/would like] a [function/Python function] which {x}.
~Implement a function that {x}.
Can I have a Python function that {x}?
What does a Python function look like that {x}?
[Python/python]: a function that {x}
~Write Python code that {x}.
~Build a Python function which {x}.
How do I write a [function/Python function] that {x}?
~Define a function that {x}.
[In Python/With Python], write a function that {x}.
I am looking for a [function/Python function] that {x}.
~Show me a [Python function/function] which {x}.
I have to hand in a Python function that {x}.
~Program something in Python that {x}.
The function should be in Python, one that {x}.
[Need/need/Wanted:] a [python/Python] function that {x}
It should be a Python function that {x}.
~Make a [short/tiny/simple] Python function that {x}.
""")
TAKES = phrases("""
~Write a [function/Python function] that takes a list of numbers and {x}.
~Write a Python function that takes a list and {x}.
Given a list of numbers, a function that {x}.
I need a [function/Python function]. It gets a list of numbers and {x}.
~Make a Python function: it takes a list, {x}.
~Write Python code that goes through a list of numbers and {x}.
I have a list of numbers. [I need/Write/I want] a Python function that {x}.
~Create a function which [is given/receives/gets] a list and {x}.
~Give me a Python function that [gets/receives/accepts] a list of numbers and {x}.
[Python/python] function: takes a list, {x}
~Code a function that is passed a list of numbers and {x}.
The input is a list of numbers. I want a Python function that {x}.
~Define a function of a list of numbers that {x}.
What would a Python function look like that gets a list and {x}?
A function with a list as its argument that {x}, in Python
Here is what it should do: it reads a list of numbers and {x}. [Python/In Python].
~Implement a function: a list of numbers goes in, and it {x}.
[def f(numbers):/def solve(numbers):/def function(numbers):] it {x}
""")
GIVEN = phrases("""
Given a list of numbers, {x}. [Python/In Python/Write it in Python].
I have a list of numbers. [How do I/I want to] {x} in Python?
~Take a list of numbers in Python: {x}.
[Python:/python -] from a list of numbers, {x}
With a list of numbers in Python, {x}.
There is a list of numbers. {x} - as a Python function, please.
~Write a function of a list: {x}.
My function gets a list of numbers. It has to {x}. [Write it./Show me the code.]
You get a list of numbers. {x}. Write [the Python code/the function].
What is the Python code to take a list of numbers and {x}?
I want to take a list, {x}. How does that look in Python?
Input: a list of numbers. Output: {x}. [Python/python].
""")
BEFORE = phrases("""
Hi, | Hello! | Hi there! | Quick question: | Please help. | I am new to Python. | For my homework:
Hey, | For school: | I am learning Python. | I'm stuck. | Good morning! | One more: | Hey there!
My next exercise: | I don't know much Python. | Can you help? | Now, | A beginner's question:
""")
AFTER = phrases("""
Thanks! | Thank you. | thanks | Please keep it short. | One line is enough. | pls | please
No explanation needed. | Just the code. | Thanks a lot! | Thank you so much! | Only the function.
I need it today. | As short as possible. | thx
""")
_WORDS_FOR = {  # a text, a number and a list have other names too
    "a text": ("a text", "a text", "a string", "a string", "a given text", "some text"),
    "a number": ("a number", "a number", "a number", "an integer", "a given number"),
    "a list": ("a list", "a list", "a list", "an array", "a given list"),
    "an item": ("an item", "an element", "a value"),
    "items": ("items", "elements", "values"),
    "item": ("item", "element", "value"),
    "texts": ("texts", "strings"),
    "letter": ("letter", "character"),
}
_NAMED = re.compile(rf"\b(?:{'|'.join(sorted(_WORDS_FOR, key=len, reverse=True))})\b")


def draw(rng: random.Random, split: Split) -> Example:
    """One instruction with the program that it asks for and its tests."""
    program = draw_program(rng, split)
    prompt = _called(rng, _asked(rng, split, program), program)
    return _example(program, chatter(rng, split, prompt, BEFORE, AFTER))


def draw_brief(rng: random.Random, split: Split) -> Example:
    """As `draw`, in a few wordings that all say what is returned."""
    program = draw_program(rng, split)
    prompt = request(rng, split, ASK_BRIEF, x=rng.choice(program.says))
    return _example(program, _called(rng, prompt, program))


def _called(rng: random.Random, prompt: str, program: Program) -> str:
    return prompt.rstrip(".?") + f". Call it {program.name}." if rng.random() < 0.15 else prompt


def _example(program: Program, prompt: str) -> Example:
    return Example(
        prompt=prompt,
        completion=program.code,
        meta={"task": "code", "content": program.key, "tests": program.tests()},
    )


def _asked(rng: random.Random, split: Split, program: Program) -> str:
    """The request: for a thing that is returned, or for something that is done."""
    habit = rng.random()
    if program.parts is None:
        if habit < 0.5 or not program.does:
            return request(rng, split, ASK, x=_renamed(rng, rng.choice(program.says)))
        does = _renamed(rng, rng.choice(program.does))
        if habit < 0.8:
            return request(rng, split, TO, x=does)
        return request(rng, split, DOES, x=third_person(does))
    speaker = Speaker(rng, *program.parts)
    if habit < 0.4:
        return request(rng, split, ASK, x=speaker.thing())
    patterns, place, inflected = (
        (TO, True, False) if habit < 0.55
        else (DOES, True, True) if habit < 0.7
        else (TAKES, False, True) if habit < 0.87
        else (GIVEN, False, False)
    )  # fmt: skip
    steps = speaker.steps(place)
    if inflected:
        steps = [third_person(step) for step in steps]
    return request(rng, split, patterns, x=joined(rng, steps))


def _renamed(rng: random.Random, words: str) -> str:
    """The words with other names for a text, a number, a list, the same one each time."""
    chosen = {name: rng.choice(names) for name, names in _WORDS_FOR.items()}
    return _NAMED.sub(lambda found: chosen[found[0]], words)


_PLAIN = ("def ", "import ", "from ")  # a line that begins so is code, though the rest be broken
_BEGINNINGS = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign,
)  # fmt: skip


def source(text: str) -> str:
    """The code in a text: what stands in a fence, from its first statement on.

    It begins at the first line from which the rest is a program that begins with a definition, an
    assignment or an import (words before the code are none); else at the first `def` or `import`.
    """
    if "```" in text:
        text = text.split("```")[1].removeprefix("python")
    lines = text.strip("\n").splitlines()
    plain = next((i for i, line in enumerate(lines) if line.startswith(_PLAIN)), None)
    for start in range(len(lines) if plain is None else plain):
        rest = "\n".join(lines[start:])
        tree = _parse(rest)
        if tree is not None and tree.body and isinstance(tree.body[0], _BEGINNINGS):
            return rest
    return "\n".join(lines[plain or 0 :])


def with_handle(code: str) -> str | None:
    """The code, with its last function named `f` too unless it has an `f` of its own.

    None if it does not parse or defines neither function nor class.
    """
    tree = _parse(code)
    if tree is None:
        return None
    functions = [name for node in tree.body for name in _functions(node)]
    if "f" in functions:
        return code
    if functions:
        return f"{code}\nf = {functions[-1]}\n"
    return code if any(isinstance(node, ast.ClassDef) for node in tree.body) else None


def _parse(code: str) -> ast.Module | None:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _functions(node: ast.stmt) -> list[str]:
    """The names that a statement gives to functions; any `f` may be called like one."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    if isinstance(node, ast.ClassDef) and node.name == "f":
        return ["f"]
    if isinstance(node, ast.Assign):
        names = [each.id for each in node.targets if isinstance(each, ast.Name)]
        return [name for name in names if name == "f" or isinstance(node.value, ast.Lambda)]
    return []


def score(examples: Sequence[Example], texts: Sequence[str]) -> list[float]:
    """1 where the text's function passes all its tests, each run in a process of its own."""
    programs = [with_handle(source(text)) for text in texts]
    runs = [
        (code, example.meta["tests"])
        for code, example in zip(programs, examples, strict=True)
        if code is not None
    ]
    outcomes = iter(run_many(runs) if runs else [])
    return [float(code is not None and next(outcomes).passed) for code in programs]


TASK = Task(
    "code", "writes a small Python function for an instruction", draw, score, max_new_tokens=72
)
BRIEF = replace(TASK, name="code_brief", draw=draw_brief, variant_of="code")
