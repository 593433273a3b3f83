"""Rows become examples, examples become token batches.

files.py      rows of a JSONL, JSON, CSV, TSV or Parquet file, each with its line number
hub.py        rows of a Hugging Face dataset, by id or in a local folder
template.py   a row and a template → text
source.py     DataSource: where rows come from
load.py       load_examples, the one door; split_dev
batches.py    examples → token rows → batches of like length
"""

from __future__ import annotations

from loramix.data.example import Example
from loramix.data.load import load_examples, load_train_dev, split_dev
from loramix.data.source import DataSource

__all__ = ["DataSource", "Example", "load_examples", "load_train_dev", "split_dev"]
