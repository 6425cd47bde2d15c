"""An export is there as it was before or whole and new, whatever happens on the way; and a merge that broke off goes on."""

from __future__ import annotations

import os
import resource

import pytest

from tests.export import adapters, merge_cases
from unsloth_ft.errors import GateError, MachineError
from unsloth_ft.export.merged import merge


@pytest.fixture
def earlier(tiny_base, tiny_adapter, tmp_path):
    """out/ with an export of before, and its bytes."""
    merge(tiny_base, tiny_adapter, tmp_path / "out" / "merged")
    return tmp_path / "out", merge_cases.everything(tmp_path / "out")


def test_a_full_disk_is_the_machines_and_keeps_the_export_of_before(tiny_base, tiny_adapter, earlier):
    out, before = earlier
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # a write past it fails, as on a full disk
    try:
        with pytest.raises(MachineError) as caught:
            merge(tiny_base, tiny_adapter, out / "merged")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value).startswith("merged: can't be written (File too large); about 0.0 GiB are needed, ")
    assert str(caught.value).endswith(" GiB are free. Free some space and export again; what is whole is kept.")
    assert merge_cases.everything(out) == before


def test_a_merge_after_one_that_was_killed_finds_the_export_and_clears_the_rest(tiny_base, tiny_adapter, earlier):
    out, before = earlier
    # as a kill between the two renames leaves it
    os.rename(out / "merged", out / ".merged.previous")
    (out / ".merged.partial").mkdir()
    (out / ".merged.partial" / "model.safetensors").write_bytes(b"half")
    adapters.change_weights(tiny_adapter, lambda state: [state[name].mul_(1e-12) for name in state if "lora_B" in name])
    with pytest.raises(GateError):
        merge(tiny_base, tiny_adapter, out / "merged")
    assert merge_cases.everything(out) == before


def test_a_new_merge_replaces_the_folder_of_before(tiny_base, tiny_adapter, earlier):
    out, before = earlier
    (out / "merged" / "stray.txt").write_text("from before")
    merge(tiny_base, tiny_adapter, out / "merged")
    assert merge_cases.everything(out) == before
