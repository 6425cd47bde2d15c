from __future__ import annotations

import html as entities
import math
import re
from pathlib import Path

import pytest

from tests.report.pages import Reader
from tests.report.sample import metrics_lines, sample_directory, sample_record
from unsloth_ft.report import html

SECTIONS = [
    "Loss curves",
    "Before and after",
    "Answers side by side",
    "Data and mask X-ray",
    "Plan",
    "Memory and time",
    "Exports",
    "What it was made with",
]



def written(tmp_path: Path, record: dict, lines: list | None = None) -> str:
    return html.write(sample_directory(tmp_path, lines), record).read_text(encoding="utf-8")


def without(*keys: str) -> dict:
    return {key: value for key, value in sample_record().items() if key not in keys}


def test_every_section_is_there_in_order_with_well_nested_tags(tmp_path):
    page = Reader(written(tmp_path, sample_record()))
    assert page.headings == ["✓ better", *SECTIONS]


def test_the_verdict_comes_with_its_numbers(tmp_path):
    text = Reader(written(tmp_path, sample_record())).text.replace("\N{NO-BREAK SPACE}", " ")
    assert "The loss on 57 held-out rows fell from 2.3142 to 0.6510 nats a token (−1.6632, 95 % interval −1.8010 to −1.5214)." in text
    for score in (
        "loss 2.3142 → to 0.6510",
        "perplexity 10.117 → to 1.918",
        "token F1 23.4% → to 87.0%",
        "exact match 0.0% → to 58.3%",
        "stopped by itself 41.7% → to 100.0%",
    ):
        assert score in text
    assert "The checkpoint was chosen by its loss on these same rows" in text


@pytest.mark.parametrize(("verdict", "words"), [("worse", "✗ worse"), ("no change", "≈ no change")])
def test_a_bad_verdict_is_said_as_plainly(tmp_path, verdict, words):
    record = sample_record()
    record["evaluation"]["verdict"] = verdict
    page = Reader(written(tmp_path, record))
    assert page.headings[0] == words
    assert ("The interval holds 0" in page.text) == (verdict == "no change")


def test_a_script_in_a_question_is_text(tmp_path):
    record = sample_record()
    for field in ("where", "question", "expected", "before", "after"):
        record["evaluation"]["pairs"][0][field] = f"</p><script>{field}()</script>"
    record["data"]["xray"]["example"]["pieces"][1]["text"] = "</mark><script>piece()</script>"
    record["data"]["files"][0]["name"] = '"><script>file()</script>.jsonl'
    record["data"]["files"][0]["sha256"] = '"onmouseover="hash()'
    record["warnings"] = ["<img src=x onerror=warning()>"]
    record["name"] = "<script>name()</script>"
    record["command"] = ["unsloth-ft", "<script>command()</script>"]
    record["plan"]["dtype"] = {"value": "<script>value()</script>", "reason": "<script>reason()</script>"}
    record["exports"]["ollama"]["notes"] = ["<script>note()</script>"]
    record["exports"]["ollama"]["checks"][0]["found"] = "<script>found()</script>"
    page = Reader(written(tmp_path, record))
    assert not [tag for tag, _ in page.elements if tag in ("script", "img", "iframe", "object", "embed", "form")]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    for call in (
        "where",
        "question",
        "expected",
        "before",
        "after",
        "piece",
        "file",
        "name",
        "command",
        "value",
        "reason",
        "note",
        "found",
    ):
        assert f"<script>{call}()</script>" in page.text


def test_control_characters_and_half_characters_become_visible(tmp_path):
    record = sample_record()
    record["evaluation"]["pairs"][0]["after"] = "a\x00b\x1b[31mc\r\nd\ud83d"
    assert "a␀b␛[31mc\nd?" in written(tmp_path, record)


def test_nothing_is_loaded_from_anywhere(tmp_path):
    text = written(tmp_path, sample_record())
    page = Reader(text)
    links = [
        (tag, value)
        for tag, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "action", "data", "srcset")
    ]
    assert all(value == "data:," or value.startswith("#") for _, value in links)
    assert "url(" not in text and "@import" not in text and "http://" not in text and "https://" not in text
    policy = next(attributes["content"] for tag, attributes in page.elements if attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def test_links_lead_to_places_on_the_page(tmp_path):
    page = Reader(written(tmp_path, sample_record()))
    places = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    named = [attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes]
    links = [attributes["href"][1:] for tag, attributes in page.elements if tag == "a"]
    assert links == ["exports", "warnings"]
    assert {*links, *named} <= places


def test_a_normal_run_fits_into_400_kilobytes(tmp_path):
    path = html.write(sample_directory(tmp_path), sample_record())
    assert 20_000 < path.stat().st_size < 400_000


def test_a_long_run_with_long_texts_fits_too(tmp_path):
    record = sample_record()
    for pair in record["evaluation"]["pairs"]:
        pair["question"] = "word " * 20_000
    lines = [{"step": step, "loss": 1 + 1 / step} for step in range(1, 20_001)] + [
        {"step": step, "eval_loss": 1.0} for step in range(0, 20_001, 10)
    ]
    text = written(tmp_path, record, lines)
    assert len(text.encode()) < 400_000
    assert "[… 99,000 characters left out …]" in text


def test_a_record_without_absolute_paths_gives_a_page_without_any(tmp_path):
    text = written(tmp_path, sample_record())
    assert str(tmp_path) not in text
    assert re.findall(r"(?<![\w<.])/(?:home|root|tmp|work|usr|var|mnt|Users)\b[^<\s]*", text) == []


def test_both_sizes_of_the_plot_show_all_200_steps(tmp_path):
    page = Reader(written(tmp_path, sample_record()))
    curves = [attributes for tag, attributes in page.elements if tag == "polyline"]
    assert [(line["class"], len(line["points"].split())) for line in curves] == [("raw", 200), ("train", 200), ("eval", 9)] * 2
    labels = [attributes["aria-label"] for tag, attributes in page.elements if tag == "svg" and "aria-label" in attributes]
    assert labels[1] == labels[2] and labels[1].startswith("Training and eval loss over 200 steps; eval loss 2.3142 at step 0, ")
    assert labels[1].endswith("; best at step 150")
    assert "best eval loss: 0.6510 at step 150" in page.text
    assert "training loss, mean of 11 lines" in page.text


def test_every_picture_is_described_or_hidden(tmp_path):
    page = Reader(written(tmp_path, sample_record()))
    for tag, attributes in page.elements:
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or (attributes["role"] == "img" and attributes["aria-label"])


def test_ten_of_the_answers_stand_side_by_side_in_order(tmp_path):
    record = sample_record()
    page = Reader(written(tmp_path, record))
    places = [page.text.index(" ".join(pair["question"].split())) for pair in record["evaluation"]["pairs"][:10]]
    assert places == sorted(places)
    assert "How long may a row be?" not in page.text
    assert (
        "The first 10 of 12 greedy answers, in the order of the held-out rows; none was picked. All of them, in full, are in"
        " eval/answers.jsonl ."
        in page.text
    )
    assert "before token F1 21.2% Gradient checkpointing is a great technique" in page.text
    assert "after token F1 73.9% It recomputes activations in the backward pass" in page.text


def test_the_example_row_marks_learned_text_and_not_by_colour_alone(tmp_path):
    text = written(tmp_path, sample_record())
    assert '<mark class="learned">The update is scaled by lora_alpha / r.&lt;|eot_id|&gt;</mark></pre>' in text
    assert 'mark.learned::before { content: "⟦"' in text
    assert "36.8% 24,117 of 65,536" in Reader(text).text


def test_rows_that_were_cut_or_dropped_are_named(tmp_path):
    record = sample_record()
    record["data"]["xray"] |= {"rows_cut": 31, "cut": [f"faq.jsonl:{line}" for line in range(1, 21)]}
    text = Reader(written(tmp_path, record)).text
    assert "faq.jsonl:19, faq.jsonl:20 and 11 more." in text
    assert "Dropped, the first answer doesn't fit: faq.jsonl:99." in text


def test_the_plan_shows_each_value_with_its_reason(tmp_path):
    text = Reader(written(tmp_path, sample_record())).text
    assert "max_seq_length 512 p95 of your rows is 402; ×1.2, rounded up" in text
    assert "load_in_4bit true recipe; QLoRA: the frozen base is held in NF4" in text
    assert "learning_rate 0.0002 recipe; peak, after the warm-up" in text
    assert "lora.target_modules q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj" in text


def test_memory_speed_and_time_have_units(tmp_path):
    text = Reader(written(tmp_path, sample_record())).text
    for words in (
        "peak memory 7.90 GiB reserved on the GPU",
        "speed 1,234 tokens/s",
        "training time 12 min 34 s",
        "trainable parameters 41,943,040 0.52% of 8,072,204,288",
    ):
        assert words in text


def test_memory_without_a_gpu_is_called_resident(tmp_path):
    record = sample_record()
    record["plan"]["device"]["value"] = "cpu"
    assert "7.90 GiB resident memory of the process, model included; no GPU" in Reader(written(tmp_path, record)).text


def test_a_failed_check_is_said_beside_the_verdict_and_in_its_table(tmp_path):
    text = Reader(written(tmp_path, sample_record())).text
    assert "1 export check did not hold: gguf:q8_0: answers in llama.cpp." in text
    assert "1 of 2 checks held; made in 3 min 34 s" in text
    assert (
        "answers in llama.cpp ✗ did not hold 11 of 20 begin alike; the first difference is at token 3 of question 4 at least 18 of 20"
        in text
    )
    assert "token ids in llama.cpp ✓ held 20 of 20 texts equal all equal" in text


def test_an_export_has_size_and_short_hash_with_the_whole_one_in_its_title(tmp_path):
    text = written(tmp_path, sample_record())
    assert f'<code title="0123456789ab{"c" * 52}">0123456789ab…</code>' in text
    assert "export/faq-q8_0.gguf 7.95 GiB 0123456789ab…" in Reader(text).text


def test_what_repeats_the_run_is_there(tmp_path):
    text = Reader(written(tmp_path, sample_record())).text
    assert "unsloth-ft run llama31-8b --data faq.jsonl --data 'more questions.csv' --export gguf:q8_0 --export ollama" in text
    for words in (
        "torch 2.13.0",
        "train 3407",
        "revision 0e9e39f249a16976918f6564b8830bc894c89659",
        "GPU NVIDIA GeForce RTX 3060, 12.00 GiB, SM 8.6, driver 580.95.05",
        f"training rows {'7a' * 32}",
        "begun 2026-11-23 09:12:40 UTC",
        "faq.jsonl:117: the same question as line 12, with another answer; both are kept",
    ):
        assert words in text


def test_a_running_run_says_how_far_it_is(tmp_path):
    record = without("training", "evaluation", "exports") | {"status": "running"}
    page = Reader(written(tmp_path, record, metrics_lines()[:60]))
    assert page.headings == ["… no verdict yet", *SECTIONS]
    assert "Training is not finished: its last step so far is 57 of 320 planned. The run's status is “running”." in page.text
    for words in ("Not compared yet.", "Not answered yet.", "Not measured yet: training is not finished.", "Nothing is exported."):
        assert words in page.text


def test_a_run_that_only_began_has_a_page(tmp_path):
    page = Reader(
        html.page({"schema": 1, "name": "faq", "status": "running", "warnings": []}, html.read_curves(tmp_path / "metrics.jsonl"))
    )
    assert page.headings == ["… no verdict yet", *SECTIONS]
    for words in ("No training step is recorded.", "No loss is recorded yet.", "No data is recorded.", "No plan is recorded."):
        assert words in page.text


def test_a_trained_run_without_comparison_says_so(tmp_path):
    assert (
        "Training is finished, the comparison of before and after is not." in Reader(
            written(tmp_path, without("evaluation", "exports"))
        ).text
    )


def test_scores_that_were_not_asked_for_are_left_out_and_said(tmp_path):
    record = sample_record()
    record["evaluation"] |= {"answers": 0, "pairs": []}
    for side in ("before", "after"):
        record["evaluation"][side] |= {"token_f1": None, "exact_match": None, "stopped": None}
    text = Reader(written(tmp_path, record)).text
    assert "No answers were asked for, so token F1, exact match and the share of answers that stop are not measured." in text
    assert "perplexity 10.117 → to 1.918" in text and "exact match 0" not in text and "None" not in text


def test_losses_that_are_no_number_are_counted_and_half_lines_too(tmp_path):
    directory = sample_directory(tmp_path, [*metrics_lines(), {"step": 201, "loss": math.nan}, {"step": 202, "loss": math.inf}])
    with directory.metrics_file.open("a") as stream:
        stream.write('7\n{"step": 203, "lo')
    record = sample_record()
    record["evaluation"]["after"] |= {"loss": math.nan, "perplexity": math.nan}
    record["evaluation"]["loss_difference"] = {"value": math.nan, "low": math.nan, "high": math.nan}
    page = Reader(html.write(directory, record).read_text(encoding="utf-8"))
    assert "2 losses in metrics.jsonl are no number (NaN or infinite); the line breaks there." in page.text
    assert "2 lines of metrics.jsonl can't be read and are left out." in page.text
    assert "loss 2.3142 → to no number" in page.text
    assert not [
        value
        for _, attributes in page.elements
        for value in attributes.values()
        if "nan" in (value or "") or "inf" in (value or "").split()
    ]


def test_entities_in_data_are_not_read_twice(tmp_path):
    record = sample_record()
    record["evaluation"]["pairs"][0]["after"] = "write &lt; for <"
    text = written(tmp_path, record)
    assert entities.escape("write &lt; for <") in text
    assert "write &lt; for <" in Reader(text).text


def test_the_planned_memory_is_shown_with_bars_parts_and_what_fits(tmp_path):
    text = Reader(written(tmp_path, sample_record())).text
    for words in (
        "Planned phase bar GiB load 6.25 of 11.5 training step 10.0 of 11.5 evaluation 6.50 of 11.5",
        "Estimate ± 15%, measured on 3 points: NVIDIA H200 (140 GiB, SM 9.0), unsloth, bfloat16.",
        "Time: about 2 s a step, 10 min 40 s of steps in all, at the rate that a probe measured on this machine.",
        "Host memory: about 2.50 GiB; disk, GiB: base model 15.0, checkpoints 1.00, adapter 0.25.",
        "part load training step evaluation merge (host) CUDA context 0.50 0.50 0.50",
        "in all 6.25 10.0 6.50 2.00",
        "4-bit unsloth 20,480 20 the plan",
    ):
        assert words in text, words


def test_a_run_from_before_there_was_a_memory_table_has_none(tmp_path):
    assert "Planned" not in Reader(written(tmp_path, without("memory"))).text
