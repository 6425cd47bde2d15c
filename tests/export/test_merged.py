"""The merged model is the base plus the adapter, in 16 bits, and nothing else; or it is not there at all."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import families
from tests.export import adapters
from unsloth_ft.errors import GateError, MachineError, UserError
from unsloth_ft.export.lora import read_adapter
from unsloth_ft.export.merged import check, merge, merged_weight, parameter_count

TARGETED = re.compile(r"\.(q|k|v|o|gate|up|down)_proj\.weight$")
Q0 = "model.layers.0.self_attn.q_proj.weight"
NORM = "model.norm.weight"


@pytest.fixture(scope="module")
def tuned(family_dir, tmp_path_factory):
    """`tuned("qwen3")` → (adapter folder, the weights that PEFT's own merge gives in float32)."""
    made = {}

    def get(family="smollm2", **more):
        key = (family, str(more))
        if key not in made:
            adapted = adapters.peft_model(family_dir(family), **more)
            folder = adapters.save(adapted, tmp_path_factory.mktemp("adapter"))
            made[key] = folder, adapted.merge_and_unload().state_dict()
        return made[key]

    return get


@pytest.fixture
def base(family_dir, tmp_path):
    """A copy of SmolLM2's tiny model that a test may change."""
    return shutil.copytree(family_dir("smollm2"), tmp_path / "base")


@pytest.fixture
def adapter(tuned, tmp_path):
    """A copy of its adapter that a test may change."""
    return shutil.copytree(tuned()[0], tmp_path / "adapter")


def shard(folder: Path, parts: int) -> None:
    """The folder's weights in `parts` files with an index, as large models are published."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    weight_map = {}
    for number in range(parts):
        name = f"model-{number + 1:05}-of-{parts:05}.safetensors"
        names = sorted(state)[number::parts]
        save_file({key: state[key] for key in names}, folder / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names, name)
    index = {"metadata": {"total_size": sum(tensor.nbytes for tensor in state.values())}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def equals_peft(folder: Path, expected: dict[str, torch.Tensor]) -> None:
    """Every weight is PEFT's, rounded to bfloat16; where float32 sums in another order it may round to the neighbour."""
    for file in folder.glob("*.safetensors"):
        for name, found in load_file(file).items():
            wanted = expected[name].to(torch.bfloat16)
            assert found.dtype == torch.bfloat16, name
            assert (found == wanted).float().mean() > 0.999, name
            assert torch.allclose(found.float(), wanted.float(), rtol=2**-7, atol=1e-6), name


@pytest.mark.parametrize("family", families.FAMILIES)
def test_merge_is_pefts_own_and_changes_the_targeted_weights_only(family, family_dir, tuned, tmp_path):
    folder, expected = tuned(family)
    merged = merge(family_dir(family), folder, tmp_path / "merged")
    before, after = load_file(family_dir(family) / "model.safetensors"), load_file(tmp_path / "merged" / "model.safetensors")
    assert list(after) == list(before)
    assert {name for name in before if not torch.equal(before[name], after[name])} == {name for name in before if TARGETED.search(name)}
    assert (merged.tensors, merged.targeted, merged.changed) == (len(before), 14, 14)
    assert merged.size_bytes == sum(file.stat().st_size for file in (tmp_path / "merged").iterdir())
    equals_peft(tmp_path / "merged", expected)


@pytest.mark.parametrize("family", families.FAMILIES)
def test_config_and_tokenizer_are_the_bases_byte_for_byte(family, family_dir, tuned, tmp_path):
    merge(family_dir(family), tuned(family)[0], tmp_path / "merged")
    names = sorted(file.name for file in family_dir(family).iterdir())
    assert sorted(file.name for file in (tmp_path / "merged").iterdir()) == names
    assert [name for name in names if (tmp_path / "merged" / name).read_bytes() != (family_dir(family) / name).read_bytes()] == [
        "model.safetensors"
    ]


def test_rslora_scales_by_the_root_of_r(family_dir, tuned, tmp_path):
    folder, expected = tuned("smollm2", use_rslora=True)
    assert read_adapter(folder).scale == 8 / 4**0.5
    merge(family_dir("smollm2"), folder, tmp_path / "merged")
    equals_peft(tmp_path / "merged", expected)


@pytest.mark.parametrize("parts", [1, 3])
def test_a_sharded_base_gives_the_same_shards_and_an_index_that_transformers_reads(parts, base, tuned, tmp_path):
    from transformers import AutoModelForCausalLM

    shard(base, parts)
    folder, expected = tuned()
    merge(base, folder, tmp_path / "merged")
    index, before = (
        json.loads((path / "model.safetensors.index.json").read_text(encoding="utf-8")) for path in (tmp_path / "merged", base)
    )
    assert index == before
    equals_peft(tmp_path / "merged", expected)
    loaded, report = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.bfloat16, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert torch.equal(loaded.state_dict()[Q0], load_file(next(tmp_path.glob(f"merged/{index['weight_map'][Q0]}")))[Q0])


def test_a_float32_base_leaves_in_bfloat16_and_its_config_says_so(base, tuned, tmp_path):
    state = {name: tensor.float() + 1e-5 for name, tensor in load_file(base / "model.safetensors").items()}
    save_file(state, base / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (base / "config.json").write_text(json.dumps(config | {"torch_dtype": "float32"}), encoding="utf-8")
    merge(base, tuned()[0], tmp_path / "merged")
    after = load_file(tmp_path / "merged" / "model.safetensors")
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    assert torch.equal(after[NORM], state[NORM].to(torch.bfloat16))
    assert json.loads((tmp_path / "merged" / "config.json").read_text(encoding="utf-8")) == config | {"torch_dtype": "bfloat16"}


def test_a_float16_base_stays_float16(base, tuned, tmp_path):
    state = {name: tensor.to(torch.float16) for name, tensor in load_file(base / "model.safetensors").items()}
    save_file(state, base / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    del config["torch_dtype"]
    (base / "config.json").write_text(json.dumps(config), encoding="utf-8")
    merge(base, tuned()[0], tmp_path / "merged")
    assert {tensor.dtype for tensor in load_file(tmp_path / "merged" / "model.safetensors").values()} == {torch.float16}
    assert json.loads((tmp_path / "merged" / "config.json").read_text(encoding="utf-8"))["torch_dtype"] == "float16"


def test_update_is_added_in_float32_and_rounded_once():
    weight = torch.full((2, 3), 1.0, dtype=torch.bfloat16)
    # 1 + 2^-8 + 2^-9 rounds up to 1 + 2^-7; in bfloat16 sums 2^-8 alone would be lost in a tie to even
    a, b = torch.tensor([[2.0**-8] * 3, [2.0**-9] * 3]), torch.ones(2, 2)
    assert torch.equal(merged_weight(weight, a, b, 1.0), torch.full((2, 3), 1 + 2**-7, dtype=torch.bfloat16))
    assert torch.equal(weight, torch.ones(2, 3, dtype=torch.bfloat16))


def test_parameters_are_counted_from_the_headers(family_dir):
    assert parameter_count(family_dir("smollm2")) == sum(
        tensor.numel() for tensor in load_file(family_dir("smollm2") / "model.safetensors").values()
    )


def test_progress_counts_every_tensor(base, tuned, tmp_path):
    seen = []
    merge(base, tuned()[0], tmp_path / "merged", on_tensor=lambda done, total: seen.append((done, total)))
    assert seen == [(number, 20) for number in range(1, 21)]


def test_an_adapter_that_learned_nothing_merges_into_the_base(base, adapter, tmp_path):
    adapters.change_weights(adapter, lambda state: [state[name].zero_() for name in state if "lora_B" in name])
    merged = merge(base, adapter, tmp_path / "merged")
    assert (merged.targeted, merged.changed) == (14, 0)
    assert (tmp_path / "merged" / "config.json").read_bytes() == (base / "config.json").read_bytes()


# -- refused before a byte is written


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"use_dora": True}, "use_dora = True; the merge knows plain LoRA only (False)."),
        ({"peft_type": "LOHA"}, "peft_type = 'LOHA'; the merge knows plain LoRA only ('LORA')."),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save = ['lm_head']; the merge knows plain LoRA only."),
        ({"rank_pattern": {"q_proj": 8}}, "rank_pattern = {'q_proj': 8}; the merge knows plain LoRA only."),
        ({"alpha_pattern": {"q_proj": 8}}, "alpha_pattern = {'q_proj': 8}; the merge knows plain LoRA only."),
        ({"bias": "lora_only"}, "bias = 'lora_only'; the merge knows plain LoRA only ('none')."),
        ({"fan_in_fan_out": True}, "fan_in_fan_out = True; the merge knows plain LoRA only (False)."),
        ({"trainable_token_indices": [5]}, "trainable_token_indices = [5]; the merge knows plain LoRA only."),
        (
            {"init_lora_weights": "pissa"},
            "init_lora_weights = 'pissa'; the merge knows plain LoRA only (True or False or 'gaussian' or 'orthogonal').",
        ),
        ({"r": 0}, "r = 0, lora_alpha = 8; expected a whole number from 1 and a number."),
    ],
)
def test_what_is_no_plain_lora_is_refused(values, said, adapter):
    adapters.change_config(adapter, **values)
    with pytest.raises(UserError) as caught:
        read_adapter(adapter)
    assert str(caught.value) == f"adapter: adapter_config.json says {said}"


def test_a_rank_that_is_not_the_tensors_is_refused(adapter):
    adapters.change_config(adapter, r=8)
    with pytest.raises(
        UserError, match=r"adapter: model\.layers\.0\.\S+ has A \(4, \d+\) and B \(\d+, 4\); expected r = 8, as in adapter_config\.json\."
    ):
        read_adapter(adapter)


def test_tensors_that_a_merge_would_lose_are_refused(adapter):
    adapters.change_weights(adapter, lambda state: state.update({"base_model.model.lm_head.weight": torch.zeros(2, 2)}))
    with pytest.raises(UserError, match="^adapter: 1 tensors in the adapter belong to no LoRA pair; they would be lost in a merge.$"):
        read_adapter(adapter)


def test_half_a_pair_is_refused(adapter):
    adapters.change_weights(adapter, lambda state: state.pop(next(name for name in state if "lora_B" in name)))
    with pytest.raises(UserError, match="^adapter: 1 tensors in the adapter belong to no LoRA pair"):
        read_adapter(adapter)


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_damaged_adapter_config_is_refused(content, adapter):
    (adapter / "adapter_config.json").write_text(content)
    with pytest.raises(UserError, match=r"^adapter: adapter_config\.json is not JSON \("):
        read_adapter(adapter)


def test_a_truncated_adapter_is_refused(adapter):
    os.truncate(adapter / "adapter_model.safetensors", 5000)
    with pytest.raises(UserError, match=r"^adapter_model\.safetensors is not a whole safetensors file \("):
        read_adapter(adapter)


def test_a_folder_without_an_adapter_is_refused(tmp_path):
    with pytest.raises(UserError, match="no adapter_config.json and adapter_model.safetensors in it; expected a PEFT adapter"):
        read_adapter(tmp_path)


def test_an_adapter_of_another_model_is_refused_by_its_shapes(tuned, base, tmp_path):
    with pytest.raises(UserError) as caught:
        merge(base, tuned("qwen3")[0], tmp_path / "merged")
    assert str(caught.value) == (
        "model.layers.0.self_attn.k_proj: the base's weight has the shape (32, 64) and the adapter's update (64, 64): "
        "the adapter was trained on another model."
    )
    assert not (tmp_path / "merged").exists() and not (tmp_path / ".merged.partial").exists()


def test_an_adapter_of_a_deeper_model_is_refused_by_its_names(adapter, base, tmp_path):
    def deeper(state):
        for name in [name for name in state if "layers.1." in name]:
            state[name.replace("layers.1.", "layers.7.")] = state.pop(name)

    adapters.change_weights(adapter, deeper)
    with pytest.raises(UserError) as caught:
        merge(base, adapter, tmp_path / "merged")
    assert str(caught.value) == (
        "the base has no weight for 7 of 14 adapted modules, model.layers.7.mlp.down_proj the first: "
        "the adapter was trained on another model."
    )


def test_a_base_in_eight_bits_is_refused_by_name(base, adapter, tmp_path):
    state = load_file(base / "model.safetensors")
    save_file(state | {Q0: state[Q0].to(torch.float8_e4m3fn)}, base / "model.safetensors")
    with pytest.raises(UserError, match=rf"^model\.safetensors: {Q0} is stored as F8_E4M3; expected bfloat16, float16 or float32\.$"):
        merge(base, adapter, tmp_path / "merged")


def test_a_truncated_base_is_refused(base, adapter, tmp_path):
    os.truncate(base / "model.safetensors", 100_000)
    with pytest.raises(UserError, match=r"^model\.safetensors is not a whole safetensors file \("):
        merge(base, adapter, tmp_path / "merged")


# -- gates: nothing is left behind, and what was there before stays


def everything(folder: Path) -> dict[str, bytes]:
    return {os.fspath(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def earlier(base, tuned, tmp_path):
    """out/ with an export of before, and its bytes."""
    merge(base, tuned()[0], tmp_path / "out" / "merged")
    return tmp_path / "out", everything(tmp_path / "out")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_end_the_merge(value, base, adapter, earlier):
    out, before = earlier
    adapters.change_weights(adapter, lambda state: state["base_model.model.model.layers.1.mlp.up_proj.lora_B.weight"].fill_(value))
    with pytest.raises(GateError) as caught:
        merge(base, adapter, out / "merged")
    assert (
        str(caught.value) == "model.safetensors: model.layers.1.mlp.up_proj.weight holds values that are no finite numbers after the merge."
    )
    assert everything(out) == before


def test_an_update_that_rounds_away_is_no_merge(base, adapter, earlier):
    out, before = earlier
    adapters.change_weights(adapter, lambda state: [state[name].mul_(1e-12) for name in state if "lora_B" in name])
    with pytest.raises(GateError) as caught:
        merge(base, adapter, out / "merged")
    assert str(caught.value) == (
        "merged: the merged weights equal the base's after rounding to 16 bits: the adapter's update is too small to survive the merge. "
        "Train longer, or with a higher learning_rate; or serve the adapter unmerged."
    )
    assert everything(out) == before


def test_a_full_disk_is_the_machines_and_keeps_the_export_of_before(base, adapter, earlier):
    out, before = earlier
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))  # a write past it fails, as on a full disk
    try:
        with pytest.raises(MachineError) as caught:
            merge(base, adapter, out / "merged")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value) == "merged: can't be written (File too large); about 0.0 GiB are needed. Free some space and export again."
    assert everything(out) == before


def test_a_merge_after_one_that_was_killed_finds_the_export_and_clears_the_rest(base, adapter, earlier):
    out, before = earlier
    # as a kill between the two renames leaves it
    os.rename(out / "merged", out / ".merged.previous")
    (out / ".merged.partial").mkdir()
    (out / ".merged.partial" / "model.safetensors").write_bytes(b"half")
    adapters.change_weights(adapter, lambda state: [state[name].mul_(1e-12) for name in state if "lora_B" in name])
    with pytest.raises(GateError):
        merge(base, adapter, out / "merged")
    assert everything(out) == before


def test_a_new_merge_replaces_the_folder_of_before(base, adapter, earlier):
    out, before = earlier
    (out / "merged" / "stray.txt").write_text("from before")
    merge(base, adapter, out / "merged")
    assert everything(out) == before


# -- what check() finds


def zeroed(state):
    state[Q0].zero_()


def transposed(state):
    state[Q0] = state[Q0].T.contiguous()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (zeroed, f"{Q0} was not written as it was computed: 4,096 of 4,096 values differ."),
        (transposed, f"{Q0} was not written as it was computed: "),
        (lambda state: state.update({Q0: state[Q0].reshape(32, 128)}), f"{Q0} was written with the shape (32, 128); expected (64, 64)."),
        (lambda state: state.update({Q0: state[Q0].to(torch.float16)}), f"{Q0} was written as torch.float16; expected torch.bfloat16."),
        (lambda state: state[NORM].mul_(2), f"{NORM} was not written as it was computed: 64 of 64 values differ."),
        (lambda state: state[NORM][:1].fill_(float("nan")), f"{NORM} holds values that are no finite numbers after the merge."),
        (lambda state: state.pop(NORM), f"{NORM} is missing (1 missing, 0 too many)."),
        (lambda state: state.update(extra=state[NORM].clone()), "extra is none of the base's (0 missing, 1 too many)."),
    ],
)
def test_a_changed_tensor_is_found(change, said, base, adapter, earlier):
    merged = earlier[0] / "merged"
    state = load_file(merged / "model.safetensors")
    change(state)
    save_file(state, merged / "model.safetensors")
    with pytest.raises(GateError) as caught:
        check(base, read_adapter(adapter), merged)
    assert str(caught.value).startswith(f"model.safetensors: {said}")


def test_the_base_in_place_of_the_merged_model_is_found(base, adapter, earlier):
    merged = earlier[0] / "merged"
    shutil.copyfile(base / "model.safetensors", merged / "model.safetensors")
    with pytest.raises(GateError) as caught:
        check(base, read_adapter(adapter), merged)
    assert re.fullmatch(
        r"model\.safetensors: model\.layers\.\S+_proj\.weight is the base's weight; the adapter's update is not in it\.", str(caught.value)
    )


def test_a_truncated_file_is_found(base, adapter, earlier):
    merged = earlier[0] / "merged"
    os.truncate(merged / "model.safetensors", (merged / "model.safetensors").stat().st_size - 2)
    with pytest.raises(GateError, match=r"^the merged model\.safetensors is not a whole safetensors file \("):
        check(base, read_adapter(adapter), merged)


@pytest.mark.parametrize("damage", ["missing", "wrong"])
def test_an_index_that_leads_nowhere_is_found(damage, base, adapter, tmp_path):
    shard(base, 2)
    merge(base, adapter, tmp_path / "merged")
    index = tmp_path / "merged" / "model.safetensors.index.json"
    index.unlink()
    if damage == "wrong":
        index.write_text('{"weight_map": {}}')
    with pytest.raises(GateError, match="^merged: model.safetensors.index.json is missing or does not name each tensor's file.$"):
        check(base, read_adapter(adapter), tmp_path / "merged")


# -- memory

MEASURE = """
import sys
from pathlib import Path
from unsloth_ft.export.merged import merge

def kib(field):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field))

small, big, out = map(Path, sys.argv[1:])
merge(small / "base", small / "adapter", out / "small")
open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
before = kib("VmRSS")
merge(big / "base", big / "adapter", out / "big")
print(kib("VmHWM") - before)
"""


def synthetic(folder: Path, *, width: int, count: int) -> Path:
    """A base of `count` square matrices in one file, and an adapter for each."""
    (folder / "base").mkdir(parents=True)
    (folder / "adapter").mkdir()
    (folder / "base" / "config.json").write_text('{"torch_dtype": "bfloat16"}')
    (folder / "adapter" / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 2}')
    one = torch.full((width, width), 0.5, dtype=torch.bfloat16)
    save_file({f"layers.{number}.q_proj.weight": one.clone() for number in range(count)}, folder / "base" / "model.safetensors")
    pairs = {
        f"base_model.model.layers.{number}.q_proj.lora_{side}.weight": torch.ones(shape)
        for number in range(count)
        for side, shape in (("A", (2, width)), ("B", (width, 2)))
    }
    save_file(pairs, folder / "adapter" / "adapter_model.safetensors")
    return folder


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measured with Linux's /proc")
def test_memory_is_that_of_a_tensor_not_of_the_model(tmp_path):
    small, big = synthetic(tmp_path / "small", width=64, count=2), synthetic(tmp_path / "big", width=2048, count=36)
    assert (big / "base" / "model.safetensors").stat().st_size > 300e6
    done = subprocess.run([sys.executable, "-c", MEASURE, small, big, tmp_path / "out"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # the weight, the merged one and a comparison of both, in float32 at most: 5 times 16.8 MB, and what the adapters take
    assert int(done.stdout) * 1024 < 1.5 * 5 * 4 * 2048**2
