"""Cards by name and by size, for a plan for one that isn't here."""

from __future__ import annotations

import pytest

from unsloth_ft import cards
from unsloth_ft.errors import UserError
from unsloth_ft.hardware import GIB, Gpu, Hardware

MACHINE = Hardware(gpus=(), cpu_name="a CPU", cpu_count=2, cpu_has_bfloat16=True, memory_bytes=16 * GIB, gpu_note="hidden")


@pytest.mark.parametrize("text", ["rtx4090", "RTX 4090", "rtx-4090", "NVIDIA GeForce RTX 4090", "GeForce_RTX_4090"])
def test_a_card_is_found_however_its_name_is_written(text: str):
    assert cards.find(text) == Gpu("NVIDIA GeForce RTX 4090", 24564 * 2**20, (8, 9))


@pytest.mark.parametrize(("text", "gibibytes"), [("24GB", 24), ("24 gib", 24), ("24576MiB", 24), ("7.5GB", 7.5)])
def test_a_size_is_a_card_of_ampere(text: str, gibibytes: float):
    assert cards.find(text) == Gpu(f"a card of {gibibytes:g} GiB", int(gibibytes * GIB), (8, 0))


def test_an_unknown_card_is_refused_with_the_nearest():
    with pytest.raises(UserError) as error:
        cards.find("rtx4091")
    assert str(error.value) == (
        '--gpu "rtx4091": no card of that name is known here. Did you mean rtx4090, rtx5090, rtx4080? A size like 24GB is taken too.'
    )


@pytest.mark.parametrize(("name", "rate"), [
    ("NVIDIA H200", 989.5), ("Tesla T4", 65), ("NVIDIA GeForce RTX 4090", 165.2), ("NVIDIA A100-SXM4-80GB", 312), ("NVIDIA A10", 125),
    ("NVIDIA H100 80GB HBM3", 989.5), ("NVIDIA H100 PCIe", 756), ("NVIDIA RTX 6000 Ada Generation", 364.2), ("Tesla V100-SXM2-16GB", 125),
    ("NVIDIA GeForce RTX 4090 Laptop GPU", None), ("NVIDIA GeForce RTX 4070 Ti", None), ("a card of 24 GiB", None),
])  # fmt: skip
def test_a_published_rate_is_found_by_the_name_that_the_driver_gives(name: str, rate: float | None):
    assert cards.teraflops(Gpu(name, 24 * GIB, (8, 0))) == rate


def test_every_card_is_one_that_a_run_can_use():
    assert [card for card in cards.CARDS.values() if card.compute_capability < (7, 0) or card.memory_mib < 8000] == []
    assert len({card.name for card in cards.CARDS.values()}) == len(cards.CARDS)


def test_a_plan_for_a_card_keeps_the_rest_of_the_machine():
    planned = cards.planned_for(cards.find("t4"), MACHINE)
    assert (planned.gpu.name, planned.memory_bytes, planned.gpu_note) == ("NVIDIA T4", 16 * GIB, "")
