"""llama.cpp itself on the exported files: the same ids, the same answers, the same probabilities as transformers."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import sys
import unicodedata
from pathlib import Path

import pytest

from tests import families
from unsloth_ft.errors import MachineError, UserError
from unsloth_ft.export import gguf_tensors, gguf_vocab
from unsloth_ft.export.gguf import write_gguf
from unsloth_ft.export.llamacpp import LlamaCpp as AnyLlamaCpp

PROBES = (
    "Hello world",
    "  two  spaces   three    four",
    " leading and trailing ",
    "def f(x):\n    return x ** 2  # square\n",
    "for (int i = 0; i < 10; ++i) { a[i] += b[i]; }",
    "\t\ttabs\tand\t spaces",
    "one\n\ntwo\n\n\nthree\r\nfour\n",
    "\n",
    " \n \n",
    "0 12 345 6789 1234567890",
    "3.14159 1,000,000 2026-11-23 0x1F",
    "don't I'll we've they're IT'S",
    "naïve café Ångström Übergröße señor",
    "你好，世界！这是一个测试。",
    "日本語のテキストと カタカナ",
    "한국어 문장입니다.",
    "Привет, мир! Как дела?",
    "مرحبا بالعالم",
    "🙂🚀👨‍👩‍👧‍👦 🏳️‍🌈 ✅",
    "x² + y³ ≠ ∑√∞ €£¥",
    '{"key": ["value", 1, null], "nested": {"a": true}}',
    "https://example.com/path?query=1&other=%20#top",
    "CamelCaseWords snake_case_words kebab-case-words SHOUTING",
    "e\u0000f \u200b zero\u00a0width",
    "!!!???...;;;---___***",
)
CHATS = (
    [{"role": "user", "content": "What is 12 + 345?"}],
    [
        {"role": "user", "content": "Hi  there"},
        {"role": "assistant", "content": "Hello!\n\nHow can I help?"},
        {"role": "user", "content": "写一首诗 🙂"},
    ],
    [{"role": "system", "content": "Answer in one word."}, {"role": "user", "content": "def f(x):\n    return x"}],
)
STEPS = 16
LlamaCpp = functools.partial(AnyLlamaCpp, threads=1)  # tiny models: on a busy machine llama.cpp's threads wait for each other
# Share of steps at which the likeliest token is the same, teacher-forced, and the largest difference of its log-probability. Measured
# on these models: f32 1.0 and 0.0000, f16 1.0 and 0.02, bf16 0.96 and 0.26, q8_0 0.81 and 1.01 (llama.cpp rounds the activations to
# the weights' type as well, and a model 64 wide has little to average over and many near-ties).
AGREEMENT = {"f16": (0.9, 0.05), "bf16": (0.8, 0.5), "q8_0": (0.6, 2.0)}


@pytest.fixture(scope="session")
def hf(family_dir):
    """`hf("qwen3")` → tokenizer, model in float32, prompts as ids, and the greedy continuation of each."""

    @functools.cache
    def get(family):
        from transformers import AutoTokenizer

        folder = family_dir(family)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = load(folder)
        texts = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in CHATS]
        prompts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        return tokenizer, model, texts, prompts, [greedy(model, prompt) for prompt in prompts]

    return get


def alone(family, text):
    """Mistral's tokenizer puts a space before a text that begins without one. llama.cpp can do so nowhere or after every special
    token, which in a chat would be wrong; so there a text that stands alone lacks it."""
    return " " + text if family == "mistral-v03" and not text.startswith(" ") else text


def load(folder):
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def greedy(model, prompt, steps=STEPS):
    import torch

    found = model.generate(torch.tensor([prompt]), max_new_tokens=steps, do_sample=False, repetition_penalty=1.0)
    return found[0, len(prompt) :].tolist()


@pytest.fixture(scope="module", params=families.FAMILIES)
def exact(request, family_gguf, hf):
    """(family, its float32 file in llama.cpp, what `hf` gives), for the tests that want exact equality."""
    with LlamaCpp(family_gguf(request.param, "f32")) as llama:
        yield request.param, llama, hf(request.param)


def test_llama_cpp_makes_the_ids_that_the_tokenizer_makes(exact):
    family, llama, (tokenizer, _, texts, prompts, _) = exact
    wanted = {text: tokenizer(text, add_special_tokens=False)["input_ids"] for text in PROBES}
    found = {text: llama.tokenize(alone(family, text)) for text in PROBES}
    assert {text: ids for text, ids in found.items() if ids != wanted[text]} == {}
    assert [llama.tokenize(text) for text in texts] == prompts


def test_greedy_answers_equal_those_of_transformers(exact):
    _, llama, (_, _, _, prompts, answers) = exact
    assert [list(llama.generate(prompt, STEPS).ids) for prompt in prompts] == answers


def test_probabilities_in_float32_are_those_of_transformers(exact):
    _, llama, (_, model, _, prompts, answers) = exact
    assert agreement(llama, model, prompts[1], answers[1]) == (1.0, pytest.approx(0.0, abs=1e-3))


@pytest.mark.parametrize("quantization", ["f16", "bf16", "q8_0"])
@pytest.mark.parametrize("family", families.FAMILIES)
def test_probabilities_are_those_of_transformers_up_to_rounding(family, quantization, family_gguf, hf):
    _, model, _, prompts, answers = hf(family)
    with LlamaCpp(family_gguf(family, quantization)) as llama:
        same, largest = agreement(llama, model, prompts[1], answers[1])
    assert same >= AGREEMENT[quantization][0]
    assert largest <= AGREEMENT[quantization][1]


def agreement(llama, model, prompt, answer):
    """(share of the answer's steps with the same likeliest token, largest difference of that token's log-probability)"""
    import torch

    ids = prompt + answer
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    same, differences = [], []
    for position in range(len(prompt), len(ids)):
        ((token, logprob),) = llama.next_logprobs(ids[:position], count=1).items()
        same.append(token == ids[position])
        differences.append(abs(logprob - float(expected[position - 1, token])))
    return sum(same) / len(same), max(differences)


def test_unnormalized_text_is_the_one_known_difference_of_qwen(family_gguf, hf):
    """Qwen's tokenizer normalizes to NFC first, llama.cpp never does: `é` as two characters gets other ids."""
    tokenizer = hf("qwen25")[0]
    text = unicodedata.normalize("NFD", "café")
    with LlamaCpp(family_gguf("qwen25", "f32")) as llama:
        assert llama.tokenize(text) != tokenizer(text)["input_ids"]
        assert llama.tokenize(unicodedata.normalize("NFC", text)) == tokenizer(text)["input_ids"]


def test_mistral_without_its_sentencepiece_file_gets_the_same_ids(family_dir, tmp_path, hf):
    folder = copy(family_dir("mistral-v03"), tmp_path / "model")
    (folder / "tokenizer.model").unlink()
    tokenizer, _, texts, prompts, _ = hf("mistral-v03")
    file = write_gguf(folder, tmp_path / "ranks.gguf", quantization="q8_0")
    with LlamaCpp(file.path) as llama:
        found = [llama.tokenize(alone("mistral-v03", text)) for text in PROBES]
        assert [llama.tokenize(text) for text in texts] == prompts
    assert found == [tokenizer(text, add_special_tokens=False)["input_ids"] for text in PROBES]


def test_the_rule_of_mistral_nemo_cuts_as_its_pattern_says(family_dir, tmp_path):
    """Nemo's pre-tokenizer (`tekken`) on another vocabulary: only the cutting is tested."""
    from tokenizers import Tokenizer

    folder = copy(family_dir("llama31"), tmp_path / "model")
    rule = next(rule for rule in gguf_vocab.RULES if rule.name == "tekken")
    pattern = rule.steps[0].removeprefix("split ")
    edit(folder / "tokenizer.json", lambda value: value["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(Regex=pattern))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    with LlamaCpp(write_gguf(folder, tmp_path / "tekken.gguf", quantization="q8_0").path) as llama:
        found = {text: llama.tokenize(text) for text in PROBES}
    assert {text: ids for text, ids in found.items() if ids != tokenizer.encode(text, add_special_tokens=False).ids} == {}


# Rotation frequencies are scaled past 32 trained positions, so that a prompt of some 100 tokens shows it.
VARIANTS = {
    "rope scaling llama3": {
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        }
    },
    "rope scaling linear": {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "rope scaling yarn": {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}},
    "as transformers 5 writes it": {
        "rope_scaling": None,
        "rope_theta": None,
        "rope_parameters": {"rope_theta": 500.0, "rope_type": "default"},
    },
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_rope_settings_reach_llama_cpp(variant, family_dir, tmp_path, hf):
    folder = copy(family_dir("smollm2"), tmp_path / "model")
    edit(folder / "config.json", lambda config: config.update(VARIANTS[variant]))
    plain = hf("smollm2")[1]
    prompt = hf("smollm2")[3][1] * 3
    wanted = greedy(load(folder), prompt)
    with LlamaCpp(write_gguf(folder, tmp_path / "model.gguf", quantization="f32").path) as llama:
        assert list(llama.generate(prompt, STEPS).ids) == wanted
    assert wanted != greedy(plain, prompt)  # or the setting would not have been tested


def test_a_missing_permutation_is_noticed(family_dir, tmp_path, hf, monkeypatch):
    monkeypatch.setattr(gguf_tensors, "permute", lambda weight, heads: weight)
    _, _, _, prompts, answers = hf("smollm2")
    with LlamaCpp(write_gguf(family_dir("smollm2"), tmp_path / "broken.gguf", quantization="f32").path) as llama:
        assert list(llama.generate(prompts[0], STEPS).ids) != answers[0]


def test_a_wrong_splitting_rule_is_noticed(family_dir, tmp_path, hf, monkeypatch):
    qwen2 = next(rule for rule in gguf_vocab.RULES if rule.name == "qwen2")
    monkeypatch.setattr(gguf_vocab, "splitting_rule", lambda tokenizer, where: qwen2)
    tokenizer = hf("llama31")[0]
    text = "0 12 345 6789"
    with LlamaCpp(write_gguf(family_dir("llama31"), tmp_path / "broken.gguf", quantization="q8_0").path) as llama:
        assert llama.tokenize(text) != tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.fixture(scope="module")
def real(smollm2_dir, tmp_path_factory):
    """The real SmolLM2 in bf16, as published weights are."""
    return write_gguf(smollm2_dir, tmp_path_factory.mktemp("real") / "smollm2.gguf", quantization="bf16").path


QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def test_the_real_model_answers_and_stops(real, smollm2_dir):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2_dir)
    prompt = tokenizer.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True)
    with LlamaCpp(real) as llama:
        completion = llama.generate(prompt, 24)
        assert completion.text == "The capital of France is Paris."
        assert tokenizer.decode(completion.ids) == completion.text
        assert completion.stopped
        assert not llama.generate(prompt, 3).stopped
        assert llama.chat(QUESTION) == "The capital of France is Paris."


def test_the_real_tokenizer_makes_the_ids_of_the_published_gguf(smollm2_dir):
    from tokenizers import Tokenizer

    from unsloth_ft import smollm2

    tokenizer = Tokenizer.from_file(str(smollm2_dir / "tokenizer.json"))
    texts = (*PROBES, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    with LlamaCpp(smollm2.wheel_gguf()) as llama:
        assert [llama.tokenize(text) for text in texts] == [tokenizer.encode(text).ids for text in texts]


@pytest.mark.skipif(sys.platform != "linux", reason="reads the sockets of a process from /proc")
def test_llama_cpp_is_quiet_and_opens_no_network_socket(family_gguf, capfd):
    with LlamaCpp(family_gguf("smollm2", "f32")) as llama:
        llama.generate("Hello", 4)
        process = Path("/proc") / str(llama.process.pid)
        links = [os.readlink(link) for link in (process / "fd").iterdir()]
        sockets = {link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:")}
        tables = [(process / "net" / name).read_text().splitlines()[1:] for name in ("tcp", "tcp6", "udp", "udp6")]
    assert sockets
    assert sockets & {line.split()[9] for table in tables for line in table} == set()
    assert llama.process.returncode == 0
    assert capfd.readouterr() == ("", "")


def test_an_aborted_llama_cpp_does_not_take_this_process_with_it(family_gguf):
    with LlamaCpp(family_gguf("smollm2", "f32")) as llama:
        llama.process.send_signal(signal.SIGABRT)  # what a failed assertion inside llama.cpp does
        with pytest.raises(MachineError, match="llama.cpp ended with -6"):
            llama.tokenize("Hello")


def test_a_llama_cpp_that_does_not_answer_is_ended(family_gguf):
    with LlamaCpp(family_gguf("smollm2", "f32")) as llama:
        llama.process.send_signal(signal.SIGSTOP)
        llama.timeout_seconds = 0.2
        with pytest.raises(MachineError, match="llama.cpp did not answer within 0.2 seconds"):
            llama.tokenize("Hello")
    assert llama.process.returncode == -signal.SIGKILL


def test_a_file_that_llama_cpp_can_not_load_is_refused(family_gguf, tmp_path):
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(family_gguf("smollm2", "f32").read_bytes()[:5_000_000])
    with (
        pytest.raises(UserError, match=r"(?s)cut.gguf: llama.cpp does not load it\. Its last lines:\n.*data is not within the file bounds"),
        LlamaCpp(cut),
    ):
        pass
    with pytest.raises(UserError, match="none.gguf: not found"), LlamaCpp(tmp_path / "none.gguf"):
        pass


def test_a_prompt_longer_than_the_context_is_refused(family_gguf):
    with LlamaCpp(family_gguf("smollm2", "f32"), context_length=256) as llama, pytest.raises(UserError, match=r"300 tokens\) exceeds"):
        llama.generate([100] * 300, 1)


def test_without_xllamacpp_the_way_out_is_named(family_gguf, monkeypatch):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(MachineError, match="pip install xllamacpp"), LlamaCpp(family_gguf("smollm2", "f32")):
        pass


def copy(folder, target):
    return shutil.copytree(folder, target)


def edit(path, change):
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")
