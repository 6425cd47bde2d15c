"""The evaluator writes what Go's own text/template writes, and refuses by line what it does not know."""

from __future__ import annotations

import pytest

from tests.export.chat_templates import chat
from unsloth_ft.errors import UserError
from unsloth_ft.export.go_template import collate, evaluate

LANGUAGE = (
    "a  {{- /* gone */ -}}  b\n{{ range $i, $m := .Messages }}{{ $i }}{{ $m.Role }} {{ end }}",
    '{{ $x := "one" }}{{ range .Messages }}{{ if eq .Role "user" "system" }}{{ $x = .Content }}'
    '{{ else }}{{ $x := "inner" }}{{ $x }}{{ end }}{{ end }}{{ $x }}',
    "{{ range $i, $m := .Messages }}{{ if and $.System (lt $i 2) }}A"
    "{{ else if or (ge $i 3) (ne .Role `user`) }}B{{ else }}C{{ end }}{{ end }}",
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
            "TEMPLATE:2: {{ printf .Messages }}: 'printf' is not known here;"
            " known are and, eq, ge, gt, index, le, len, lt, ne, not, or, slice.",
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
