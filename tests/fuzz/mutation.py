"""Data files with deliberate damage: good rows, and edits that chance makes in them."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator

from tests.data.building import chat, lines, qa

SEEDS = (
    lines(qa("What is é 😀?", 'a "quoted" \\ [1, {2}]')),
    lines({"instruction": "Add.", "input": None, "output": "4", "id": 12.5e3}),
    chat(("system", "s"), ("user", "a"), ("assistant", "b"), ("tool", "c"), ("assistant", "d")),
    lines({"conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Me."}]}),
    lines({"text": "<s>x</s>", "tags": [[], {}, [[["x"]]], True, False, None]}),
    chat(("user", [{"type": "text", "text": "a"}]), ("assistant", "b")),
    lines({"prompt": "Who?", "completion": "Me.\n\n```py\nprint({'a': [1]})\n```", "system": "Be brief.", "score": -0.25}),
    b'{"question": "\\u00e9\\ud83d\\ude00\\/\\b\\f\\n\\r\\t", "answer": "\xe6\x9d\xb1\xe4\xba\xac", "x": [1e-5, -0, 1E+2]}\n',
    lines(
        {
            "messages": [
                {"role": "user", "content": "Rain?"},
                {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "rain", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "1", "content": "no"},
                {"role": "assistant", "content": "No.", "weight": 0},
            ],
            "tools": [{"type": "function", "function": {"name": "rain", "parameters": {"type": "object", "properties": {}}}}],
        }
    ),
)  # fmt: skip
PIECES = (
    b"\0", b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\x1b", b"\\ud800", b"\\u0000", b"\\u12", b"\\x",
    b"\\", b'"', b"'", b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\r", b" ", b"\t", b";", b"//", b"#", b"+", b"-", b".", b"0", b"01", b"1e999", b"-0.0",
    b"NaN", b"null", b"true", b"-Infinity", b"9" * 5000, b"[" * 100, b'{"a":' * 1500, b'"role"', b'"content"', b'"question"', b'"answer"', b'"text"',
    b"None", b'""', b'"tools":', b'"weight": 2,', b'"system": 1,',
)  # fmt: skip

KEYS = (
    "messages", "conversations", "role", "content", "from", "value", "question", "answer", "instruction", "input", "output", "prompt", "completion",
    "text", "system", "tools", "functions", "tool_calls", "function_call", "tool_call_id", "weight", "train", "name", "type", "id", "history", "images",
    "chosen", "rejected", "label", "", "Question", "\ud83d", "\0", "k" * 300,
)  # fmt: skip
VALUES = (
    None, True, False, 0, -1, 1, 2, 0.5, 1e300, 10**30, "", " ", "x", "None", "null", "nan", "user", "assistant", "system", "tool", "human", "gpt", "bot",
    "User", "\ud83d", "\ude00\ud83d", "\0", "a\0b", "\u200b", "\x1b[31m", "\u202e", "e\u0301", "[1]", "{}", "<|im_end|>", "x" * 5000, [], {}, [None], [[]], ["a"],
    [{"type": "text", "text": "a"}], [{"type": "text", "text": None}], [{"type": "image_url"}], {"role": "user", "content": "a"}, {"from": "gpt", "value": 1},
    [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{"}}], [{"function": {"name": 1, "arguments": {}}}], {"name": "f"},
)  # fmt: skip


def mutated(chance: random.Random, text: bytes) -> bytes:
    """`text` after one to three edits: a byte changed, a part cut or doubled, a piece put in."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.choice((1, 1, 2, 5, 20)))
        kind = chance.choice(("changed", "changed", "cut", "doubled", "put"))
        if kind == "changed":
            text = (
                text[:start]
                + bytes([chance.choice((chance.randrange(32, 127), chance.randrange(32, 127), chance.randrange(256)))])
                + text[start + 1 :]
            )
        elif kind == "cut":
            text = text[:start] + text[end:]
        elif kind == "doubled":
            text = text[:end] + text[start:]
        else:
            text = text[:start] + chance.choice(PIECES) + text[start:]
    return text


def reshaped(chance: random.Random, line: bytes) -> bytes:
    """A row that is still JSON, after one or two of its values or keys were exchanged, removed or added."""
    row = json.loads(line)
    for _ in range(chance.randint(1, 2)):
        holder = chance.choice(list(_containers(row)))
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if isinstance(holder, dict) and chance.random() < 0.3:
            holder[chance.choice(KEYS)] = (
                holder.pop(chance.choice(keys)) if keys and chance.random() < 0.5 else copy.deepcopy(chance.choice(VALUES))
            )
        elif keys and chance.random() < 0.3:
            del holder[chance.choice(keys)]
        elif keys:
            holder[chance.choice(keys)] = copy.deepcopy(chance.choice(VALUES))
    return json.dumps(row, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass") + b"\n"


def _containers(value: object) -> Iterator[dict[str, object] | list[object]]:
    if isinstance(value, (dict, list)):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _containers(inner)


def mutated_line(chance: random.Random) -> bytes:
    """One line of a good row after some edits, which may have made two lines of it."""
    seed = chance.choice(SEEDS)
    line = mutated(chance, seed) if chance.random() < 0.5 else reshaped(chance, seed)
    return line if line.endswith(b"\n") else line + b"\n"
