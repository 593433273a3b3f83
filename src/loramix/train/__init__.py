"""Skills from data: examples → token batches → adapters, on a frozen base.

results = train_skills(base, [SkillJob("math", train, dev)], TrainConfig(), "runs/math")
results["math"].adapter

jobs.py        what is trained, and what comes out
mixes.py       mixes for rows that several skills learn together
schedule.py    which rows stand in which step
batches.py     rows of all skills → passes of like length
module.py      the mixed forward and the completion-only loss
history.py     losses, the best weights so far, early stopping
trainer.py     transformers' Trainer around all of that
memory.py      what a run will need, before it starts
checkpoint.py  what a killed run leaves behind, and how the next one finds it
curves.py      losses.json and losses.png
run.py         one run: skills that share their forward passes
workers.py     a run shared out among processes; worker.py is what they do
skills.py      train_skills
"""

from __future__ import annotations

from loramix.train.jobs import BlendJob, SkillJob, TrainProgress, TrainResult
from loramix.train.mixes import with_mixes
from loramix.train.skills import train_skills

__all__ = ["BlendJob", "SkillJob", "TrainProgress", "TrainResult", "train_skills", "with_mixes"]
