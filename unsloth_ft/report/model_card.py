"""adapter/README.md: the Hugging Face model card, made from run.json alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from unsloth_ft.errors import UserError
from unsloth_ft.record import RunDirectory, write_atomically
from unsloth_ft.report import wording

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")  # owner/name; a folder's name is no hub id
ACTIVE = re.compile(r"([\\`*_{}\[\]<>#|~])")  # what Markdown or the HTML in it would act on
TRAINING_VALUES = (
    "max_seq_length",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "lr_scheduler_type",
    "optim",
    "dtype",
)
LORA_VALUES = ("r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora")


def write(directory: RunDirectory, record: dict[str, Any]) -> Path:
    """Writes the card into adapter/ and returns its path. Raises UserError when there is no adapter to describe."""
    if not directory.adapter.is_dir():
        raise UserError(
            f"{directory.name}: no adapter/ to write a model card for; expected a trained run. Run the same command again to finish it."
        )
    path = directory.adapter / "README.md"
    write_atomically(path, card(record).encode("utf-8", "replace").decode("utf-8"))
    return path


def card(record: dict[str, Any]) -> str:
    """The card's text: front matter, then a section each."""
    sections = [
        front_matter(record),
        introduction(record),
        results(record),
        usage(record),
        data(record),
        training(record),
        exports(record),
        limits(record),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def front_matter(record: dict[str, Any]) -> str:
    """The YAML block. `base_model` only for a hub id, `license` only where the record knows it: the hub checks both."""
    base = record["base_model"]
    lines = ["library_name: peft", "pipeline_tag: text-generation"]
    tags = ["lora", "unsloth-ft"]
    if HUB_ID.fullmatch(base["model"]):
        lines.insert(0, f"base_model: {_yaml(base['model'])}")
        tags.insert(0, f"base_model:adapter:{base['model']}")
    if base.get("license"):
        lines.append(f"license: {_yaml(base['license'])}")
    return "\n".join(["---", *lines, "tags:", *(f"- {_yaml(tag)}" for tag in tags), "---"])


def introduction(record: dict[str, Any]) -> str:
    base = record["base_model"]
    revision = f", revision {_text(base['revision'])}" if base.get("revision") else ""
    kind = "QLoRA" if in_4bit(record) else "LoRA"
    data = record.get("data", {})
    rows = f", trained on {wording.count(data['train_rows'], 'row')}" if "train_rows" in data else ""
    return (
        f"# {_text(record['name'])}\n\nA {kind} adapter for {_text(base['model'])}{revision}{rows}. Recipe:"
        f" {_text(record.get('recipe', {}).get('name', 'unknown'))}."
    )


def results(record: dict[str, Any]) -> str:
    evaluation = record.get("evaluation")
    if not evaluation:
        return "## Results\n\nNot compared with the base model."
    rows = [(wording.SCORE_NAMES[key], evaluation["before"][key], evaluation["after"][key], key) for key in wording.SCORE_NAMES]
    table = _table(
        ("", "before", "after"), [(name, wording.score(key, before), wording.score(key, after)) for name, before, after, key in rows]
    )
    answers = wording.count(evaluation["answers"], "greedy answer") if evaluation["answers"] else "no answers"
    return (
        f"## Results\n\n**{evaluation['verdict']}**: {wording.verdict_sentence(evaluation)}\n\n{table}\n\nThe base model without and with"
        f" this adapter, on the same {wording.count(evaluation['rows'], 'held-out row')}, {answers}. {wording.CHOSEN_ON_THE_SAME_ROWS}"
    )


def usage(record: dict[str, Any]) -> str:
    """A PEFT snippet, and Ollama's line where it was exported."""
    parts = ["## How to use it", "```python\n" + snippet(record) + "```"]
    if in_4bit(record):
        parts.append(
            "The adapter was trained and measured on the base in NF4; this loads the base in 16 bit, where answers can differ a little."
        )
    if any(file["name"].endswith("Modelfile") for file in record.get("exports", {}).get("ollama", {}).get("files", [])):
        name = re.sub(r"[^\w.-]", "-", record["name"])
        parts.append(f"With Ollama, in the run's `export` folder:\n\n```sh\nollama create {name} -f Modelfile\nollama run {name}\n```")
    return "\n\n".join(parts)


def snippet(record: dict[str, Any]) -> str:
    """Python that answers one question with the adapter, greedily as in the comparison.

    No row of the data stands in it: a card is passed on.
    """
    base, values = record["base_model"], record.get("recipe", {}).get("values", {})
    revision = f", revision={_python(base['revision'])}" if base.get("revision") else ""
    template = "".join(f", {key}={_python(value)}" for key, value in values.get("chat_template_kwargs", {}).items() if key.isidentifier())
    longest = values.get("evaluate", {}).get("max_new_tokens", 64)
    return f"""from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

adapter = "."  # the folder with this file
base = AutoModelForCausalLM.from_pretrained({_python(base["model"])}{revision}, dtype="auto")
model = PeftModel.from_pretrained(base, adapter).eval()
tokenizer = AutoTokenizer.from_pretrained(adapter)

messages = [{{"role": "user", "content": "Your question"}}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True{template})
output = model.generate(**inputs.to(model.device), max_new_tokens={longest}, do_sample=False)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
"""


def data(record: dict[str, Any]) -> str:
    facts = record.get("data")
    if not facts:
        return ""
    files = _table(
        ("file", "rows", "sha256"), [(_text(file["name"]), f"{file['rows']:,}", f"`{file['sha256']}`") for file in facts["files"]]
    )
    learned = f" {facts['xray']['learned_share']:.1%} of their tokens are learned." if "xray" in facts else ""
    return (
        f"## Data\n\n{files}\n\n{wording.count(facts['train_rows'], 'training row')} (sha256 `{facts['train_sha256']}`),"
        f" {facts['held_out_rows']:,} held out (sha256 `{facts['held_out_sha256']}`): {_text(facts['held_out_from'])}.{learned}"
        + "".join(f" {_text(wording.mixed(part))}." for part in facts.get("mixed", []))  # absent in runs from before --mix
    )


def training(record: dict[str, Any]) -> str:
    plan, values, done = record.get("plan", {}), record.get("recipe", {}).get("values", {}), record.get("training")
    rows = [(f"`{name}`", _text(wording.plain(values["lora"][name]))) for name in LORA_VALUES if name in values.get("lora", {})]
    rows += [(f"`{name}`", _text(wording.plain(plan[name]["value"]))) for name in TRAINING_VALUES if name in plan]
    rows += [("seed", str(record["seeds"]["train"]))] if "seeds" in record else []
    text = "## Training\n\n" + _table(("value", "is"), rows) if rows else "## Training"
    if done:
        early = ", stopped early" if done["stopped_early"] else ""
        text += (
            f"\n\n{wording.count(done['steps'], 'step')} ({done['epochs']:.3g} epochs{early}) in {wording.duration(done['seconds'])}; the"
            f" checkpoint of step {done['best_step']:,} is kept, eval loss {wording.score('loss', done['best_eval_loss'])}."
            f" {done['trainable_parameters']:,} of {done['all_parameters']:,} parameters were trained."
        )
    else:
        text += "\n\nTraining is not finished."
    versions = ", ".join(f"{_text(name)} {_text(version)}" for name, version in record.get("versions", {}).items())
    return text + (f"\n\nVersions: {versions}." if versions else "")


def exports(record: dict[str, Any]) -> str:
    """The exports with what their checks found; the card itself changes after it was hashed, so it isn't listed."""
    rows = [
        (_text(target), _text(file["name"]), wording.size(file["bytes"]), f"`{file['sha256']}`")
        for target, export in record.get("exports", {}).items()
        for file in export.get("files", [])
        if not file["name"].endswith("README.md")
    ]
    if not rows:
        return ""
    failed = wording.failed_checks(record["exports"])
    checks = (
        "Every check of every export held."
        if not failed
        else f"Checks that did not hold: {_text('; '.join(failed))}. Don't use those files."
    )
    return "## Exports\n\n" + _table(("target", "file", "size", "sha256"), rows) + f"\n\n{checks}"


def limits(record: dict[str, Any]) -> str:
    """What was measured, and what wasn't."""
    evaluation = record.get("evaluation")
    lines = ["The base model's licence and limits hold for this adapter too."]
    if evaluation:
        lines.insert(
            0,
            f"Loss was measured on {wording.count(evaluation['rows'], 'held-out row')} of the same kind as the training rows; the"
            " checkpoint was chosen on these same rows.",
        )
        if evaluation["answers"]:
            lines.insert(
                1,
                f"Token F1, exact match and stopping were measured on {wording.count(evaluation['answers'], 'greedy answer')}; a right"
                " answer in other words scores low.",
            )
        else:
            lines.insert(1, "No answers were asked for: token F1, exact match and stopping are not measured.")
    else:
        lines.insert(0, "Nothing was measured: it is not known whether this is better than the base model.")
    lines.append("Other topics, other languages and safety were not measured.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def in_4bit(record: dict[str, Any]) -> bool:
    """Whether the base was held in NF4."""
    return bool(record.get("plan", {}).get("load_in_4bit", {}).get("value"))


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _text(value: str) -> str:
    """Text that Markdown and the HTML in it take literally, on one line."""
    return ACTIVE.sub(r"\\\1", " ".join(str(value).split())).replace("\\<", "&lt;").replace("\\>", "&gt;")


def _python(value: Any) -> str:
    """A Python literal that can't end the code block it stands in."""
    return json.dumps(value, ensure_ascii=False).replace("`", "\\u0060") if isinstance(value, str) else repr(value)


def _yaml(value: str) -> str:
    """A YAML double-quoted string; JSON's is one."""
    return json.dumps(value, ensure_ascii=False)
