"""load_config: a YAML file → a checked Config."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from loramix.config.document import parse_document
from loramix.config.models import Config
from loramix.config.problems import as_config_error
from loramix.errors import ConfigError, nearest


def load_config(path: str | Path) -> Config:
    """Reads and checks a YAML; relative paths in it start at its own folder.

    Raises:
        ConfigError: no such file, not YAML, or something in it that cannot mean anything; names
            the line, and for an unknown key the nearest known one.
    """
    path = Path(path).expanduser()
    document = parse_document(_text(path), path)
    try:
        return Config.model_validate(document.data, context={"folder": path.absolute().parent})
    except ValidationError as error:
        raise as_config_error(error, document, Config) from error


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        beside = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        near = nearest(path.name, beside)
        raise ConfigError(
            f"{path}: no such file",
            expected=None if near is None else f"perhaps '{near}'",
            hint="check the path, or write one with: loramix init",
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read", given=error.strerror, hint="give the path of a YAML file"
        ) from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}, line {line}: not UTF-8 text",
            given=f"byte 0x{raw[error.start]:02x}",
            expected="UTF-8",
            hint="save the file as UTF-8",
        ) from error
