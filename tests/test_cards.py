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
    ("Tesla V100-PCIE-16GB", 112), ("NVIDIA GeForce RTX 4060 Ti", 44.1), ("NVIDIA H200 NVL", None),
    ("NVIDIA GeForce RTX 4090 Laptop GPU", None), ("NVIDIA GeForce RTX 4070 Ti", None), ("a card of 24 GiB", None),
])  # fmt: skip
def test_a_published_rate_is_found_by_the_name_that_the_driver_gives(name: str, rate: float | None):
    assert cards.teraflops(Gpu(name, 24 * GIB, (8, 0))) == rate


# Name in the table -> (SMs, multiplications and additions a clock and SM, boost clock in GHz), as the vendor's specifications say.
CLOCKED = {
    "t4": (40, 1024, 1.59), "v100": (80, 1024, 1.53), "v10032gb": (80, 1024, 1.53), "v100pcie": (80, 1024, 1.38),
    "rtx3060": (28, 512, 1.777), "rtx3070": (46, 512, 1.725), "rtx3080": (68, 512, 1.71), "rtx3090": (82, 512, 1.695),
    "rtx4060": (24, 512, 2.46), "rtx4060ti16gb": (34, 512, 2.535), "rtx4070": (46, 512, 2.475), "rtx4080": (76, 512, 2.505),
    "rtx4090": (128, 512, 2.52), "rtx5090": (170, 512, 2.407), "rtxa6000": (84, 1024, 1.8), "rtx6000ada": (142, 1024, 2.505),
    "l4": (58, 1024, 2.04), "l40s": (142, 1024, 2.52), "a10": (72, 1024, 1.695), "a100": (108, 2048, 1.41), "a10080gb": (108, 2048, 1.41),
    "h100": (132, 4096, 1.83), "h100pcie": (114, 4096, 1.62), "h200": (132, 4096, 1.83),
}  # fmt: skip


def test_every_published_rate_is_what_the_card_s_units_and_clock_come_to():
    assert CLOCKED.keys() == cards.CARDS.keys()
    for name, (units, operations, gigahertz) in CLOCKED.items():
        assert cards.CARDS[name].teraflops == pytest.approx(units * operations * gigahertz / 1000, rel=0.013), name


def test_every_card_is_one_that_a_run_can_use():
    assert [card for card in cards.CARDS.values() if card.compute_capability < (7, 0) or card.memory_mib < 8000] == []
    assert len({card.name for card in cards.CARDS.values()}) == len(cards.CARDS)


def test_a_plan_for_a_card_keeps_the_rest_of_the_machine():
    planned = cards.planned_for(cards.find("t4"), MACHINE)
    assert (planned.gpu.name, planned.memory_bytes, planned.gpu_note) == ("NVIDIA T4", 16 * GIB, "")
