"""YAML text → data and the line of each key, so that every message can name its line.

Only plain YAML: no tags that make objects, no key twice, keys are text. A number such as `1e-3`
is a number (YAML 1.1 wants `1.0e-3` and would make it a text).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from loramix.errors import ConfigError

Where = tuple[str | int, ...]

MAX_NODES = 100_000  # aliases within aliases can make gigabytes of a few lines
_YAML = "tag:yaml.org,2002:"
_SAFE = ("map", "seq", "str", "int", "float", "bool", "null", "timestamp")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+")


@dataclass(frozen=True)
class Document:
    """A parsed YAML.

    Attributes:
        path: the file, for messages.
        data: its top mapping.
        lines: path to a key or element → its line, counted from 1.
    """

    path: Path
    data: dict[str, Any]
    lines: dict[Where, int]

    def line(self, where: Where) -> int | None:
        """The line of a place, or of the nearest known one around it."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where)


def parse_document(text: str, path: Path) -> Document:
    """Reads YAML text.

    Raises:
        ConfigError: it does not parse, is no mapping, has a key twice or an unsafe tag.
    """
    try:
        loader: Any = yaml.SafeLoader(text)  # typed or not, as stubs are installed or not
        node = loader.get_single_node()
        if node is None:
            raise ConfigError(f"{path}: empty", hint="write one with: loramix init")
        lines: dict[Where, int] = {}
        data = _value(loader, node, (), lines, path)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise ConfigError(
            f"{place}: not valid YAML: {error.problem or error.context}",
            given=_line(text, mark.line) if mark else None,
            hint="indent with spaces; put texts that hold : { or # in double quotes",
        ) from error
    except yaml.YAMLError as error:
        problem = str(error).splitlines()[0]
        raise ConfigError(f"{path}: not valid YAML: {problem}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: nested too deeply", hint="write it flatter") from error
    if not isinstance(data, dict):
        raise ConfigError(
            f"{path}: not a mapping of keys to values",
            given=type(data).__name__,
            expected="base: …, skills: …",
            hint="write one with: loramix init",
        )
    return Document(path, data, lines)


def _value(loader: Any, node: yaml.Node, where: Where, lines: dict[Where, int], path: Path) -> Any:
    line = node.start_mark.line + 1
    lines.setdefault(where, line)
    if len(lines) > MAX_NODES:
        raise ConfigError(f"{path}, line {line}: too many values", hint="use fewer aliases (*name)")
    if node.tag.removeprefix(_YAML) not in _SAFE:
        raise ConfigError(
            f"{path}, line {line}: tags are not allowed",
            given=node.tag.replace(_YAML, "!!"),
            expected="plain text, numbers, true, false or null",
            hint="remove the tag; loramix never runs code from a YAML",
        )
    if isinstance(node, yaml.MappingNode):
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _key(key_node, path)
            first = lines.get((*where, key))
            if key in values:
                raise ConfigError(
                    f"{path}, line {key_node.start_mark.line + 1}: '{key}' stands twice",
                    given=f"the first is on line {first}",
                    hint="rename or remove one of them",
                )
            lines[(*where, key)] = key_node.start_mark.line + 1
            values[key] = _value(loader, value_node, (*where, key), lines, path)
        return values
    if isinstance(node, yaml.SequenceNode):
        return [
            _value(loader, element, (*where, i), lines, path)
            for i, element in enumerate(node.value)
        ]
    if isinstance(node, yaml.ScalarNode) and node.style is None and _FLOAT.fullmatch(node.value):
        return float(node.value)
    try:
        return loader.construct_object(node)
    except ValueError as error:  # a date that does not exist, a number of 5,000 digits
        raise ConfigError(
            f"{path}, line {line}: {error}", given=str(node.value)[:60], hint="put it in quotes"
        ) from error


def _key(node: yaml.Node, path: Path) -> str:
    if isinstance(node, yaml.ScalarNode) and node.tag == _YAML + "str":
        return str(node.value)
    scalar = isinstance(node, yaml.ScalarNode)
    given = node.value if scalar else "a list or mapping"
    if given == "<<":
        hint = "write the values out; merging is not supported"
    else:
        hint = f'put it in quotes: "{given}":' if scalar else "put texts that hold { in quotes"
    raise ConfigError(
        f"{path}, line {node.start_mark.line + 1}: a key that is not text", given=given, hint=hint
    )


def _line(text: str, index: int) -> str | None:
    lines = text.splitlines()
    return lines[index].strip()[:80] if index < len(lines) else None
