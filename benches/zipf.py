"""Claim: a hundred or a thousand skills, 64 of them in memory, run at 0.8 of the speed of eight.

python benches/zipf.py [the options of `loramix bench zipf`]
"""

import sys

from loramix.cli import app

app(["bench", "zipf", *sys.argv[1:]], prog_name="loramix")
