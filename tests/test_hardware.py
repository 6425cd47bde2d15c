"""What the machine has: nvidia-smi's answer, what CUDA_VISIBLE_DEVICES leaves of it, and the one card a run is pinned to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from unsloth_ft import hardware
from unsloth_ft.hardware import GIB, Gpu, Hardware, parse, pin, visible

ANSWER = """\
0, GPU-11aa-0001, NVIDIA GeForce RTX 4090, 24564, 8.9, 575.57
1, GPU-22bb-0002, Tesla T4, 15360, 7.5, 575.57
2, GPU-22bb-0003, NVIDIA H200, 143771, 9.0, 575.57
"""
RTX_4090 = Gpu("NVIDIA GeForce RTX 4090", 24564 * 2**20, (8, 9), "575.57", 0)
T4 = Gpu("Tesla T4", 15360 * 2**20, (7, 5), "575.57", 1)
H200 = Gpu("NVIDIA H200", 143771 * 2**20, (9, 0), "575.57", 2)


def machine(*gpus: Gpu, note: str = "") -> Hardware:
    return Hardware(gpus=gpus, cpu_name="EPYC", cpu_count=2, cpu_has_bfloat16=True, memory_bytes=24 * GIB, gpu_note=note)


@pytest.fixture
def with_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A program of that name, first in the PATH, that prints the text and ends with the code."""
    for name in ("CUDA_VISIBLE_DEVICES", "UNSLOTH_FORCE_CPU"):
        monkeypatch.delenv(name, raising=False)

    def put(answer: str, code: int = 0) -> None:
        (tmp_path / "answer").write_text(answer, encoding="utf-8")
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/asked"\ncat "{tmp_path}/answer"\nexit {code}\n', encoding="utf-8")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return put


# nvidia-smi


def test_each_line_of_nvidia_smi_is_a_card():
    assert parse(ANSWER) == {"GPU-11aa-0001": RTX_4090, "GPU-22bb-0002": T4, "GPU-22bb-0003": H200}


def test_a_board_that_shares_the_hosts_memory_has_none_of_its_own():
    (gpu,) = parse("0, GPU-1, NVIDIA GB10, [N/A], 12.1, 580.1\n").values()
    assert gpu == Gpu("NVIDIA GB10", 0, (12, 1), "580.1", 0)
    assert machine(gpu).summary == "NVIDIA GB10 (SM 12.1)"


def test_lines_that_are_no_card_are_left_out():
    assert parse("No devices were found\n\n") == {}


def test_the_machine_is_found_through_nvidia_smi(with_nvidia_smi, tmp_path: Path):
    with_nvidia_smi(ANSWER)
    assert hardware.detect().gpus == (RTX_4090, T4, H200)
    assert (
        tmp_path / "asked"
    ).read_text() == "--query-gpu=index,uuid,name,memory.total,compute_cap,driver_version --format=csv,noheader,nounits\n"


def test_a_driver_that_does_not_answer_is_said(with_nvidia_smi):
    with_nvidia_smi("\nNVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", code=9)
    found = hardware.detect()
    assert found.gpu is None
    assert found.summary.startswith(
        "no GPU (nvidia-smi failed: NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.); "
    )


def test_a_machine_without_nvidia_smi_has_no_card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = hardware.detect()
    assert (found.gpus, found.gpu_note) == ((), "")
    assert found.cpu_count >= 1 and found.memory_bytes > GIB // 4


def test_unsloth_force_cpu_hides_every_card_and_says_so(with_nvidia_smi, monkeypatch: pytest.MonkeyPatch):
    with_nvidia_smi(ANSWER)
    monkeypatch.setenv("UNSLOTH_FORCE_CPU", "1")
    found = hardware.detect()
    assert (found.gpus, found.gpu_note) == ((), "UNSLOTH_FORCE_CPU=1 hides it")


@pytest.mark.parametrize("value", ["", "-1"])
def test_a_list_that_shows_no_card_is_said(value: str, with_nvidia_smi, monkeypatch: pytest.MonkeyPatch):
    with_nvidia_smi(ANSWER)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    found = hardware.detect()
    assert (found.gpus, found.gpu_note) == ((), f'CUDA_VISIBLE_DEVICES="{value}" hides it')


# CUDA_VISIBLE_DEVICES


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (None, (RTX_4090, T4, H200)),
        ("1", (T4,)),
        ("2,0", (H200, RTX_4090)),
        (" 1 , 2 ", (T4, H200)),
        ("GPU-22bb-0003", (H200,)),
        ("GPU-11", (RTX_4090,)),
        ("", ()),
        ("-1", ()),
        ("7", ()),
        ("0,7,1", (RTX_4090,)),  # CUDA stops at the first that doesn't exist
        ("0,0", (RTX_4090,)),
        ("MIG-33cc", ()),
    ],
)
def test_the_cards_are_those_that_cuda_shows_in_its_order(asked: str | None, shown: tuple[Gpu, ...]):
    assert visible(parse(ANSWER), asked) == shown


def test_a_part_of_the_only_card_is_that_card():
    assert visible({"GPU-1": H200}, "MIG-33cc") == (H200,)


# Pinning


def test_of_two_cards_the_first_is_pinned():
    environment: dict[str, str] = {}
    pin(machine(T4, H200), environment)
    assert environment == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1"}


def test_what_the_user_pinned_stays():
    environment = {"CUDA_VISIBLE_DEVICES": "2"}
    pin(machine(H200), environment)
    assert environment == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "2"}


def test_of_a_users_list_the_first_is_pinned():
    environment = {"CUDA_VISIBLE_DEVICES": "GPU-22bb-0003, GPU-11aa-0001", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"}
    pin(machine(H200, RTX_4090), environment)
    assert environment == {"CUDA_VISIBLE_DEVICES": "GPU-22bb-0003", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"}


def test_the_only_card_and_no_card_leave_cuda_visible_devices_alone():
    for gpus, left in (((H200,), {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}), ((), {})):
        environment: dict[str, str] = {}
        pin(machine(*gpus), environment)
        assert environment == left


def test_the_card_is_pinned_before_torch_is_imported(with_nvidia_smi, tmp_path: Path):
    with_nvidia_smi(ANSWER)
    (tmp_path / "d.jsonl").write_text("", encoding="utf-8")
    code = (
        "import os, sys\n"
        "from unsloth_ft import catalog, errors, prepare\n"
        "try: prepare.prepare(prepare.Request(catalog.find('qwen3-8b'), ('d.jsonl',), backend='peft'), activate=True)\n"
        "except errors.UserError: pass\n"
        "print(os.environ['CUDA_VISIBLE_DEVICES'], 'torch' in sys.modules)"
    )
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "0 False\n"


# Words


def test_a_machine_in_words():
    assert machine(RTX_4090).summary == "NVIDIA GeForce RTX 4090 (24 GiB, SM 8.9)"
    assert machine(T4, H200).summary == "Tesla T4 (15 GiB, SM 7.5); the first of 2 cards, CUDA_VISIBLE_DEVICES names another"
    assert machine().summary == "no GPU; EPYC, 2 cores, 24 GiB"
    assert machine(note="UNSLOTH_FORCE_CPU=1 hides it").summary == "no GPU (UNSLOTH_FORCE_CPU=1 hides it); EPYC, 2 cores, 24 GiB"


def test_a_containers_memory_limit_counts_and_a_missing_one_does_not(tmp_path: Path):
    whole = hardware._memory_bytes(())
    (tmp_path / "max").write_text("max\n", encoding="utf-8")
    (tmp_path / "limit").write_text(f"{GIB // 8}\n", encoding="utf-8")
    assert hardware._memory_bytes((str(tmp_path / "max"), str(tmp_path / "gone"))) == whole
    assert hardware._memory_bytes((str(tmp_path / "max"), str(tmp_path / "limit"))) == GIB // 8


def test_free_disk_is_asked_of_the_nearest_folder_that_exists(tmp_path: Path):
    assert hardware.disk_free_bytes(tmp_path / "a" / "b" / "c") > 0
    assert not (tmp_path / "a").exists()
