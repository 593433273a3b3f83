"""Claim: 1.1B parameters with five skills are served in at most 3.5 GB.

python benches/memory.py [the options of `loramix bench memory`]
"""

import sys

from loramix.cli import app

app(["bench", "memory", *sys.argv[1:]], prog_name="loramix")
