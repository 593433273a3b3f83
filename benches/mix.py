"""Claim: a different blend of skills in every row costs at most 15 % of the base's speed; PEFT,
vLLM and transformers' own batching are 2.5, 3 and 4 times slower with less work.

    python benches/mix.py [the options of `loramix bench mix`]
"""

import sys

from loramix.cli import app

app(["bench", "mix", *sys.argv[1:]], prog_name="loramix")
