"""A busy card or machine is refused, with what was found and what is accepted."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from unsloth_ft.bench import load, machine
from unsloth_ft.bench.load import Load, notice, obstacles, refuse, sample
from unsloth_ft.errors import MachineError
from unsloth_ft.hardware import Gpu

H100 = Gpu("NVIDIA H100", 81559 * 2**20, (9, 0), "580.95", 0)
QUIET = "0, 4, 31, 345, 68.21"


def on_card() -> Load:
    """The load of the card alone; the cores are whoever's."""
    found = sample(H100, seconds=0.02)
    return Load(None, 0.0, found.gpu, found.gpu_processes)


def test_a_quiet_card_is_accepted(card: Callable[..., None]):
    card(QUIET)
    assert on_card().gpu == {"utilization.gpu": 0.0, "memory.used": 4.0, "temperature.gpu": 31.0, "clocks.sm": 345.0, "power.draw": 68.21}
    assert obstacles(on_card()) == []


def test_everything_that_makes_a_card_busy_is_said_at_once(card: Callable[..., None]):
    card("97, 41000, 71, 1980, 612.00", "4711\\n4712\\n")
    with pytest.raises(MachineError) as error:
        refuse(on_card())
    assert error.value.exit_code == 3
    assert str(error.value) == (
        "this machine is busy: 2 other compute processes are on the card; none is accepted; "
        "the card is busy for 97% of the time; at most 5% is accepted; "
        "40.0 GiB of the card's memory are in use; at most 1 GiB is accepted. "
        "End what runs there, or pass --busy-ok, which is recorded with every figure."
    )


def test_what_the_driver_does_not_tell_is_no_obstacle(card: Callable[..., None]):
    card("[N/A], [N/A], 40, 1200, [N/A]")
    assert on_card().gpu == {"utilization.gpu": None, "memory.used": None, "temperature.gpu": 40.0, "clocks.sm": 1200.0, "power.draw": None}
    assert obstacles(on_card()) == []


def test_a_card_that_nothing_tells_of_is_unknown(card: Callable[..., None], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert (on_card().gpu, on_card().gpu_processes) == (None, None)


def test_the_cards_settings_are_in_the_record(card: Callable[..., None]):
    card(QUIET, settings="700.00 W, 1980 MHz, 2619 MHz, Disabled, Enabled, [N/A]")
    assert machine.card(0) == {
        "power.limit": "700.00 W",
        "clocks.max.sm": "1980 MHz",
        "clocks.max.mem": "2619 MHz",
        "mig.mode.current": "Disabled",
        "persistence_mode": "Enabled",
        "ecc.mode.current": None,
    }


@pytest.mark.parametrize(
    ("share", "refused", "noticed"),
    [
        (0.05, [], ""),
        (0.3, [], "other processes used 30% of the cores"),
        (0.5, ["other processes use 50% of the cores; less than 50% is accepted"], "other processes used 50% of the cores"),
        (None, [], ""),
    ],
)
def test_cores_in_use_are_noticed_and_from_half_on_refused(share: float | None, refused: list[str], noticed: str):
    found = Load(share, 1.0)
    assert (obstacles(found), notice(found)) == (refused, noticed)


def spin() -> None:
    while True:
        pass


def test_a_process_that_works_is_seen_in_the_share():
    others = [multiprocessing.get_context("fork").Process(target=spin, daemon=True) for _ in range(len(load.os.sched_getaffinity(0)))]
    for other in others:
        other.start()
    time.sleep(0.2)
    try:
        assert (sample(None, seconds=0.3).cpu_share or 0) > 0.8
    finally:
        for other in others:
            other.kill()
            other.join()
