"""Write docs/cli.md, the reference of the command line, from the typer app itself.

python tools/cli_reference.py
"""

from __future__ import annotations

import inspect
from typing import Any

import typer

from loramix.cli import app
from markers import ROOT

TARGET = ROOT / "docs" / "cli.md"

HEAD = """# The command line

Written by `python tools/cli_reference.py` from the program itself; a test keeps it fresh.

Answers go to stdout, everything else to stderr. With `--json` a command prints one JSON object on
stdout and nothing else. Exit codes: 0 done, 1 the work failed, 2 the call was wrong, 130 stopped
by the user.
"""


def _usage(name: str, command: Any) -> str:
    words = [f"loramix {name}"]
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            word = parameter.name.upper()
            words.append(word if parameter.required else f"[{word}]")
        elif parameter.required:
            words.append(f"{parameter.opts[0]} {_value(parameter)}")
    return " ".join([*words, "[OPTIONS]"])


def _value(parameter: Any) -> str:
    return parameter.metavar or parameter.name.upper()


def _flags(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
    return names if parameter.is_flag else f"{names} {_value(parameter)}"


def _default(parameter: Any) -> str:
    default = parameter.default
    if parameter.required:
        return "required"
    if default is None or default is False or default == "":
        return ""
    return f"`{default}`"


def _section(name: str, command: Any) -> str:
    lines = [f"## {name}", "", inspect.cleandoc(command.help or ""), "", "```text"]
    lines += [_usage(name, command), "```", ""]
    rows = []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            shown = f"`{parameter.name.upper()}`"
        elif parameter.name == "help":
            continue
        else:
            shown = _flags(parameter)
        what = (parameter.help or "").replace("\\[", "[")  # rich reads a bare [@…] as markup
        rows.append(f"| {shown} | {what} | {_default(parameter)} |")
    if rows:
        lines += ["| | what | default |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def reference() -> str:
    """The whole of docs/cli.md."""
    group: Any = typer.main.get_command(app)
    sections = [_section(name, command) for name, command in group.commands.items()]
    return HEAD + "\n" + "\n".join(sections)


if __name__ == "__main__":
    TARGET.write_text(reference(), "utf-8")
