from __future__ import annotations

import base64
import json
import threading

import pytest

from tests import families, family_tokenizers, oracle
from unsloth_ft import smollm2
from unsloth_ft.errors import MachineError, UserError

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]

# From the published repositories: a rendered one-turn prompt's ids, end of the prompt only.
PROMPT_ENDS = {
    "llama31": [128006, 882, 128007, 271, 3923, 374, 279, 6864, 315, 9822, 30, 128009, 128006, 78191, 128007, 271],
    "llama32": [128006, 882, 128007, 271, 3923, 374, 279, 6864, 315, 9822, 30, 128009, 128006, 78191, 128007, 271],
    "mistral-nemo": [1, 3, 7493, 1395, 1278, 8961, 1307, 5498, 1063, 4],
    "mistral-v03": [1, 3, 2592, 1117, 1040, 6333, 1070, 5611, 29572, 4],
    "qwen25": [151644, 872, 198, 3838, 374, 279, 6722, 315, 9625, 30, 151645, 198, 151644, 77091, 198],
    "qwen3": [151644, 872, 198, 3838, 374, 279, 6722, 315, 9625, 30, 151645, 198, 151644, 77091, 198],
    "smollm2": [1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47, 2, 198, 1, 520, 9531, 198],
}


@pytest.mark.parametrize("family", families.EXPORT_FAMILIES)
def test_a_prompt_has_the_published_ids(family, family_dir):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(family_dir(family))
    ids = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True)["input_ids"]
    assert ids[-len(PROMPT_ENDS[family]) :] == PROMPT_ENDS[family]


@pytest.mark.parametrize("family", families.EXPORT_FAMILIES)
def test_every_tensor_is_loaded_and_none_is_missing(family, family_dir):
    import torch
    from transformers import AutoModelForCausalLM

    model, info = AutoModelForCausalLM.from_pretrained(family_dir(family), dtype=torch.bfloat16, output_loading_info=True)
    assert type(model).__name__ == families.SHAPES[family].architecture
    assert [list(info[kind]) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")] == [[], [], []]


def test_llama_ids_equal_those_of_its_tiktoken_file(family_dir):
    import tiktoken
    from tokenizers import Tokenizer

    ranks = family_tokenizers.tiktoken_ranks(family_tokenizers.data_file("llama_models", "llama3/tokenizer.model"))
    reference = tiktoken.Encoding("llama3", pat_str=family_tokenizers.LLAMA3_PATTERN, mergeable_ranks=ranks, special_tokens={})
    tokenizer = Tokenizer.from_file(str(family_dir("llama31") / "tokenizer.json"))
    text = "def f(x):\n    return x ** 2  # 1234567 näive 你好 🙂\r\n\t\tdon't"
    assert tokenizer.encode(text, add_special_tokens=False).ids == reference.encode(text)


def test_nemo_ids_equal_those_of_its_tekken_file(family_dir):
    import tiktoken
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(family_dir("mistral-nemo") / "tokenizer.json"))
    tekken = json.loads(oracle.tekken().read_text(encoding="utf-8"))
    ranks = {base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in tekken["vocab"][: 131072 - 1000]}
    reference = tiktoken.Encoding("tekken", pat_str=tekken["config"]["pattern"], mergeable_ranks=ranks, special_tokens={})
    text = "def f(x):\n    return x ** 2  # 1234567 näive ÉCOLE 你好 🙂\r\n\t\tdon't"
    assert tokenizer.encode(text, add_special_tokens=False).ids == [1000 + rank for rank in reference.encode(text)]


def test_mistral_ids_equal_those_of_its_sentencepiece_file(family_dir):
    from sentencepiece import SentencePieceProcessor
    from tokenizers import Tokenizer

    reference = SentencePieceProcessor()
    reference.LoadFromFile(str(family_dir("mistral-v03") / "tokenizer.model"))
    tokenizer = Tokenizer.from_file(str(family_dir("mistral-v03") / "tokenizer.json"))
    text = "def f(x):\n    return x ** 2  # 1234567 näive 你好 🙂\r\n\t\tdon't"
    assert tokenizer.encode(text, add_special_tokens=False).ids == reference.encode(text)


def test_the_same_seed_writes_the_same_weights(tmp_path):
    first = families.build("mistral-v03", tmp_path / "first", seed=3)
    second = families.build("mistral-v03", tmp_path / "second", seed=3)
    other = families.build("mistral-v03", tmp_path / "other", seed=4)
    weights = [(folder / "model.safetensors").read_bytes() for folder in (first, second, other)]
    assert weights[0] == weights[1] != weights[2]


def test_smollm2_answers_and_stops(smollm2_dir):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2_dir)
    model = AutoModelForCausalLM.from_pretrained(smollm2_dir, dtype=torch.bfloat16)
    prompt = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    ids = model.generate(**prompt, max_new_tokens=24, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(ids) == "The capital of France is Paris.<|im_end|>"


def test_smollm2_ends_with_im_end_and_pads_with_another_token(smollm2_dir):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2_dir)
    assert (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id) == (2, 1, 0, 0)
    for name in ("config.json", "generation_config.json"):
        config = json.loads((smollm2_dir / name).read_text())
        assert (config["eos_token_id"], config["bos_token_id"], config["pad_token_id"]) == (2, 1, 0)


def test_smollm2_weights_equal_those_that_transformers_reads_from_the_gguf(smollm2_dir):
    import torch
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM, GgufConfig

    source = smollm2.wheel_gguf()
    model = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    expected = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    with safe_open(smollm2_dir / "model.safetensors", "pt") as file:
        assert set(file.keys()) == set(expected)
        assert [name for name in expected if not torch.equal(file.get_tensor(name), expected[name])] == []


def test_two_processes_that_convert_at_once_share_one_folder(smollm2_dir, tmp_path, monkeypatch):
    def fast(source, folder):
        barrier.wait()
        for name in ("config.json", "tokenizer.json", "model.safetensors"):
            (folder / name).write_text("same")

    barrier = threading.Barrier(2)
    monkeypatch.setattr(smollm2, "write_files", fast)
    found = []
    threads = [threading.Thread(target=lambda: found.append(smollm2.convert_wheel(tmp_path / "model"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [tmp_path / "model"] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_failed_conversion_leaves_nothing(tmp_path, monkeypatch):
    def full(source, folder):
        (folder / "config.json").write_text("{}")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(smollm2, "write_files", full)
    with pytest.raises(MachineError, match="No space left on device"):
        smollm2.convert_wheel(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_is_not_overwritten(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not a converted SmolLM2 folder"):
        smollm2.convert_wheel(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_cache_folder_can_be_named(tmp_path, monkeypatch):
    monkeypatch.setenv("UNSLOTH_FT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(smollm2, "convert_wheel", lambda folder: folder)
    assert smollm2.cached() == tmp_path / "cache" / "SmolLM2-135M-Instruct-0.1.2-1"
