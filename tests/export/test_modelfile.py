"""A Modelfile holds what was asked, reads back as Ollama reads it, and a spoilt one is caught."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.export.chat_templates import PUBLISHED
from unsloth_ft.errors import GateError, UserError
from unsloth_ft.export.modelfile import check_modelfile, parse_modelfile, stop_strings, write_modelfile
from unsloth_ft.export.ollama_template import GoTemplate

SMALL = GoTemplate('{{- range .Messages }}[{{ .Role }}] "{{ .Content }}"\n{{ end }}')


def test_modelfile_holds_every_part_and_reads_back(tmp_path, derived):
    stops = stop_strings(["<|eot_id|>", "<|end_of_text|>", "<|eot_id|>"])
    path = write_modelfile(
        tmp_path / "Modelfile",
        gguf_name="my model.q4_k_m.gguf",
        template=derived["llama31"],
        stops=stops,
        num_ctx=2048,
        system='Be "brief".\n\n# not a comment\nFROM nothing ',
        adapter="adapter.gguf",
        temperature=0.7,
    )
    assert parse_modelfile(path.read_text(encoding="utf-8")) == {
        "from": "./my model.q4_k_m.gguf",
        "adapter": "./adapter.gguf",
        "template": derived["llama31"].text,
        "system": 'Be "brief".\n\n# not a comment\nFROM nothing',
        "parameters": {"stop": ["<|eot_id|>", "<|end_of_text|>"], "num_ctx": ["2048"], "temperature": ["0.7"]},
    }
    assert [item.name for item in tmp_path.iterdir()] == ["Modelfile"]


def test_system_text_keeps_its_outer_space_where_the_tokenizer_keeps_it(tmp_path, derived):
    path = write_modelfile(
        tmp_path / "Modelfile", gguf_name="m.gguf", template=derived["qwen25"], stops=["x"], num_ctx=512, system="\n Be brief. \n"
    )
    assert parse_modelfile(path.read_text(encoding="utf-8"))["system"] == "\n Be brief. \n"


def test_modelfile_is_the_same_in_a_renamed_folder(tmp_path):
    texts = []
    for name in ("qwen2.5-7b-instruct", "mistral llama"):
        (tmp_path / name).mkdir()
        path = write_modelfile(tmp_path / name / "Modelfile", gguf_name="model.gguf", template=SMALL, stops=["</s>"], num_ctx=512)
        texts.append(path.read_bytes())
    assert (
        texts[0]
        == texts[1]
        == (
            b'FROM ./model.gguf\nTEMPLATE """{{- range .Messages }}[{{ .Role }}] "{{ .Content }}"\n{{ end }}"""\n'
            b'PARAMETER stop "</s>"\nPARAMETER num_ctx 512\n'
        )
    )


def test_every_derived_template_survives_the_modelfile(tmp_path, derived):
    for template in derived.values():
        path = write_modelfile(tmp_path / "Modelfile", gguf_name="model.gguf", template=template, stops=['"', "\n\n"], num_ctx=512)
        found = parse_modelfile(path.read_bytes().decode())
        assert (found["template"], found["parameters"]["stop"]) == (template.text, ['"', "\n\n"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"system": 'a """ b'}, 'Modelfile: SYSTEM holds """ at character 2, which ends a text there. Write it without.'),
        (
            {"template": GoTemplate('"""{{ .Messages }}')},
            'Modelfile: TEMPLATE holds """ at character 0, which ends a text there. Write it without.',
        ),
        (
            {"system": "a\u200bb"},
            "Modelfile: SYSTEM holds U+200B at character 1; Ollama drops characters that are not printable. Leave it out.",
        ),
        ({"stops": []}, "Modelfile: no stop; expected at least the token that ends an answer, or the model never stops."),
        ({"stops": ["</s>", ""]}, "Modelfile: stop '' is empty; it would end every answer at once."),
        (
            {"gguf_name": "../model.gguf"},
            "Modelfile: gguf_name is '../model.gguf'; expected a bare file name of printable characters, beside the Modelfile.",
        ),
        ({"system": ""}, "{path}: SYSTEM is empty, and Ollama takes an empty one for none. Leave the system text out."),
        (
            {"system": " \n", "template": GoTemplate("{{ .Messages }}", trimmed=("system",))},
            "{path}: SYSTEM is empty, and Ollama takes an empty one for none. Leave the system text out.",
        ),
        ({"num_ctx": 0}, "{path}: num_ctx is 0; expected 1 or more tokens."),
        ({"temperature": float("nan")}, "{path}: temperature is nan; expected 0 or more."),
        (
            {"system": "x", "template": GoTemplate("{{ .Messages }}", takes_system=False)},
            "{path}: SYSTEM asked for, but the tokenizer's chat template takes no system message. Leave the system text out.",
        ),
    ],
)
def test_what_a_modelfile_can_not_say_is_refused_and_nothing_is_written(tmp_path, changes, message):
    path = tmp_path / "Modelfile"
    wanted = {"gguf_name": "model.gguf", "template": SMALL, "stops": ["</s>"], "num_ctx": 512}
    with pytest.raises(UserError) as raised:
        write_modelfile(path, **(wanted | changes))
    assert str(raised.value) == message.replace("{path}", str(path))
    assert list(tmp_path.iterdir()) == []


def test_parser_reads_what_ollama_reads():
    text = '# mine\r\nfrom  ./a b.gguf \r\n\r\nParameter stop  "a" b"\nparameter stop c\n'
    text += 'SYSTEM """\n one\u200b "two" \n""" \nTEMPLATE x y\nLICENSE MIT\n'
    assert parse_modelfile(text) == {
        "from": "./a b.gguf",
        "system": '\n one "two" \n',
        "template": "x y",
        "parameters": {"stop": ['a" b', "c"]},
    }


def test_a_lone_carriage_return_ends_a_line_but_not_a_quote():
    text = 'FROM a\rPARAMETER stop x\rSYSTEM """one\rtwo\r\nthree"""\rTEMPLATE \r# TEMPLATE b\rMESSAGE user """hi\nFROM c"""\n'
    assert parse_modelfile(text) == {"from": "a", "system": "one\rtwo\r\nthree", "template": "", "parameters": {"stop": ["x"]}}


SYSTEMS = (
    '"', '""', '"quoted"', '""twice""', "'single'", "\nlines\n\n", '"\n"', "\r\r\n",
    "# a\nFROM b\nPARAMETER stop c", " outer ", "\\n", "{{ .System }}",
)  # fmt: skip


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_text_with_quotes_and_line_ends_reads_back_as_it_was(system, tmp_path):
    path = write_modelfile(tmp_path / "Modelfile", gguf_name="m.gguf", template=SMALL, stops=["</s>"], num_ctx=512, system=system)
    assert parse_modelfile(path.read_bytes().decode()) == {
        "from": "./m.gguf",
        "template": SMALL.text,
        "system": system,
        "parameters": {"stop": ["</s>"], "num_ctx": ["512"]},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PARAMETER num_ctx 1\n", "Modelfile: has no FROM; expected FROM ./NAME.gguf."),
        ("FROM a\nSTOP b\n", "Modelfile:2: 'STOP' is no instruction; expected FROM, TEMPLATE, PARAMETER, SYSTEM, ADAPTER or LICENSE."),
        ('FROM a\n\nTEMPLATE """b\nPARAMETER num_ctx 1\n', 'Modelfile:3: """ is not closed; expected """ at the end of a line.'),
        ("FROM a\nSYSTEM\n", "Modelfile:2: 'SYSTEM' has no value; expected INSTRUCTION value."),
        (  # Ollama makes it a parameter without a name, and the model never stops
            'FROM a\r\nPARAMETER  stop "</s>"\n',
            "Modelfile:2: '' is not what stands there; expected PARAMETER name value, with one space after PARAMETER.",
        ),
        (
            "FROM a\nMESSAGE bot hello\n",
            "Modelfile:2: 'bot' is not what stands there; expected MESSAGE system, user or assistant, and its text.",
        ),
    ],
)
def test_a_broken_modelfile_is_refused_by_line(text, message):
    with pytest.raises(UserError) as raised:
        parse_modelfile(text)
    assert str(raised.value) == message


def modelfile(tmp_path: Path, template: GoTemplate, stops: list[str]) -> str:
    return write_modelfile(tmp_path / "Modelfile", gguf_name="m.gguf", template=template, stops=stops, num_ctx=512).read_text(
        encoding="utf-8"
    )


def test_our_own_modelfiles_pass_the_check(tmp_path, cases, derived):
    for name in PUBLISHED:
        case = cases[name]
        check_modelfile(modelfile(tmp_path, derived[name], [case.eos_token]), case.chat_template(), end_tokens=[case.eos_token])


QWEN_PROMPT = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
HEADER = "<|start_header_id|>system<|end_header_id|>"
QUESTION = "What does the warranty of part 0 cover?"


@dataclass(frozen=True)
class Spoilt:
    """A Modelfile with `before` replaced by `after`, and what the check says: a difference (conversation, place, both texts) or `says`."""

    name: str
    before: str
    after: str
    conversation: str = "1 turn, without system, plain text"
    at: int = 0
    tokenizer: str = ""
    template: str = ""
    says: str = ""


SPOILT = {
    "default system prompt lost": Spoilt(
        "qwen25",
        QWEN_PROMPT,
        "",
        at=19,
        tokenizer="You are Qwen, created by Alibaba Cloud. ",
        template="<|im_end|>\n<|im_start|>user\nWhat does th",
    ),
    "line end added": Spoilt(
        "qwen25",
        "<|im_end|>\n{{ else if",
        "<|im_end|>\n\n{{ else if",
        at=165,
        tokenizer="<|im_start|>assistant\n",
        template="\n<|im_start|>assistant\n",
    ),
    "line end trimmed away": Spoilt(
        "qwen25", "user\n{{ .Content }}", "user\n{{- .Content }}", at=114, tokenizer=f"\n{QUESTION}", template=f"{QUESTION}<"
    ),
    "generation prompt lost": Spoilt("qwen25", '<|im_start|>assistant\n"""', '"""', at=165, tokenizer="<|im_start|>assistant\n"),
    "role renamed": Spoilt(
        "qwen25",
        '"assistant" }}<|im_start|>assistant',
        '"assistant" }}<|im_start|>model',
        conversation="2 turns, without system, plain text",
        at=177,
        tokenizer="assistant\nWhat does the warranty of part",
        template="model\nWhat does the warranty of part 1 c",
    ),
    "field misspelt": Spoilt(
        "qwen25",
        "{{ .System }}",
        "{{ .Sytem }}",
        conversation="1 turn, with system, plain text",
        at=19,
        tokenizer="What does the warranty of part 0 cover?<",
        template="<no value><|im_end|>\n<|im_start|>user\nWh",
    ),
    "second BOS": Spoilt(
        "llama31", 'TEMPLATE """', 'TEMPLATE """<|begin_of_text|>', at=2, tokenizer=HEADER[2:], template=f"begin_of_text|>{HEADER}"[:40]
    ),
    "system text in every user message": Spoilt(
        "mistral-v03",
        "{{ if eq (len (slice $.Messages $i)) 1 }}",
        "{{ if true }}",
        conversation="2 turns, with system, plain text",
        at=38,
        tokenizer="1 cover?[/INST] What does the warranty o",
        template="0 cover?\n\nWhat does the warranty of part",
    ),
    "stop dropped": Spoilt(
        "qwen25",
        'PARAMETER stop "<|im_end|>"\n',
        "",
        says="no stop for '<|im_end|>'; the model would go on after its answer. Add PARAMETER stop \"<|im_end|>\".",
    ),
    "TEMPLATE dropped": Spoilt(
        "qwen25", "TEMPLATE", "SYSTEM", says="has no TEMPLATE; Ollama would send the bare text. Export again, or write one."
    ),
    "end dropped": Spoilt(
        "qwen25",
        "{{- end }}<|im_start|>assistant",
        "<|im_start|>assistant",
        says="TEMPLATE: an if or range is not closed; expected {{ end }}.",
    ),
    "one prompt instead of messages": Spoilt(
        "qwen25",
        ".Messages",
        ".Prompt",
        says="TEMPLATE: has no .Messages; expected a loop over the whole conversation. The old .Prompt form is not checked.",
    ),
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_spoilt_modelfile_is_caught_with_its_own_message(tmp_path, cases, derived, what):
    spoilt = SPOILT[what]
    text = modelfile(tmp_path, derived[spoilt.name], [cases[spoilt.name].eos_token])
    assert text.count(spoilt.before) == 1
    with pytest.raises(GateError) as raised:
        check_modelfile(
            text.replace(spoilt.before, spoilt.after), cases[spoilt.name].chat_template(), end_tokens=[cases[spoilt.name].eos_token]
        )
    assert spoilt.says or spoilt.at
    message = str(raised.value)
    if spoilt.says:
        assert message == f"Modelfile: {spoilt.says}"
    else:
        conversation = f"Modelfile: TEMPLATE: conversation '{spoilt.conversation}' differs from the tokenizer's chat template"
        assert message.startswith(f"{conversation} at character {spoilt.at},")
        assert message.endswith(f": the tokenizer writes {spoilt.tokenizer!r}, TEMPLATE {spoilt.template!r}.")


def test_another_familys_template_is_caught(tmp_path, cases, derived):
    text = modelfile(tmp_path, derived["llama31"], ["<|im_end|>"])
    with pytest.raises(GateError) as raised:
        check_modelfile(text, cases["qwen25"].chat_template(), end_tokens=["<|im_end|>"])
    assert str(raised.value) == (
        "Modelfile: TEMPLATE: conversation '1 turn, without system, plain text' differs from the tokenizer's chat template at character 2,"
        " after '<|': the tokenizer writes 'im_start|>system\\nYou are Qwen, created b',"
        " TEMPLATE 'start_header_id|>system<|end_header_id|>'."
    )


def test_every_family_is_told_from_every_other(tmp_path, cases, derived):
    for name in PUBLISHED:
        for other in PUBLISHED:
            if derived[name].text != derived[other].text:
                with pytest.raises(GateError, match="differs from the tokenizer's chat template|refuses"):
                    check_modelfile(modelfile(tmp_path, derived[other], ["x"]), cases[name].chat_template(), end_tokens=["x"])
