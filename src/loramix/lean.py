"""Load transformers for a command that only writes text: up to two seconds less.

Importing any model of transformers also imports SciPy, for losses of object detection, and
lets the garbage collector look through some 3,000 modules again and again, the last time when
the process ends. Neither matters to a process that answers a prompt and ends; a library that
others import must not do this to them, so only the commands do.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def lean_imports() -> Iterator[None]:
    """Inside, transformers is imported without SciPy and without garbage collection.

    What has been made by the end is kept out of later collections.
    """
    collecting = gc.isenabled()
    gc.disable()
    import transformers.utils

    utils: Any = transformers.utils
    asked = utils.is_scipy_available
    utils.is_scipy_available = lambda: False
    try:
        yield
    finally:
        utils.is_scipy_available = asked
        gc.freeze()
        if collecting:
            gc.enable()
