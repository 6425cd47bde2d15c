"""Writes Go template source: literal text made safe, cases turned into the fewest `if`s, and the loop over Ollama's messages."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from unsloth_ft.export.go_template import quote

SYSTEM = "\ue000"
"""Stands for the system text inside a literal; a private-use character, so that no template writes it by chance."""

Token = tuple[str, str]
"""("text", literal), ("value", an expression that is written) or ("control", if, else, range, end, :=)."""

# What would open an action, end the TEMPLATE, or be dropped on the way: ollama's parser.go keeps only characters that strconv.IsPrint
# allows (str.isprintable is the same set), besides white space it knows.
_UNSAFE = re.compile(r'(\{+|"{3,})')


def literal(text: str, *, system: str = "$.System") -> list[Token]:
    """The tokens that write `text`, with the value `system` where SYSTEM stands."""
    tokens: list[Token] = []
    for number, part in enumerate(text.split(SYSTEM)):
        if number:
            tokens.append(("value", system))
        for piece in re.findall(r'\{+|"{3,}|[^{"]+|"{1,2}(?!")', part):
            tokens += [("value", quote(piece))] if _UNSAFE.fullmatch(piece) else _printable(piece)
    return tokens


def _printable(text: str) -> list[Token]:
    safe = re.split(r"([^\n\t]+)", text)
    tokens: list[Token] = []
    for part in safe:
        for run in re.findall(r".", part, re.DOTALL):
            kind = "text" if run.isprintable() or run in "\n\t" else "value"
            if tokens and tokens[-1][0] == kind:
                tokens[-1] = (kind, tokens[-1][1] + run)
            else:
                tokens.append((kind, run))
    return [(kind, run if kind == "text" else quote(run)) for kind, run in tokens]


def common_prefix(texts: Sequence[str]) -> str:
    """The longest common beginning that does not end inside a marker such as `<|im_end|>` or `[/INST]`."""
    prefix = os.path.commonprefix(list(texts))
    if any(text != prefix for text in texts):
        prefix = re.sub(r"[<\[]+[^<>\[\]]*$", "", prefix)
    return prefix


def common_suffix(texts: Sequence[str]) -> str:
    """The longest common ending that does not begin inside a marker."""
    suffix = os.path.commonprefix([text[::-1] for text in texts])[::-1]
    if any(text != suffix for text in texts):
        suffix = re.sub(r"^[^<>\[\]]*[>\]]+", "", suffix)
    return suffix


def branches(cases: Mapping[tuple[bool, ...], str], conditions: Sequence[str], *, system: str = "$.System") -> list[Token]:
    """The tokens that write `cases[k]` where `k` says which of the conditions hold; conditions that change nothing are left out."""
    texts = list(cases.values())
    if len(set(texts)) == 1:
        return literal(texts[0], system=system)
    prefix = common_prefix(texts)
    rest = {key: text[len(prefix) :] for key, text in cases.items()}
    suffix = common_suffix(list(rest.values()))
    rest = {key: text[: len(text) - len(suffix)] for key, text in rest.items()}
    position = min(range(len(conditions)), key=lambda at: sum(len(set(_half(rest, at, value).values())) for value in (True, False)))
    left = (*conditions[:position], *conditions[position + 1 :])
    yes, no = (branches(_half(rest, position, value), left, system=system) for value in (True, False))
    return [*literal(prefix, system=system), *_if(conditions[position], yes, no), *literal(suffix, system=system)]


def _half(cases: Mapping[tuple[bool, ...], str], position: int, value: bool) -> dict[tuple[bool, ...], str]:
    return {(*key[:position], *key[position + 1 :]): text for key, text in cases.items() if key[position] is value}


def _if(condition: str, yes: list[Token], no: list[Token]) -> list[Token]:
    if not yes:
        inverted = f"not ({condition})" if " " in condition else f"not {condition}"
        return [("control", f"if {inverted}"), *no, ("control", "end")]
    otherwise = [("control", "else"), *no] if no else []
    return [("control", f"if {condition}"), *yes, *otherwise, ("control", "end")]


def write(
    *,
    beginning: list[Token],
    before_user: list[Token],
    user_end: list[Token],
    before_assistant: list[Token],
    assistant_end: list[Token],
    generation_prompt: list[Token],
) -> str:
    """The whole TEMPLATE. `.Response` is left out: Ollama gives templates with `.Messages` an empty one and generates at the end."""
    counts_first = any(kind == "control" and "$first" in text for kind, text in before_user)
    tokens: list[Token] = [
        *beginning,
        *([("control", "$first := true")] if counts_first else []),
        ("control", "range $i, $m := .Messages"),
        ("control", 'if eq .Role "user"'),
        *before_user,
        ("value", ".Content"),
        *user_end,
        *([("control", "$first = false")] if counts_first else []),
        ("control", 'else if eq .Role "assistant"'),
        *before_assistant,
        ("value", ".Content"),
        *assistant_end,
        ("control", "end"),
        ("control", "end"),
        *generation_prompt,
    ]
    return _layout(tokens)


def _layout(tokens: Sequence[Token]) -> str:
    """A control on its own line where `{{-` can't take white space that belongs to the text before it."""
    source = ""
    for kind, text in tokens:
        if kind == "text":
            source += text
        elif kind == "control" and (not source or source[-1] not in " \t\r\n"):
            source += ("\n" if source else "") + f"{{{{- {text} }}}}"
        else:
            source += f"{{{{ {text} }}}}"
    return source
