from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace

import pytest

from unsloth_ft.bench import instruments
from unsloth_ft.errors import MachineError


def test_the_memory_of_all_processes_is_not_said_to_be_none_where_the_system_does_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(instruments, "PROC", tmp_path / "no proc")
    with pytest.raises(MachineError) as refused:
        instruments.tree_bytes(1)
    says = "the memory of a process and all that it started is read in /proc, which this system has not. Measure it on Linux."
    assert str(refused.value) == says


def driver(asked: list[int]) -> SimpleNamespace:
    """NVML of a machine with two cards; the counter of card k stands at k + 1 joules."""

    def handle(index: int, place: object) -> int:
        asked.append(index)
        place._obj.value = index + 1  # type: ignore[attr-defined]  # what byref points to
        return 0

    def energy(card: ctypes.c_void_p, place: object) -> int:
        place._obj.value = 1000 * (card.value or 0)  # type: ignore[attr-defined]
        return 0

    return SimpleNamespace(
        nvmlInit_v2=lambda: 0, nvmlDeviceGetHandleByIndex_v2=handle, nvmlDeviceGetTotalEnergyConsumption=energy
    )  # fmt: skip


def test_energy_is_that_of_the_legs_own_card(monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver(asked))
    assert instruments.Energy(1).joules() == 2.0
    assert asked == [1]


def test_a_leg_that_uses_no_card_has_no_energy_whatever_the_machine_has(monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver(asked))
    assert instruments.Energy(None).joules() is None
    assert asked == []
