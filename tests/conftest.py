"""Fixtures that many tests share."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from transformers import PreTrainedModel

from tiny import make_tiny

ROOT = Path(__file__).resolve().parent.parent

# Tiny shapes: a second thread waits more than it works, most of all on a busy machine.
torch.set_num_threads(1)

# The same examples in every run: a red test is red again, and its time is known.
settings.register_profile("loramix", deadline=None, derandomize=True, max_examples=20)
settings.load_profile("loramix")


def pytest_configure() -> None:
    """Imports make no garbage that would be worth the collections."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Keep what the imports have made out of the garbage collections of the tests."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    """Every test starts from the same random state."""
    torch.manual_seed(0)


@pytest.fixture
def tiny_llama() -> PreTrainedModel:
    """A tiny random Llama of the test's own."""
    return make_tiny("llama")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data: LORAMIX_SHARED, or `shared` beside the repository."""
    folder = Path(os.environ.get("LORAMIX_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}; set LORAMIX_SHARED")
    return folder
