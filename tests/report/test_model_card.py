from __future__ import annotations

import ast
import re

import pytest
import yaml

from tests.report.sample import sample_directory, sample_record
from unsloth_ft.errors import UserError
from unsloth_ft.report import model_card


def front(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def without(*keys: str) -> dict:
    return {key: value for key, value in sample_record().items() if key not in keys}


def test_the_card_stands_in_the_adapter_folder_with_front_matter(tmp_path):
    directory = sample_directory(tmp_path)
    path = model_card.write(directory, sample_record())
    assert path == directory.adapter / "README.md"
    assert front(path.read_text(encoding="utf-8")) == {
        "base_model": "meta-llama/Llama-3.1-8B-Instruct",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["base_model:adapter:meta-llama/Llama-3.1-8B-Instruct", "lora", "unsloth-ft"],
    }


def test_a_folder_is_no_base_model_id_and_a_known_license_is_named():
    record = sample_record()
    record["base_model"] |= {"model": "my-llama", "license": "llama3.1"}
    assert front(model_card.card(record)) == {
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "license": "llama3.1",
        "tags": ["lora", "unsloth-ft"],
    }


def test_without_an_adapter_there_is_no_card(tmp_path):
    directory = sample_directory(tmp_path)
    (directory.adapter / "adapter_model.safetensors").unlink()
    directory.adapter.rmdir()
    with pytest.raises(UserError, match="^faq: no adapter/ to write a model card for; expected a trained run"):
        model_card.write(directory, sample_record())
    assert not directory.adapter.exists()


def test_results_stand_before_and_after_with_their_interval():
    card = model_card.card(sample_record()).replace("\N{NO-BREAK SPACE}", " ")
    assert "**better**: The loss on 57 held-out rows fell from 2.3142 to 0.6510 nats a token" in card
    assert "nats a token (−1.6632, 95 % interval −1.8010 to −1.5214)." in card
    for row in (
        "| loss | 2.3142 | 0.6510 |",
        "| token F1 | 23.4% | 87.0% |",
        "| exact match | 0.0% | 58.3% |",
        "| stopped by itself | 41.7% | 100.0% |",
    ):
        assert row in card
    assert "The checkpoint was chosen by its loss on these same rows" in card


def test_data_is_named_by_file_rows_and_hash():
    card = model_card.card(sample_record())
    assert f"| faq.jsonl | 441 | `fa9{'0' * 61}` |" in card
    assert (
        f"512 training rows (sha256 `{'7a' * 32}`), 57 held out (sha256 `{'8b' * 32}`): 10% of the rows, split by question with seed 3407."
        in card
    )


def test_training_values_and_what_was_kept_are_there():
    card = model_card.card(sample_record())
    for row in ("| `r` | 16 |", "| `learning_rate` | 0.0002 |", "| `max_seq_length` | 512 |", "| seed | 3407 |"):
        assert row in card
    assert "200 steps (3.12 epochs, stopped early) in 12 min 34 s; the checkpoint of step 150 is kept, eval loss 0.6510." in card


def test_the_snippet_is_python_with_the_base_and_its_revision():
    snippet = model_card.snippet(sample_record())
    strings = [node.value for node in ast.walk(ast.parse(snippet)) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert "meta-llama/Llama-3.1-8B-Instruct" in strings and "0e9e39f249a16976918f6564b8830bc894c89659" in strings
    assert "max_new_tokens=64, do_sample=False" in snippet


def test_the_snippet_answers_with_a_real_adapter(tmp_path, family_dir, monkeypatch, capsys):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = family_dir("qwen3")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(folder), LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    record = sample_record()
    record["base_model"] |= {"model": str(folder), "revision": None}
    record["recipe"]["values"]["chat_template_kwargs"] = {"enable_thinking": False}
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(model_card.snippet(record), "README.md", "exec"), names)
    assert type(names["model"]).__name__ == "PeftModelForCausalLM" and names["model"].active_adapter == "default"
    assert "<think>\n\n</think>" in names["tokenizer"].decode(names["inputs"]["input_ids"][0])
    assert names["inputs"]["input_ids"].shape[1] < names["output"].shape[1] <= names["inputs"]["input_ids"].shape[1] + 64
    assert capsys.readouterr().out.endswith("\n")


def test_template_arguments_of_the_recipe_are_in_the_snippet():
    record = sample_record()
    record["recipe"]["values"]["chat_template_kwargs"] = {"enable_thinking": False}
    assert "return_dict=True, enable_thinking=False)" in model_card.snippet(record)


def test_no_row_of_the_data_is_in_the_card():
    card = model_card.card(sample_record())
    for pair in sample_record()["evaluation"]["pairs"]:
        assert pair["question"] not in card and pair["expected"] not in card


def test_ollama_is_named_only_when_it_was_exported():
    assert "ollama create faq -f Modelfile\nollama run faq" in model_card.card(sample_record())
    assert "ollama" not in model_card.card(without("exports"))


def test_a_failed_check_is_in_the_card():
    assert "Checks that did not hold: gguf:q8\\_0: answers in llama.cpp. Don't use those files." in model_card.card(sample_record())
    record = sample_record()
    record["exports"]["gguf:q8_0"]["checks"][1]["ok"] = True
    assert "Every check of every export held." in model_card.card(record)


def test_limits_say_how_many_rows_were_measured():
    card = model_card.card(sample_record())
    assert (
        "Loss was measured on 57 held-out rows of the same kind as the training rows; the checkpoint was chosen on these same rows." in card
    )
    assert "measured on 12 greedy answers" in card


def test_a_run_without_comparison_claims_nothing():
    card = model_card.card(without("evaluation", "exports", "training"))
    assert "Not compared with the base model." in card
    assert "it is not known whether this is better than the base model" in card
    assert "Training is not finished." in card


def test_unasked_answers_are_not_measured_rather_than_none():
    record = sample_record()
    record["evaluation"] |= {"answers": 0, "pairs": []}
    for side in ("before", "after"):
        record["evaluation"][side] |= {"token_f1": None, "exact_match": None, "stopped": None}
    card = model_card.card(record)
    assert "| token F1 | not measured | not measured |" in card and "None" not in card


def test_hostile_names_stay_text():
    record = sample_record()
    record["name"] = "x\n---\nlicense: mit\n<script>alert(1)</script> [a](http://b)"
    record["data"]["files"][0]["name"] = "a|b`<img src=x>.jsonl"
    record["base_model"]["model"] = 'evil"\n```\n<script>'
    card = model_card.card(record)
    assert front(card) == {"library_name": "peft", "pipeline_tag": "text-generation", "tags": ["lora", "unsloth-ft"]}
    assert "<script>" not in re.sub(r"```python\n.*?```", "", card, flags=re.DOTALL)
    assert "| a\\|b\\`&lt;img src=x&gt;.jsonl | 441 |" in card
    assert "\\[a\\](http://b)" in card
    snippet = re.search(r"```python\n(.*?)```", card, flags=re.DOTALL).group(1)
    ast.parse(snippet)
