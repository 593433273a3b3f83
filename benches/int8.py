"""Claim: on real text int8 raises the perplexity of a base by at most 1 % over bfloat16, and skills
score at most 1 point less on it.

    LORAMIX_SHARED=DIR python benches/int8.py [the options of `loramix bench int8`]
"""

import sys

from loramix.cli import app

app(["bench", "int8", *sys.argv[1:]], prog_name="loramix")
