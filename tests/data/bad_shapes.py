"""ShareGPT's rows that can't be learned, and rows of two shapes: name, file name, content, the whole message."""

from __future__ import annotations

import json

from tests.data.building import KNOWN, lines, qa


def share(*turns: tuple[str, object]) -> bytes:
    """One line of ShareGPT."""
    return lines({"conversations": [{"from": role, "value": value} for role, value in turns]})


BAD_SHAPES: list[tuple[str, str, bytes, str]] = [
    (
        "ShareGPT without value",
        "faq.jsonl",
        lines({"conversations": [{"from": "human"}, {"from": "gpt", "value": "b"}]}),
        'faq.jsonl:1: message 1 has no "content"; it has "from". Add it, or pass --set data.columns.content=NAME.',
    ),
    (
        "ShareGPT without from",
        "faq.jsonl",
        lines({"conversations": [{"value": "a"}, {"from": "gpt", "value": "b"}]}),
        'faq.jsonl:1: message 1 has no "role"; it has "value". Add it, or pass --set data.columns.role=NAME.',
    ),
    (
        "ShareGPT with an unknown role",
        "faq.jsonl",
        share(("human", "a"), ("bing", "b")),
        ('faq.jsonl:1: from is "bing"; expected system, user, assistant or tool. Rename it, or pass --set data.roles.bing=user.'),
    ),
    (
        "ShareGPT from the assistant first",
        "faq.jsonl",
        share(("gpt", "a"), ("human", "b"), ("gpt", "c")),
        ("faq.jsonl:1: the conversation starts with an assistant message; expected a user message first. Add or remove one."),
    ),
    (
        "ShareGPT with an empty value",
        "faq.jsonl",
        share(("human", "a"), ("gpt", "")),
        "faq.jsonl:1: the content of message 2 (assistant) is empty; expected text. Fill it in, or remove the row.",
    ),
    (
        "ShareGPT with a null value",
        "faq.jsonl",
        share(("human", None), ("gpt", "b")),
        "faq.jsonl:1: the content of message 1 (user) is null; expected text. Fill it in, or remove the row.",
    ),
    (
        "ShareGPT that ends with the human",
        "faq.jsonl",
        share(("human", "a"), ("gpt", "b"), ("human", "c")),
        ("faq.jsonl:1: the conversation ends with a user message; expected an assistant message last. Add the answer, or remove it."),
    ),
    (
        "ShareGPT with two humans",
        "faq.jsonl",
        share(("human", "a"), ("human", "b"), ("gpt", "c")),
        ("faq.jsonl:1: messages 1 and 2 are both from the user; expected user and assistant in turn. Join them, or add what is between."),
    ),
    (
        "ShareGPT of texts",
        "faq.jsonl",
        lines({"conversations": ["Who?", "Me."]}),
        (
            'faq.jsonl:1: message 1 is the text "Who?"; expected an object with role and content.\n'
            'faq.jsonl:1: message 2 is the text "Me."; expected an object with role and content.\n'
            "2 errors; nothing was written."
        ),
    ),
    (
        "ShareGPT empty",
        "faq.jsonl",
        lines({"conversations": []}),
        "faq.jsonl:1: \"conversations\" is an empty array; expected a user's and an assistant's message.",
    ),
    ("ShareGPT null", "faq.jsonl", lines({"conversations": None}), 'faq.jsonl:1: "conversations" is null; expected an array of messages.'),
    (
        "ShareGPT under conversation",
        "faq.jsonl",
        lines({"conversation": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}),
        (f'faq.jsonl:1: no known shape in the keys "conversation"; known shapes: {KNOWN}. Pass --set data.columns.messages=conversation.'),
    ),
    (
        "ShareGPT with from of a number",
        "faq.jsonl",
        lines({"conversations": [{"from": 1, "value": "a"}]}),
        "faq.jsonl:1: from is the number 1; expected system, user, assistant or tool.",
    ),
    (
        "dialogue as an array of texts",
        "faq.jsonl",
        lines({"dialogue": ["Who?", "Me."]}),
        f'faq.jsonl:1: no known shape in the keys "dialogue"; known shapes: {KNOWN}. Pass --set data.columns.messages=dialogue.',
    ),
    (
        "history beside a question",
        "faq.jsonl",
        lines({"question": "a", "answer": "b", "history": [["c", "d"]]}),
        'faq.jsonl:1: "history" is not supported, and leaving it out would change the row. Remove the key, or the row.',
    ),
    (
        "images beside messages",
        "faq.jsonl",
        lines({"messages": [{"role": "user", "content": "<image>"}, {"role": "assistant", "content": "b"}], "images": ["a.png"]}),
        'faq.jsonl:1: "images" is not supported, and leaving it out would change the row. Remove the key, or the row.',
    ),
    (
        "two shapes, the second late",
        "faq.jsonl",
        lines(qa("a"), qa("b"), qa("c"), {"prompt": "d", "completion": "e"}),
        (
            "faq.jsonl:4: rows of different shapes in one file: question/answer (first on line 1), prompt/completion (first "
            "on line 4). Split the file, one shape each."
        ),
    ),
    (
        "two shapes in an array",
        "faq.json",
        json.dumps([qa(), {"prompt": "d", "completion": "e"}]).encode(),
        (
            "faq.json:2: rows of different shapes in one file: question/answer (first on line 1), prompt/completion (first "
            "on line 2). Split the file, one shape each."
        ),
    ),
    (
        "known and unknown rows",
        "faq.jsonl",
        lines(qa(), {"x": "a"}, {"y": "b"}),
        (
            'faq.jsonl:2: no known shape in the keys "x"; known shapes: '
            f"{KNOWN}. Pass --set data.columns.question=NAME --set data.columns.answer=NAME.\n"
            'faq.jsonl:3: no known shape in the keys "y"; known shapes: '
            f"{KNOWN}. Pass --set data.columns.question=NAME --set data.columns.answer=NAME.\n"
            "2 errors; nothing was written."
        ),
    ),
    (
        "text beside messages in one file",
        "faq.jsonl",
        lines({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, {"text": "c"}),
        (
            "faq.jsonl:2: rows of different shapes in one file: messages (first on line 1), text (first on line 2). Split "
            "the file, one shape each."
        ),
    ),
    (
        "text beside a prompt",
        "faq.jsonl",
        lines({"prompt": "a", "text": "b"}),
        (
            'faq.jsonl:1: both "text" and "prompt", and it is not clear which to train on. If text is the answer, pass --set '
            "data.columns.answer=text --set data.columns.question=prompt; to train on text alone, pass --set "
            "data.columns.text=text."
        ),
    ),
    (
        "one mistake of each of three kinds",
        "faq.jsonl",
        lines(qa("a", ""), {"question": "b"}, 3),
        (
            'faq.jsonl:1: "answer" is empty; expected text. Fill it in, or remove the row.\n'
            'faq.jsonl:2: "answer" is missing; the row has "question". Add it, or pass --set data.columns.answer=NAME.\n'
            "faq.jsonl:3: the row is the number 3; expected one JSON object a line.\n"
            "3 errors; nothing was written."
        ),
    ),
]
