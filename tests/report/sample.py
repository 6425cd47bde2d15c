"""A realistic run record with everything in it, and its metrics.jsonl; the numbers are made up, their shape is run.json's."""

from __future__ import annotations

import json
import math
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unsloth_ft.hardware import GIB, Gpu, Hardware
from unsloth_ft.recipe import Lora, Recipe, Train
from unsloth_ft.record import RunDirectory

STEPS, EVAL_STEPS, BEST_STEP = 200, 25, 150

PAIRS = (
    (
        "What do I trade away with gradient checkpointing?",
        "It recomputes activations in the backward pass, which saves much memory and costs some speed.",
    ),
    ("What hardware supports bfloat16, and how about the T4?", "bfloat16 needs an Ampere GPU or newer; a T4 should use float16."),
    (
        (
            "I have a 12 GB card, about nine thousand support tickets of which a third are longer than four thousand characters, and a"
            " manager who wants the model to run on his laptop by Friday without any network. I tried a full fine-tuning of an 8B model and"
            " ran out of memory in the first step, then I tried a smaller batch and it still ran out of memory. Which of the usual ways out"
            " should I try first, in which order, and which of them change the result rather than only the memory?"
        ),
        (
            "Load the base in 4 bit with QLoRA first, then halve the batch and double the accumulation, then shorten max_seq_length; only"
            " the last changes what is learned."
        ),
    ),
    (
        "Which numbers multiply up to an effective batch?",
        "The per-device batch times the gradient accumulation steps times the number of devices.",
    ),
    (
        "Would retrieval, RAG, serve me better than fine-tuning?",
        "RAG looks up facts at question time, while fine-tuning teaches style, format and skills.",
    ),
    (
        "Can resuming from checkpoints bring a stopped run back?",
        "Resuming restores adapter, optimizer, scheduler and random state and continues at the saved step.",
    ),
    ("Show me how to load the adapter.", 'from peft import PeftModel\n\nmodel = PeftModel.from_pretrained(base, "adapter")\nmodel.eval()'),
    ("ما هو LoRA؟", "LoRA تدرّب مصفوفتين صغيرتين بدلاً من أوزان النموذج كلها."),
    ("Is <b>HTML</b> in a question a problem? <script>alert('pwned')</script>", "No; it is text like any other & stays text."),
    ("Why don't my answers stop?", "The turn-end token must be in the loss, or the model never learns to stop."),
    ("What does lora_alpha do?", "The update is scaled by lora_alpha / r."),
    ("How long may a row be?", "As long as max_seq_length says; p95 of the rows times 1.2 is a good start."),
)


def sample_record() -> dict[str, Any]:
    """A finished run on a GPU with three exports, one of whose checks failed."""
    recipe = Recipe(
        model="meta-llama/Llama-3.1-8B-Instruct", load_in_4bit=True, lora=Lora(r=16, lora_alpha=16), train=Train(learning_rate=2e-4)
    )
    hardware = Hardware(
        (Gpu("NVIDIA GeForce RTX 3060", 12 * GIB, (8, 6), "580.95.05"),), "AMD Ryzen 7 5800X 8-Core Processor", 16, False, 64 * GIB
    )
    return {
        "schema": 1,
        "name": "faq",
        "created": "2026-11-23T09:12:40+00:00",
        "updated": "2026-11-23T09:47:02+00:00",
        "status": "done",
        "command": [
            "unsloth-ft",
            "run",
            "llama31-8b",
            "--data",
            "faq.jsonl",
            "--data",
            "more questions.csv",
            "--export",
            "gguf:q8_0",
            "--export",
            "ollama",
        ],
        "identity": {},
        "recipe": {"name": "llama31-8b", "source": "built in", "values": recipe.model_dump(mode="json")},
        "plan": _plan(),
        "memory": _memory(),
        "data": _data(),
        "base_model": {
            "model": "meta-llama/Llama-3.1-8B-Instruct",
            "revision": "0e9e39f249a16976918f6564b8830bc894c89659",
            "config_sha256": "c1" * 32,
            "sha256": "ba5e" * 16,
            "loaded_from": "the hub's cache",
            "chat_template_sha256": "e10c" * 16,
        },
        "seeds": {"train": 3407},
        "hardware": asdict(hardware),
        "versions": {
            "unsloth_ft": "0.1.0",
            "python": "3.12.7",
            "torch": "2.13.0",
            "transformers": "5.17.0",
            "trl": "1.14.2",
            "peft": "0.21.2",
            "unsloth": "2026.10.9",
        },
        "warnings": [
            "faq.jsonl:117: the same question as line 12, with another answer; both are kept",
            "2 training rows are longer than max_seq_length and were cut behind a whole answer: faq.jsonl:41, more questions.csv:7",
        ],
        "training": {
            "steps": STEPS,
            "epochs": 3.125,
            "best_step": BEST_STEP,
            "best_eval_loss": 0.6510123,
            "first_eval_loss": 2.3142,
            "stopped_early": True,
            "resumed_from_step": 50,
            "tokens": 412_345,
            "tokens_per_second": 1234.5,
            "seconds": 754.25,
            "peak_memory_bytes": 8_482_560_410,
            "trainable_parameters": 41_943_040,
            "all_parameters": 8_072_204_288,
        },
        "evaluation": _evaluation(),
        "exports": _exports(),
    }


def metrics_lines() -> list[dict[str, Any]]:
    """200 lines of training loss and an eval loss every 25 steps, from step 0."""
    noise = random.Random(3407)
    lines: list[dict[str, Any]] = [{"step": 0, "epoch": 0.0, "eval_loss": 2.3142}]
    for step in range(1, STEPS + 1):
        loss = 0.45 + 1.9 * math.exp(-step / 40) + noise.gauss(0, 0.12)
        lines.append(
            {
                "step": step,
                "epoch": step / 64,
                "loss": loss,
                "learning_rate": 2e-4,
                "grad_norm": 0.7,
                "tokens": 2060,
                "seconds": 1.67,
                "tokens_per_second": 1233.5,
            }
        )
        if step % EVAL_STEPS == 0:
            overfit = 0.0008 * max(0, step - BEST_STEP)
            lines.append(
                {
                    "step": step,
                    "epoch": step / 64,
                    "eval_loss": 0.651 + 1.66 * math.exp(-step / 32) - 1.66 * math.exp(-BEST_STEP / 32) + overfit,
                }
            )
    return lines


def sample_directory(folder: Path, lines: list[dict[str, Any]] | None = None) -> RunDirectory:
    """A run directory with metrics.jsonl and an empty adapter folder."""
    directory = RunDirectory(folder / "faq")
    directory.adapter.mkdir(parents=True)
    (directory.adapter / "adapter_model.safetensors").write_bytes(b"")
    directory.metrics_file.write_text(
        "".join(json.dumps(line) + "\n" for line in (metrics_lines() if lines is None else lines)), encoding="utf-8"
    )
    return directory


def _plan() -> dict[str, dict[str, Any]]:
    decisions = {
        "backend": ("unsloth", "2026.10.9 on CUDA"),
        "device": ("cuda", "NVIDIA GeForce RTX 3060 (12 GiB, SM 8.6)"),
        "dtype": ("bfloat16", "SM 8.6 has it"),
        "load_in_4bit": (True, "recipe; QLoRA: the frozen base is held in NF4"),
        "max_seq_length": (512, "p95 of your rows is 402; ×1.2, rounded up"),
        "num_train_epochs": (5.0, "512 training rows; early stopping may end it sooner"),
        "max_steps": (320, "5 epochs of 64 steps"),
        "per_device_train_batch_size": (2, "recipe"),
        "gradient_accumulation_steps": (4, "recipe; effective batch size 8"),
        "per_device_eval_batch_size": (2, "as in training; it keeps no activations, so it needs less"),
        "learning_rate": (2e-4, "recipe; peak, after the warm-up"),
        "lr_scheduler_type": ("cosine", "recipe; warm-up 5% of the steps"),
        "optim": ("paged_adamw_8bit", "a quarter of AdamW's memory, paged to the host when the card is full (QLoRA)"),
        "gradient_checkpointing": ("unsloth", "Unsloth's offloading checkpointing"),
        "eval_steps": (25, "recipe"),
        "save_steps": (25, "with each evaluation"),
    }
    return {name: {"value": value, "reason": reason} for name, (value, reason) in decisions.items()}


def _memory() -> dict[str, Any]:
    """As a plan for that card writes it, in round numbers."""
    gib = 2**30
    phases = {
        "load": {"CUDA context": 0.5, "base weights": 5.25, "read buffers": 0.5},
        "training step": {"CUDA context": 0.5, "base weights": 5.25, "LoRA weights": 0.25, "activations": 4.0},
        "evaluation": {"CUDA context": 0.5, "base weights": 5.25, "LoRA weights": 0.25, "logits": 0.5},
    }
    told = [
        {
            "name": name,
            "on_host": False,
            "bytes": int(sum(parts.values()) * gib),
            "needed_bytes": int(1.15 * sum(parts.values()) * gib),
            "bound": 0.15,
            "parts": {part: int(size * gib) for part, size in parts.items()},
        }
        for name, parts in phases.items()
    ]
    merge = {"name": "merge", "on_host": True, "bytes": 2 * gib, "needed_bytes": 2 * gib, "bound": 0.15, "parts": {"program and libraries": 2 * gib}}
    fits = [(False, "none", 0, 0), (False, "unsloth", 0, 0), (True, "none", 2048, 2), (True, "unsloth", 20480, 20)]
    return {
        "available_bytes": int(11.5 * gib),
        "where": "NVIDIA GeForce RTX 3060, 12 GiB",
        "fits": True,
        "micro_batch": {"rows": 2, "longest": 512, "tokens": 1024},
        "load_in_4bit": True,
        "checkpointing": "unsloth",
        "basis": "measured on 3 points: NVIDIA H200 (140 GiB, SM 9.0), unsloth, bfloat16",
        "phases": [*told, merge],
        "what_fits": [
            {"load_in_4bit": four_bit, "checkpointing": way, "longest_tokens": longest, "most_rows": rows}
            for four_bit, way, longest, rows in fits
        ],
        "time": {"step_seconds": 2.0, "run_seconds": 640.0, "basis": "at the rate that a probe measured on this machine"},
        "host_bytes": int(2.5 * gib),
        "disk_bytes": {"base model": 15 * gib, "checkpoints": gib, "adapter": gib // 4},
    }


def _data() -> dict[str, Any]:
    pieces = [
        (
            (
                "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWhat does lora_alpha"
                " do?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
            ),
            False,
        ),
        ("The update is scaled by lora_alpha / r.<|eot_id|>", True),
    ]
    return {
        "files": [
            {"name": "faq.jsonl", "sha256": "fa9" + "0" * 61, "bytes": 181_220, "rows": 441},
            {"name": "more questions.csv", "sha256": "c5f" + "1" * 61, "bytes": 52_101, "rows": 128},
        ],
        "shape": "question/answer",
        "train_rows": 512,
        "train_sha256": "7a" * 32,
        "held_out_rows": 57,
        "held_out_sha256": "8b" * 32,
        "held_out_from": "10% of the rows, split by question with seed 3407",
        "length_tokens": {"p50": 96, "p95": 402, "max": 1873},
        "xray": {
            "rows_kept": 511,
            "rows_cut": 2,
            "rows_dropped": 1,
            "cut": ["faq.jsonl:41", "more questions.csv:7"],
            "dropped": ["faq.jsonl:99"],
            "tokens": 65_536,
            "learned_tokens": 24_117,
            "learned_share": 0.368,
            "tokens_lost": 1_904,
            "example": {"where": "faq.jsonl:203", "pieces": [{"text": text, "learned": learned} for text, learned in pieces]},
        },
    }


def _evaluation() -> dict[str, Any]:
    before = (
        (
            "Gradient checkpointing is a great technique that is used in many, many places, and it is important to note that there are a"
            " number of things to"
        ),
        "",
        (
            "To fine-tune a large language model you should first consider your hardware.\n\n1. Buy more memory\n2. Use the cloud\n3. Use"
            " the cloud\n4. Use the cloud"
        ),
    )
    pairs = [
        {
            "where": f"faq.jsonl:{10 * number + 3}",
            "question": question,
            "expected": answer,
            "before": before[number % len(before)],
            "after": answer if number % 4 else answer.split(",")[0],
            "f1_before": 0.2118 if number % 3 != 1 else 0.0,
            "f1_after": 1.0 if number % 4 else 0.7391,
        }
        for number, (question, answer) in enumerate(PAIRS)
    ]
    return {
        "rows": 57,
        "learned_tokens": 2_718,
        "answers": len(pairs),
        "before": {"loss": 2.31421, "perplexity": 10.11684, "token_f1": 0.2341, "exact_match": 0.0, "stopped": 0.4167},
        "after": {"loss": 0.65103, "perplexity": 1.91751, "token_f1": 0.8702, "exact_match": 0.5833, "stopped": 1.0},
        "loss_difference": {"value": -1.66318, "low": -1.80104, "high": -1.52142},
        "verdict": "better",
        "pairs": pairs,
    }


def _exports() -> dict[str, Any]:
    same = {"name": "answers of merged and adapter", "ok": True, "found": "20 of 20 token for token", "expected": "all equal"}
    return {
        "merged": {
            "files": [
                {"name": "export/merged/model-00001-of-00002.safetensors", "bytes": 9_976_576_152, "sha256": "3e" * 32},
                {"name": "export/merged/model-00002-of-00002.safetensors", "bytes": 6_083_948_000, "sha256": "4f" * 32},
                {"name": "export/merged/config.json", "bytes": 871, "sha256": "5a" * 32},
            ],
            "seconds": 48.1,
            "checks": [same],
            "notes": [],
        },
        "gguf:q8_0": {
            "files": [{"name": "export/faq-q8_0.gguf", "bytes": 8_540_771_328, "sha256": "0123456789ab" + "c" * 52}],
            "seconds": 214.2,
            "checks": [
                {"name": "token ids in llama.cpp", "ok": True, "found": "20 of 20 texts equal", "expected": "all equal"},
                {
                    "name": "answers in llama.cpp",
                    "ok": False,
                    "found": "11 of 20 begin alike; the first difference is at token 3 of question 4",
                    "expected": "at least 18 of 20",
                },
            ],
            "notes": ["q8_0 rounds to 8 bits: small differences in long answers are expected."],
        },
        "ollama": {
            "files": [{"name": "export/Modelfile", "bytes": 1_204, "sha256": "6b" * 32}],
            "seconds": 0.31,
            "checks": [
                {
                    "name": "TEMPLATE",
                    "ok": True,
                    "found": "renders the tokenizer's own text on every proof conversation",
                    "expected": "equal texts",
                }
            ],
            "notes": ["to use it: cd export && ollama create faq -f Modelfile && ollama run faq"],
        },
    }
