"""In what type a base is held: what can be asked for, and what `auto` picks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from loramix.base import dtype as choice
from loramix.base.folder import StoredWeights
from loramix.errors import UsageError
from tiny_base import save_base


class Stored:
    """A folder of so many parameters."""

    def __init__(self, parameters: int) -> None:
        self.parameters = parameters

    def count(self) -> int:
        return self.parameters


@pytest.mark.parametrize(
    ("parameters", "speed", "picked"),
    [
        (20_000_000, 9.0, torch.float32),
        (20_000_001, 1.5, torch.bfloat16),
        (300_000_000, 1.4, torch.float32),
        (300_000_001, 0.7, torch.bfloat16),
        (300_000_001, 0.6, torch.float32),
        (10**15, 0.1, torch.bfloat16),  # float32 would not fit
    ],
)
def test_auto_goes_by_size_and_machine(
    parameters: int, speed: float, picked: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "bf16_speed", lambda: speed)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("", (), {"available": 16 << 30}))
    cpu, stored = torch.device("cpu"), Stored(parameters)
    weights = choice.pick_weights(None, cpu, stored)  # type: ignore[arg-type]
    assert weights == (picked, False)
    asked = choice.pick_weights(torch.int8, cpu, stored)  # type: ignore[arg-type]
    assert asked == (torch.bfloat16, True)


def test_the_machine_is_asked_once() -> None:
    choice.bf16_speed.cache_clear()
    assert choice.bf16_speed() == choice.bf16_speed() > 0
    assert choice.bf16_speed.cache_info().misses == 1


def test_parameters_are_counted_without_reading_them(tmp_path: Path) -> None:
    model = save_base(tmp_path).model
    assert StoredWeights(tmp_path).count() == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", ["float32", "fp32", torch.float32])
def test_a_type_has_its_short_name_its_long_one_and_torchs(name: Any) -> None:
    assert choice.named(name) == torch.float32
    assert choice.named("auto") is None
    with pytest.raises(UsageError, match="no data type"):
        choice.named(torch.int16)
