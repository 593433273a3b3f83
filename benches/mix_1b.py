"""Claim: on 1.1B parameters the blends cost at most 5 %, and eight rows together are three times as
fast as llama.cpp, which runs rows whose blends differ one after the other.

    python benches/mix_1b.py [the options of `loramix bench mix-1b`]
"""

import sys

from loramix.cli import app

app(["bench", "mix-1b", *sys.argv[1:]], prog_name="loramix")
