"""How a worker talks: a JSON job in, then a round for each line; started by peer.py.

    python serve.py NAME < lines > answers

NAME is a module beside this file with `prepare(job)`, which loads what it needs and returns the
function that runs a round: tokens written, and the seconds that they took. It may also return a
dict, which is the answer to the job where there are no rounds.
"""

from __future__ import annotations

import importlib
import json
import os
import sys


def main() -> None:
    """Answers, until stdin ends."""
    # what libraries print must not stand among the answers
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    prepared = None
    for line in sys.stdin:
        try:
            if prepared is None:
                prepared = importlib.import_module(sys.argv[1]).prepare(json.loads(line))
                answer = prepared if isinstance(prepared, dict) else {}
            else:
                tokens, seconds = prepared()
                answer = {"tokens": tokens, "seconds": seconds}
        except Exception as error:
            first = (str(error).strip().splitlines() or [""])[0]
            answer = {"error": f"{type(error).__name__}: {first}"}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
