"""`loramix demo`: the main job end to end, on the embedded base.

settings.py  how much of everything
data.py      what it trains on and is measured on
prompts.py   prompts that a person might type
blends.py    requests that need two skills, and what the prompts get
phases.py    progress and seconds
bars.py      what it has to reach
run.py       all of it
"""

from __future__ import annotations

from loramix.demo.run import run_demo
from loramix.demo.settings import DemoSettings, full_settings

__all__ = ["DemoSettings", "full_settings", "run_demo"]
