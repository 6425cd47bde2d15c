"""A Modelfile's TEMPLATE equals the tokenizer's chat template, by our evaluator and by Go's own; its stops and its text are what was asked."""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.export.chat_templates import MADE_UP, NOT_EXPRESSIBLE, Case, published
from unsloth_ft.errors import GateError, UserError
from unsloth_ft.export.go_template import collate, evaluate
from unsloth_ft.export.modelfile import check_modelfile, derive_template, parse_modelfile, stop_strings, write_modelfile
from unsloth_ft.export.ollama_template import ChatTemplate, GoTemplate, proof_conversations

PUBLISHED = ("llama31", "mistral-v03", "mistral-nemo", "qwen25", "qwen3", "smollm2")
TRIMS = {"llama31": ("system", "user", "assistant"), "no system message": ("user", "assistant")}
TAKES_NO_SYSTEM = ("no system message", "system ignored")


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    return published() | MADE_UP


@pytest.fixture(scope="module")
def derived(cases: dict[str, Case]) -> dict[str, GoTemplate]:
    return {name: derive_template(case.render, bos_token=case.bos_token, drop_bos=case.drop_bos) for name, case in cases.items()}


@pytest.fixture(scope="session")
def go_render(tmp_path_factory: pytest.TempPathFactory):
    """`go_render(jobs)`: what the real text/template writes for each (template, messages)."""
    if shutil.which("go") is None:
        pytest.skip("go is not on PATH; apt-get install golang-go")
    program = tmp_path_factory.mktemp("go") / "render"
    subprocess.run(["go", "build", "-o", str(program), str(Path(__file__).with_name("render.go"))], check=True, capture_output=True)

    def render(jobs: list[tuple[str, list[dict]]]) -> list[str]:
        rows = []
        for template, messages in jobs:
            system, merged = collate(messages)
            rows.append({"template": template, "system": system, "messages": merged})
        done = subprocess.run([str(program)], input=json.dumps(rows).encode(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    return render


def chat_template(case: Case) -> ChatTemplate:
    return ChatTemplate(case.render, case.bos_token, case.drop_bos)


def claimed(name: str) -> list[tuple[str, list[dict]]]:
    return proof_conversations(trimmed=TRIMS.get(name, ()), with_system=name not in TAKES_NO_SYSTEM)


def chat(*turns: str) -> list[dict]:
    """system:…, user:…, assistant:… as messages."""
    return [dict(zip(("role", "content"), turn.split(":", 1), strict=True)) for turn in turns]


# -- equality ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*PUBLISHED, *MADE_UP])
def test_derived_template_writes_what_the_tokenizer_writes_by_gos_own_engine(name, cases, derived, go_render):
    conversations = claimed(name)
    written = go_render([(derived[name].text, messages) for _, messages in conversations])
    for (label, messages), text in zip(conversations, written, strict=True):
        assert text == chat_template(cases[name]).text(messages), label


@pytest.mark.parametrize("name", [*PUBLISHED, *MADE_UP])
def test_our_evaluator_writes_what_gos_own_engine_writes(name, derived, go_render):
    conversations = [messages for _, messages in proof_conversations()]
    written = go_render([(derived[name].text, messages) for messages in conversations])
    assert ["".join(derived[name].render_pieces(messages)) for messages in conversations] == written


def test_proof_conversations_cover_turns_system_and_odd_texts():
    conversations = proof_conversations()
    assert len(conversations) == 2 * 10 * 4
    assert {len(messages) for _, messages in conversations} == {1, 2, 3, 4, 5, 6, 9, 10}
    together = "".join(message["content"] for _, messages in conversations for message in messages)
    for part in ("{{ .System }}", "}}", "\\n", '"""', "保証", "\r\n", "\u00a0", "\n\nbefore"):
        assert part in together


def test_qwen25_template_is_readable_chatml_with_its_default_system_prompt(derived):
    assert derived["qwen25"].text == (
        "<|im_start|>system\n"
        "{{ if .System }}{{ .System }}\n"
        "{{- else }}You are Qwen, created by Alibaba Cloud. You are a helpful assistant.\n"
        "{{- end }}<|im_end|>\n"
        "{{ range $i, $m := .Messages }}\n"
        '{{- if eq .Role "user" }}<|im_start|>user\n'
        "{{ .Content }}<|im_end|>\n"
        '{{ else if eq .Role "assistant" }}<|im_start|>assistant\n'
        "{{ .Content }}<|im_end|>\n"
        "{{ end }}\n"
        "{{- end }}<|im_start|>assistant\n"
    )


def test_smollm2_names_itself_when_no_system_message_is_given(derived):
    assert "".join(derived["smollm2"].render_pieces(chat("user:Hi"))) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_llama31_header_is_there_with_and_without_system_and_the_bos_is_left_to_the_runner(derived):
    header = "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
    rest = "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    assert "".join(derived["llama31"].render_pieces(chat("user:Hi"))) == header + rest
    assert "".join(derived["llama31"].render_pieces(chat("system:Be brief.", "user:Hi"))) == header + "Be brief." + rest


def test_mistral_puts_the_system_text_into_the_last_user_message(derived):
    messages = chat("system:Be brief.", "user:one", "assistant:1", "user:two")
    assert "".join(derived["mistral-v03"].render_pieces(messages)) == "[INST] one[/INST] 1</s>[INST] Be brief.\n\ntwo[/INST]"
    assert "".join(derived["mistral-nemo"].render_pieces(messages)) == "[INST]one[/INST]1</s>[INST]Be brief.\n\ntwo[/INST]"


def test_bos_stays_in_the_template_when_the_runner_adds_none(cases):
    case = cases["mistral-v03"]
    kept = derive_template(case.render, bos_token="<s>", drop_bos=False)
    assert "".join(kept.render_pieces(chat("user:one"))) == "<s>[INST] one[/INST]"


def test_a_runner_that_adds_a_bos_the_template_does_not_write_is_refused(cases):
    with pytest.raises(UserError) as raised:
        derive_template(cases["qwen25"].render, bos_token="<|endoftext|>", drop_bos=True)
    assert str(raised.value) == (
        "chat template: begins with '<|im_start|>system\\nYou a', but the GGUF's add_bos_token makes Ollama put '<|endoftext|>' before it;"
        " expected the template to begin with '<|endoftext|>'. Write the GGUF with add_bos_token false and pass drop_bos=False."
    )


# -- what is not claimed is said ---------------------------------------------------------------------------------------------------------


def test_trimmed_roles_are_named(derived):
    note = "The tokenizer's template trims {} texts, Ollama's templates do not: equal for texts without outer white space."
    assert note.format("system, user, assistant") in derived["llama31"].notes
    assert note.format("user, assistant") in derived["no system message"].notes
    assert not [name for name in ("qwen25", "qwen3", "mistral-v03", "smollm2") if any("trims" in note for note in derived[name].notes)]


def test_think_blocks_and_endings_that_ollama_can_not_treat_alike_are_named(derived):
    assert "Not equal to the tokenizer's template: an earlier answer that still holds its <think> block." in derived["qwen3"].notes
    assert "Not equal to the tokenizer's template: a conversation that ends with the assistant." in derived["qwen3"].notes
    assert not any("<think>" in note or "ends with" in note for note in derived["qwen25"].notes)


def test_a_template_without_system_messages_says_so(derived):
    refuses, ignores = derived["no system message"], derived["system ignored"]
    assert not refuses.takes_system and not ignores.takes_system
    assert (
        "The tokenizer's template refuses system messages (TemplateError: System role not supported); TEMPLATE leaves them out."
        in refuses.notes
    )
    assert "The tokenizer's template leaves system messages out, and so does TEMPLATE." in ignores.notes


def test_a_date_that_changes_with_the_day_is_named():
    case = Case("Today: {{ strftime_now('%d %B %Y') }}\n{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:")
    today = datetime.date.today().strftime("%d %B %Y")
    template = derive_template(case.render, bos_token=None, drop_bos=False)
    note = f"The tokenizer's template writes the day it is used; TEMPLATE writes {today!r}, the day of this export, on every day."
    assert note in template.notes


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "turns are counted",
            "TEMPLATE: conversation '2 turns, without system, plain text' differs from the tokenizer's chat template at character 103,"
            " after 'rranty of part 1 cover?\\n': the tokenizer writes '3. user: What does the warranty of part ', TEMPLATE '5. user: ",
        ),
        (
            "texts are changed",
            "TEMPLATE: conversation '1 turn, without system, backslashes' differs from the tokenizer's chat template at character 8,"
            " after 'user: C:': the tokenizer writes '/new/table /n is not a line //\\nassistant', TEMPLATE '\\\\new\\\\table",
        ),
        ("a text is written twice", "chat template: writes message 0 (user) 2 times or out of order in 'user: xqzuser0zqx xqzuser0zqx\\n'"),
        (
            "a text is looked up by its value",
            "TEMPLATE: conversation '2 turns, without system, quotes' differs from the tokenizer's chat template at character 0,"
            " after '': the tokenizer writes 'LAST user: He said",
        ),
        ("one turn only", "chat template: refuses a conversation of three turns (TemplateError: one turn)"),
        ("nothing is accepted", "chat template: refuses a conversation of one user message (TemplateError: tools only)"),
    ],
)
def test_a_template_that_can_not_be_expressed_is_refused_with_the_place(name, message):
    case = NOT_EXPRESSIBLE[name]
    with pytest.raises(UserError) as raised:
        derive_template(case.render, bos_token=case.bos_token, drop_bos=case.drop_bos)
    assert str(raised.value).startswith(message)


# -- the file ----------------------------------------------------------------------------------------------------------------------------

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
        "system": 'Be "brief".\n\n# not a comment\nFROM nothing ',
        "parameters": {"stop": ["<|eot_id|>", "<|end_of_text|>"], "num_ctx": ["2048"], "temperature": ["0.7"]},
    }
    assert [item.name for item in tmp_path.iterdir()] == ["Modelfile"]


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
    text = '# mine\r\nfrom ./a b.gguf \r\n\r\nParameter  stop  "a" b"\nparameter stop c\nSYSTEM """\n one\u200b "two" \n""" \nTEMPLATE x y\nLICENSE MIT\n'
    assert parse_modelfile(text) == {
        "from": "./a b.gguf",
        "system": '\n one "two" \n',
        "template": "x y",
        "parameters": {"stop": ['a" b', "c"]},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PARAMETER num_ctx 1\n", "Modelfile: has no FROM; expected FROM ./NAME.gguf."),
        ("FROM a\nSTOP b\n", "Modelfile:2: 'STOP' is no instruction; expected FROM, TEMPLATE, PARAMETER, SYSTEM, ADAPTER or LICENSE."),
        ('FROM a\n\nTEMPLATE """b\nPARAMETER num_ctx 1\n', 'Modelfile:3: """ is not closed; expected """ at the end of a line.'),
        ("FROM a\nSYSTEM\n", "Modelfile:2: 'SYSTEM' has no value; expected INSTRUCTION value."),
    ],
)
def test_a_broken_modelfile_is_refused_by_line(text, message):
    with pytest.raises(UserError) as raised:
        parse_modelfile(text)
    assert str(raised.value) == message


# -- a Modelfile that is wrong is caught -------------------------------------------------------------------------------------------------


def modelfile(tmp_path: Path, template: GoTemplate, stops: list[str]) -> str:
    return write_modelfile(tmp_path / "Modelfile", gguf_name="m.gguf", template=template, stops=stops, num_ctx=512).read_text(
        encoding="utf-8"
    )


def test_our_own_modelfiles_pass_the_check(tmp_path, cases, derived):
    for name in PUBLISHED:
        case = cases[name]
        check_modelfile(modelfile(tmp_path, derived[name], [case.eos_token]), chat_template(case), end_tokens=[case.eos_token])


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
            text.replace(spoilt.before, spoilt.after), chat_template(cases[spoilt.name]), end_tokens=[cases[spoilt.name].eos_token]
        )
    assert spoilt.says or spoilt.at
    message = str(raised.value)
    if spoilt.says:
        assert message == f"Modelfile: {spoilt.says}"
    else:
        place = f"Modelfile: TEMPLATE: conversation '{spoilt.conversation}' differs from the tokenizer's chat template at character {spoilt.at},"
        assert message.startswith(place)
        assert message.endswith(f": the tokenizer writes {spoilt.tokenizer!r}, TEMPLATE {spoilt.template!r}.")


def test_another_familys_template_is_caught(tmp_path, cases, derived):
    text = modelfile(tmp_path, derived["llama31"], ["<|im_end|>"])
    with pytest.raises(GateError) as raised:
        check_modelfile(text, chat_template(cases["qwen25"]), end_tokens=["<|im_end|>"])
    assert str(raised.value) == (
        "Modelfile: TEMPLATE: conversation '1 turn, without system, plain text' differs from the tokenizer's chat template at character 2,"
        " after '<|': the tokenizer writes 'im_start|>system\\nYou are Qwen, created b', TEMPLATE 'start_header_id|>system<|end_header_id|>'."
    )


def test_every_family_is_told_from_every_other(tmp_path, cases, derived):
    for name in PUBLISHED:
        for other in PUBLISHED:
            if derived[name].text != derived[other].text:
                with pytest.raises(GateError, match="differs from the tokenizer's chat template|refuses"):
                    check_modelfile(modelfile(tmp_path, derived[other], ["x"]), chat_template(cases[name]), end_tokens=["x"])


# -- the evaluator -----------------------------------------------------------------------------------------------------------------------

LANGUAGE = (
    "a  {{- /* gone */ -}}  b\n{{ range $i, $m := .Messages }}{{ $i }}{{ $m.Role }} {{ end }}",
    '{{ $x := "one" }}{{ range .Messages }}{{ if eq .Role "user" "system" }}{{ $x = .Content }}{{ else }}{{ $x := "inner" }}{{ $x }}{{ end }}{{ end }}{{ $x }}',
    "{{ range $i, $m := .Messages }}{{ if and $.System (lt $i 2) }}A{{ else if or (ge $i 3) (ne .Role `user`) }}B{{ else }}C{{ end }}{{ end }}",
    "{{ $first := index .Messages 0 }}{{ $first.Content }}{{ len $first.Content }}",
    "{{ range .Messages }}{{ slice .Content 1 }}|{{ slice .Content 0 1 }}|{{ not (gt (len .Content) 4) }}{{ end }}",
    '{ {{ "{{ \\" \\\\ \\u00e9 \\x22 }}" }} }} {{- "x" -}} \n\n {{ true }}{{ range .Messages }}{{ end }}',
    "{{ .Nothing }}{{ if .Nothing }}no{{ else }}yes{{ end }}{{ range $m := .Messages }}{{ $m.Content }}{{ end }}",
)


@pytest.mark.parametrize("source", LANGUAGE)
def test_evaluator_reads_the_language_as_go_does(source, go_render):
    conversations = [chat("system:rules", "user:hello", "assistant:hi", "user:bye"), chat("user:one", "assistant:two", "user:three")]
    assert ["".join(evaluate(source, messages)) for messages in conversations] == go_render([(source, m) for m in conversations])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "{{ .Messages | json }}",
            "TEMPLATE:1: {{ .Messages | json }}: '| json' is not known here; known are if, range, else, end, := and function calls.",
        ),
        (
            "\n{{ printf .Messages }}",
            "TEMPLATE:2: {{ printf .Messages }}: 'printf' is not known here; known are and, eq, ge, gt, index, le, len, lt, ne, not, or, slice.",
        ),
        ("{{ .Messages }}\n{{ if .System }}", "TEMPLATE: an if or range is not closed; expected {{ end }}."),
        ("{{ .Messages }}{{ end }}", "TEMPLATE:1: {{ end }}: nothing is open here."),
        ("{{ .Messages }}\n{{ .System", "TEMPLATE:2: {{ is not closed; expected }} after it."),
        ("{{ range .Messages }}{{ $x }}{{ end }}", "TEMPLATE:1: {{ $x }}: $x was not declared."),
        ("{{ index .Messages 9 }}", "TEMPLATE:1: {{ index .Messages 9 }}: index fails: list index out of range."),
    ],
)
def test_what_the_evaluator_does_not_know_is_refused_by_line(source, message):
    with pytest.raises(UserError) as raised:
        evaluate(source, chat("user:hello"))
    assert str(raised.value) == message


def test_neighbours_of_one_role_are_joined_as_ollama_joins_them():
    messages = chat("system:a", "user:b", "user:c", "system:d", "tool:e", "tool:f")
    assert collate(messages) == (
        "a\n\nd",
        [
            {"role": "system", "content": "a"},
            {"role": "user", "content": "b\n\nc"},
            {"role": "system", "content": "d"},
            {"role": "tool", "content": "e"},
            {"role": "tool", "content": "f"},
        ],
    )
