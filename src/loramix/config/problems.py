"""What pydantic found wrong → one ConfigError with the lines, the nearest keys and what to do."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from loramix.config.document import Document, Where
from loramix.errors import ConfigError, nearest

SHOWN = 8  # more problems than a reader mends at once


def as_config_error(
    error: ValidationError, document: Document, root: type[BaseModel]
) -> ConfigError:
    """The first problem in the order of the file, with the others listed under it."""
    problems = [_Problem(found, document, root) for found in error.errors(include_url=False)]
    problems.sort(key=lambda problem: problem.line or 0)
    first, rest = problems[0], problems[1:]
    what = f"{document.path}{first}"
    if rest:
        also = "".join(f"\n  also{other}" for other in rest[:SHOWN])
        more = f"\n  and {len(rest) - SHOWN} more" if len(rest) > SHOWN else ""
        what += also + more
    return ConfigError(what, given=first.given, expected=first.expected, hint=first.hint)


class _Problem:
    """One finding of pydantic in the words of the YAML."""

    def __init__(self, found: Any, document: Document, root: type[BaseModel]) -> None:
        where: Where = tuple(found["loc"])
        if where and where[-1] == "[key]":
            where = where[:-1]
        self.line = document.line(where)
        # pydantic adds the names of types that it tried; only what stands in the file is a place.
        place = where
        while place and place not in document.lines and found["type"] != "missing":
            place = place[:-1]
        self.given: object = None
        self.expected: str | None = None
        self.hint: str | None = None
        name = ".".join(map(str, place))
        if found["type"] == "extra_forbidden":
            known = _keys(root, where[:-1])
            inside = ".".join(map(str, where[:-1]))
            near = nearest(str(where[-1]), known)
            self.text = f"unknown key '{where[-1]}'" + (f" in {inside}" if inside else "")
            self.expected = f"perhaps '{near}'" if near else f"one of {', '.join(known)}"
            self.hint = f"write {near}" if near else "correct or remove it"
        elif found["type"] == "missing":
            self.text = f"'{name}' is missing"
            self.hint = "add it; `loramix init` writes an example"
        else:
            message = _wrong(found)
            self.text = f"{name}: {message}" if name else message
            if not isinstance(found["input"], dict | list | BaseModel):
                self.given = repr(found["input"])
            self.hint = "correct it; `loramix init` writes an example"

    def __str__(self) -> str:
        line = "" if self.line is None else f", line {self.line}"
        return f"{line}: {self.text}"


_KINDS = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("string_type", "string_sub_type"), "text (in quotes, if it looks like more)"),
    **dict.fromkeys(("list_type", "tuple_type"), "a list, such as [a, b]"),
    **dict.fromkeys(("path_type", "path_parsing"), "a path"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "keys with values"),
    "finite_number": "a finite number",
    "none_required": "null",
}
_BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "greater than or equal to"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "less than or equal to"),
}


def _wrong(found: Any) -> str:
    """What is wrong with a value, in our words; a validator of ours has said it already."""
    kind, given = found["type"], found.get("ctx", {})
    if kind in _KINDS:
        return f"must be {_KINDS[kind]}"
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"must be {words} {given[key]:g}"
    if kind in ("literal_error", "enum"):
        return f"must be {given['expected']}"
    if kind in ("too_short", "string_too_short"):
        least = given["min_length"]
        return f"must hold at least {least} element{'' if least == 1 else 's'}"
    if kind in ("too_long", "string_too_long"):
        return f"must hold at most {given['max_length']} elements"
    message = str(found["msg"]).removeprefix("Value error, ")
    return message.replace("Input should be", "must be")


def _keys(root: type[BaseModel], where: Where) -> list[str]:
    """The keys that the part at `where` knows."""
    model: type[BaseModel] | None = root
    for step in where:
        if model is not None and step in model.model_fields:
            annotation = model.model_fields[str(step)].annotation
            model = _model_in(annotation)
    return list(model.model_fields) if model is not None else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model within `Model`, `Model | None` or `dict[Name, Model]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
