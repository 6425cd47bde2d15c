"""What counts as the same model, in numbers; and that llama.cpp finds a GGUF of another one."""

from __future__ import annotations

import json
import math
import os
import shutil

import pytest
from safetensors.torch import load_file, save_file

from tests.export import adapters, runs
from unsloth_ft.chat import Chat, load_tokenizer
from unsloth_ft.data.conversation import Message
from unsloth_ft.errors import MachineError
from unsloth_ft.export import in_llamacpp as gguf_in_llamacpp
from unsloth_ft.export import llamacpp, proof, references
from unsloth_ft.export.gguf import write_gguf
from unsloth_ft.export.llamacpp import Completion
from unsloth_ft.export.merged import merge
from unsloth_ft.export.proof import LIMITS, Limits, Reference, agree, agreement, divergence, limits, near_tie, probabilities, stops

QUESTIONS = ("What is LoRA?", "Name three rivers in Asia.", "def f(x):\n  return", "Wie spät ist es?")
LONGEST = 8
END = (2,)


# -- agreement of two answers


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        ([], [], 1.0),
        ([5], [], 0.0),
        ([], [5], 0.0),
        ([1, 2, 3, 4], [1, 2, 3, 4], 1.0),
        ([1, 2, 3, 4], [1, 2, 9, 4], 0.5),
        ([1, 2, 3, 4], [1], 0.25),
        ([1], [1, 2, 3, 4], 0.25),
        ([9, 2, 3, 4], [1, 2, 3, 4], 0.0),
    ],
)
def test_agreement_is_the_common_beginning_over_the_longer_answer(one, other, share):
    assert agreement(one, other) == share


def reference(ids, *steps):
    """A reference whose likeliest tokens are given as {id: probability}."""
    return Reference(tuple(ids), tuple({index: math.log(share) for index, share in step.items()} for step in steps))


TWO = reference([7, 8], {7: 0.6, 9: 0.3}, {8: 0.5, 2: 0.4}, {2: 0.9, 7: 0.05})


@pytest.mark.parametrize(("one", "other"), [(0.5, math.nan), (math.nan, 0.5), (math.nan, math.nan)])
def test_a_probability_that_is_no_number_is_no_agreement(one, other):
    half = math.log(0.5)
    assert divergence({7: half, 8: one}, {7: half, 8: other}) == math.inf
    assert not probabilities("probabilities", [[{7: half, 8: other}]], [[{7: half, 8: one}]], 5.5)["ok"]


def test_gap_is_what_the_reference_prefers_its_own_token_by():
    assert TWO.gap(0, [9]) == pytest.approx(math.log(2))
    assert TWO.gap(1, END) == pytest.approx(math.log(0.5 / 0.4))
    assert TWO.gap(0, [7]) == 0.0
    assert TWO.gap(0, [12345]) == math.inf
    assert TWO.gap(3, [7]) == math.inf


def test_another_token_is_a_near_tie_up_to_the_limit():
    assert near_tie(TWO, [9, 9], end_ids=END, nats=0.7)
    assert not near_tie(TWO, [9, 9], end_ids=END, nats=0.69)


def test_an_answer_that_ends_early_is_a_near_tie_when_the_end_nearly_was():
    assert near_tie(TWO, [7], end_ids=END, nats=0.23)
    assert not near_tie(TWO, [7], end_ids=END, nats=0.22)


def test_an_answer_that_goes_on_is_judged_at_the_references_end():
    assert not near_tie(TWO, [7, 8, 7], end_ids=END, nats=2.0)
    assert near_tie(TWO, [7, 8, 7], end_ids=END, nats=2.9)


def test_the_line_says_how_many_answers_are_equal_and_how_many_part_at_a_near_tie():
    limit = Limits(agreement=0.6, near_tie_nats=0.5, divergence_nats=0.0)
    line = agree("same", [[7, 8], [7], [9, 9]], [TWO, TWO, TWO], limit, end_ids=END)
    assert line == {
        "name": "same",
        "ok": True,
        "found": "1 of 3 answers equal, 1 part at a near-tie, 66.7% of the tokens agree",
        "expected": "at least 60% of the tokens, near-ties (up to 0.5 nats) aside",
    }


@pytest.mark.parametrize(("least", "ok"), [(0.5, True), (0.51, False)])
def test_agreement_holds_at_its_bound_and_not_below(least, ok):
    limit = Limits(agreement=least, near_tie_nats=0.0, divergence_nats=0.0)
    assert agree("same", [[7, 8], [9, 9]], [TWO, TWO], limit, end_ids=END)["ok"] is ok


def test_a_missing_answer_is_a_bug_and_no_agreement():
    with pytest.raises(ValueError):
        agree("same", [[7, 8]], [TWO, TWO], LIMITS["f16"], end_ids=END)


def test_limits_of_a_comparison_are_the_coarser_sides():
    assert limits("q8_0", "float32") == LIMITS["q8_0"]
    assert limits("f16", "float32") == LIMITS["f16"]
    assert limits("f16", "bfloat16") == LIMITS["bf16"]
    assert limits("q8_0", "bfloat16") == LIMITS["q8_0"]


# -- divergence of two distributions


def logs(**shares):
    return {int(key[1:]): math.log(share) for key, share in shares.items()}


def test_divergence_of_equal_distributions_is_zero():
    same = logs(t1=0.5, t2=0.3, t3=0.1)
    assert divergence(same, dict(reversed(same.items()))) == pytest.approx(0.0, abs=1e-12)


def test_divergence_is_kullback_and_leiblers_with_the_rest_as_one_token():
    expected = 0.5 * math.log(0.5 / 0.25) + 0.3 * math.log(0.3 / 0.5) + 0.2 * math.log(0.2 / 0.25)
    assert divergence(logs(t1=0.5, t2=0.3), logs(t1=0.25, t2=0.5)) == pytest.approx(expected)


def test_a_token_that_the_other_side_does_not_list_gets_the_least_it_lists():
    expected = 0.9 * math.log(0.9 / 0.01) + 0.1 * math.log(0.1 / 0.99)
    assert divergence(logs(t1=0.9), logs(t5=0.8, t6=0.01)) == pytest.approx(expected)


# -- where answers end


@pytest.mark.parametrize(
    ("ids", "stopped", "ok"),
    [
        ((7, 8), True, True),
        ((7, 8), False, False),  # the same tokens, and no end
        ((7, 9, 9, 9), False, True),  # other tokens are the agreement's business
    ],
)
def test_equal_answers_have_to_end_alike(ids, stopped, ok):
    line = stops([Completion(ids, "", stopped)], [TWO], 4)
    assert (line["ok"], line["found"]) == (ok, f"{int(stopped)} of 1")


@pytest.mark.parametrize(("count", "ok"), [(4, True), (1, False)])
def test_other_answers_have_to_end_half_as_often(count, ok):
    answers = [Completion((9, at), "", at < count) for at in range(8)]
    line = stops(answers, [TWO] * 8, 4)
    assert (line["ok"], line["found"]) == (ok, f"{count} of 8")
    assert line["expected"] == "the 0 equal ones that stop in the merged model, and 4 in all"


def test_an_answer_cut_at_its_longest_need_not_end():
    assert stops([Completion((7, 8), "", False)], [TWO], 2)["ok"]


def test_probabilities_are_compared_token_by_token_over_all_answers():
    same, other = ({7: 0.0}, {8: 0.0}), ({7: 0.0}, {8: math.log(0.5), 9: math.log(0.5)})
    line = probabilities("same", [same, other], [same, same], 0.2)
    assert line["ok"] and line["found"] == "KL divergence 0.17 nats a token, 0.69 at most, over 4 tokens"
    assert not probabilities("same", [same, other], [same, same], 0.17)["ok"]
    with pytest.raises(ValueError):
        probabilities("same", [same[:1]], [same], 0.2)


# -- in llama.cpp


@pytest.fixture(scope="module")
def trained(family_dir, tmp_path_factory):
    """(base, merged folder, chat, prompts, the merged model's answers)."""
    folder = tmp_path_factory.mktemp("proof")
    base = runs.small_model(family_dir("smollm2"), folder / "base")
    adapter = adapters.save(adapters.peft_model(base), folder / "adapter")
    merged = merge(base, adapter, folder / "merged").folder
    chat = Chat(load_tokenizer(base))
    prompts = [chat.ids(chat.render([Message("user", text)], add_generation_prompt=True)) for text in QUESTIONS]
    answers = references.references(merged, chat, prompts, dtype="float32", device="cpu", max_new_tokens=LONGEST)
    return base, merged, chat, prompts, answers


def in_llamacpp(folder, trained, tmp_path, quantization):
    """{line's name: it} of the folder's GGUF against the merged model."""
    _, _, chat, prompts, answers = trained
    path = write_gguf(folder, tmp_path / "model.gguf", quantization=quantization).path
    checks = gguf_in_llamacpp.in_llamacpp(path, chat, prompts, answers, limit=limits(quantization, "float32"), max_new_tokens=LONGEST)
    return {line["name"]: line for line in checks}


NAMES = ["token ids in llama.cpp", "llama.cpp answers as the merged model", "probabilities in llama.cpp", "answers stop in llama.cpp"]


@pytest.mark.parametrize("quantization", ["f16", "q8_0"])
def test_a_gguf_of_the_merged_model_passes(quantization, trained, tmp_path):
    lines = in_llamacpp(trained[1], trained, tmp_path, quantization)
    assert [name for name in lines if lines[name]["ok"]] == NAMES


def test_a_gguf_of_the_base_fails(trained, tmp_path):
    lines = in_llamacpp(trained[0], trained, tmp_path, "q8_0")
    assert [name for name in NAMES if not lines[name]["ok"]] == NAMES[1:3]


def test_a_gguf_with_two_tensors_exchanged_fails(trained, tmp_path):
    wrong = shutil.copytree(trained[1], tmp_path / "wrong")
    state = load_file(wrong / "model.safetensors")
    one, other = "model.layers.0.mlp.gate_proj.weight", "model.layers.0.mlp.up_proj.weight"
    state[one], state[other] = state[other], state[one]
    save_file(state, wrong / "model.safetensors", metadata={"format": "pt"})
    lines = in_llamacpp(wrong, trained, tmp_path, "q8_0")
    assert [name for name in NAMES if not lines[name]["ok"]] == NAMES[1:3]


def test_a_gguf_that_splits_texts_by_another_rule_fails(trained, tmp_path):
    wrong = shutil.copytree(trained[1], tmp_path / "wrong")
    tokenizer = json.loads((wrong / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:500]
    (wrong / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    line = in_llamacpp(wrong, trained, tmp_path, "f16")["token ids in llama.cpp"]
    assert not line["ok"] and line["expected"] == "the tokenizer's own ids"


def test_a_file_that_llamacpp_refuses_is_a_failed_check(trained, tmp_path):
    path = write_gguf(trained[1], tmp_path / "model.gguf", quantization="q8_0").path
    os.truncate(path, path.stat().st_size // 2)
    checks = gguf_in_llamacpp.in_llamacpp(path, trained[2], trained[3], trained[4], limit=LIMITS["q8_0"], max_new_tokens=LONGEST)
    assert [(line["name"], line["ok"], line["expected"]) for line in checks] == [("opens in llama.cpp", False, "loads and answers")]


def test_a_llamacpp_that_dies_is_the_machines_and_never_a_note(trained, tmp_path, monkeypatch):
    def dies(self, ids, *, max_new_tokens):
        raise MachineError("llama.cpp ended with -9")

    path = write_gguf(trained[1], tmp_path / "model.gguf", quantization="q8_0").path
    monkeypatch.setattr(llamacpp.LlamaCpp, "generate", dies)
    with pytest.raises(MachineError, match="^llama.cpp ended with -9$"):
        gguf_in_llamacpp.in_llamacpp(path, trained[2], trained[3], trained[4], limit=LIMITS["q8_0"], max_new_tokens=LONGEST)


def test_probabilities_are_kept_for_each_step_and_for_the_end(trained):
    for answer in trained[4]:
        assert len(answer.likeliest) == len(answer.ids) + 1
        assert {len(step) for step in answer.likeliest} == {proof.LIKELIEST}
        assert all(sum(map(math.exp, step.values())) <= 1.0 + 1e-5 for step in answer.likeliest)
        # greedy: each token of the answer is its step's likeliest
        assert [max(step, key=step.get) for step in answer.likeliest[: len(answer.ids)]] == list(answer.ids)


def test_a_run_of_a_gpu_answers_on_the_cpu_of_a_machine_without_one(trained, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert references.room(trained[1], dtype="bfloat16", device="cuda") == (
        "cpu",
        "answered on the CPU: the run was trained on a GPU, and this machine has none",
    )


def test_a_model_without_room_on_the_gpu_answers_on_the_cpu(trained, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1000, 2**30))
    device, reason = references.room(trained[1], dtype="bfloat16", device="cuda")
    assert (device, reason) == ("cpu", "answered on the CPU: the 16-bit model needs 0.0 GiB, the GPU has 0.0 GiB free")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**40, 2**40))
    assert references.room(trained[1], dtype="bfloat16", device="cuda") == ("cuda", None)
