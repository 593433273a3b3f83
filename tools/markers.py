"""Parts of a Markdown file that a script fills in: what stands between two marker comments."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name}:begin[^>]*-->\n)(.*?)(<!-- {name}:end -->)", re.DOTALL)


def part(text: str, name: str) -> str:
    """What stands between `<!-- name:begin … -->` and `<!-- name:end -->`.

    Raises:
        LookupError: the markers are not there.
    """
    found = _pattern(name).search(text)
    if found is None:
        raise LookupError(f"no markers named {name!r}")
    return found[2]


def with_part(text: str, name: str, content: str) -> str:
    """`text` with `content` between the markers."""
    part(text, name)
    return _pattern(name).sub(lambda found: found[1] + content + found[3], text)


def fill(path: Path, name: str, content: str) -> None:
    """Write `content` between the markers of a file."""
    path.write_text(with_part(path.read_text("utf-8"), name, content), "utf-8")
