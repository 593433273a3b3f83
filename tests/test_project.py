"""What holds for the project as a whole: its imports, its start-up time, its texts."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cli_reference
import markers
import readme_examples
import readme_tree

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "loramix"

# The nouns of the package in the order in which data flows; each may import what stands before
# it. A noun is a module or a package directly below loramix.
ORDER = [
    *("errors", "storage", "mix", "answers"),  # words that all others use
    *("data", "pocket"),  # rows → examples → token batches; the builtin tasks
    *(
        "lean",
        "base",
        "peft_config",
        "lora",
        "adapter_files",
        "adapter",
        "similar",
    ),  # a frozen model, one LoRA
    *("stack", "scope", "mixed"),  # many of them in one forward
    *("phases", "manifest", "config", "train"),  # examples → adapters
    *("card", "transaction", "snapshot", "library"),  # adapters → skills on disk
    *("gate",),  # prompts → scores → mixes
    *("detokenize", "sampling", "engine", "generate"),  # mixes → text
    *("evaluate", "merge", "fit", "demo", "bench"),
    *("commands", "serve"),  # what is done
    *("tables", "render_eval", "render"),  # and shown
    *("console", "harness", "cli_merge", "cli_measure", "cli_serve", "cli"),
]
# The one way back: the door through which all rows come looks a builtin task up by its name.
BACK = {("data", "pocket")}

HEAVY = {"torch", "transformers", "peft", "sklearn", "matplotlib", "datasets", "pandas", "numpy"}
HEAVY |= {"fastapi", "uvicorn", "prometheus_client"}
SECONDS, OF_TYPER = 0.5, 2.2  # usually 0.35 s where typer takes 0.22


def tracked(*patterns: str) -> list[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in set(listed.split("\0")) if name and (ROOT / name).is_file()]


def noun(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported_nouns(path: Path) -> set[str]:
    """The nouns that a module imports, in its functions and for its types too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    parts = [name.split(".") for name in names]
    return {p[1] for p in parts if p[0] == "loramix" and len(p) > 1} & set(ORDER)


def sources() -> list[Path]:
    return [p for p in tracked("src/loramix/*.py") if p != PACKAGE / "__init__.py"]


def test_every_module_has_its_place_in_the_order() -> None:
    assert {noun(path) for path in sources()} - {"__main__"} == set(ORDER)


def test_imports_go_one_way() -> None:
    back = []
    for path in sources():
        place = ORDER.index(noun(path)) if noun(path) in ORDER else len(ORDER)
        for other in imported_nouns(path) - {noun(path)}:
            if ORDER.index(other) > place and (noun(path), other) not in BACK:
                back.append(f"{path.relative_to(PACKAGE)} imports {other}")
    assert back == []


def test_no_relative_imports() -> None:
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.level), path


def cpu_seconds(*arguments: str) -> float:
    """The processor time of one run. Unlike the clock it does not grow when others are busy."""
    child = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert child.stderr is not None
    with child.stderr:
        complaints = child.stderr.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, complaints.decode()
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize(
    "arguments", [("-c", "import loramix"), ("-m", "loramix", "--help")], ids=["import", "help"]
)
def test_starting_takes_less_than_half_a_second(arguments: tuple[str, ...]) -> None:
    """Or, on a slow machine, less than about twice what typer needs to be loaded there."""
    taken = typer = float("inf")
    for _ in range(8):  # in turn, so that a busy moment slows both
        taken = min(taken, cpu_seconds(*arguments))
        if taken < SECONDS:
            return
        typer = min(typer, cpu_seconds("-c", "import typer, typer.rich_utils"))
    assert taken < OF_TYPER * typer, typer


@pytest.mark.parametrize(
    "code",
    [
        "import loramix",
        "import loramix.cli",
        "import sys; sys.argv = ['loramix', '--help']\n"
        "from loramix.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass",
        "import sys; sys.argv = ['loramix', 'generate', '--help']\n"
        "from loramix.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass",
    ],
    ids=["import", "cli", "help", "command-help"],
)
def test_no_heavy_module_is_loaded_before_a_command_needs_it(code: str) -> None:
    tail = "\nimport sys; print(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code + tail], capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(done.stderr.split())


def test_every_mark_is_in_use() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    block = re.search(r"^markers = \[\n(.*?)^\]", project, re.DOTALL | re.MULTILINE)
    assert block is not None
    used = "".join(path.read_text("utf-8") for path in tracked("tests/*.py"))
    marks = re.findall(r'"(\w+):', block[1])
    assert {"slow", "gpu", "peer"} <= set(marks)
    assert [mark for mark in marks if f"pytest.mark.{mark}\n" not in used] == []


def test_every_public_name_can_be_imported() -> None:
    import loramix

    for name in loramix.__all__:
        assert getattr(loramix, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        loramix.no_such_name  # noqa: B018


def test_the_readme_tree_is_the_code() -> None:
    shown = markers.part(markers.README.read_text("utf-8"), "tree")
    assert shown == readme_tree.tree(), "run: python tools/readme_tree.py"


def test_every_line_of_the_tree_says_what_the_file_is() -> None:
    lines = readme_tree.tree().splitlines()[2:-1]
    bare = [line for line in lines if len(line.split()) < 3]
    assert [line for line in bare if "__main__" not in line] == []


def test_the_command_reference_is_the_program() -> None:
    written = cli_reference.TARGET.read_text("utf-8")
    assert written == cli_reference.reference(), "run: python tools/cli_reference.py"


def test_the_readme_names_the_two_commands_and_the_test_command() -> None:
    text = markers.README.read_text("utf-8")
    rules = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert {"demo", "test", "lint"} <= rules
    assert "make demo" in text
    assert re.search(r"^## Tests\n+```sh\nmake test$", text, re.MULTILINE)


def test_links_in_the_docs_lead_somewhere() -> None:
    for page in tracked("*.md"):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def text_files() -> list[tuple[Path, str]]:
    found = []
    for path in tracked():
        try:
            found.append((path, path.read_text("utf-8")))
        except UnicodeDecodeError:
            continue
    return found


def test_no_text_names_a_place_on_somebodys_machine() -> None:
    # Put together here, so that this file does not find itself.
    places = re.compile("|".join(f"(?<![\\w.])/{name}/" for name in ("work", "root", "farm")))
    hosts = re.compile("|".join(("pypi" + r"\.org", "python" + "hosted")))
    found = [
        f"{path.relative_to(ROOT)}: {hit.group()}"
        for path, text in text_files()
        for hit in [places.search(text) or hosts.search(text)]
        if hit
    ]
    assert found == []


def test_source_files_stay_short() -> None:
    long = [p.name for p in sources() if len(p.read_text("utf-8").splitlines()) > 400]
    assert long == []


def test_no_unfinished_marks_in_the_source() -> None:
    words = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "raise NotImplemented" + "Error")
    marks = re.compile("|".join(words))
    assert [p.name for p in sources() if marks.search(p.read_text("utf-8"))] == []


def test_pins_hold_the_floors() -> None:
    """Each direct dependency is pinned, at or above its floor."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pins = {
        canonicalize_name(pin.name): next(iter(pin.specifier)).version
        for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
        for pin in [Requirement(line)]
    }
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    block = re.search(r"^dependencies = \[\n(.*?)^\]", project, re.DOTALL | re.MULTILINE)
    assert block is not None
    for text in re.findall(r'"([^"]+)"', block[1]):
        floor = Requirement(text)
        assert floor.specifier.contains(pins[canonicalize_name(floor.name)]), text
    assert pins["torch"] == "2.13.0"


@pytest.mark.slow
def test_the_readme_shows_what_the_shipped_library_answers() -> None:
    shown = markers.part(markers.README.read_text("utf-8"), "examples")
    assert shown == readme_examples.examples(), "run: python tools/readme_examples.py"
