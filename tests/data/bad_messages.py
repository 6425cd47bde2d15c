"""Rows of messages that are no conversation that can be learned: name, file name, content, the whole message."""

from __future__ import annotations

import json

from tests.data.building import chat, lines

BAD_MESSAGES: list[tuple[str, str, bytes, str]] = [
    (
        "messages as a JSON text",
        "faq.jsonl",
        lines({"messages": json.dumps([{"role": "user", "content": "a"}])}),
        (
            'faq.jsonl:1: "messages" is the text "[{\\"role\\": \\"user\\", \\"content\\": \\"a\\"}]"; expected an array of '
            "messages. It is JSON in quotes: write the rows as JSON Lines, the array without quotes."
        ),
    ),
    (
        "messages as an object",
        "faq.jsonl",
        lines({"messages": {"role": "user", "content": "a"}}),
        'faq.jsonl:1: "messages" is an object; expected an array of messages.',
    ),
    (
        "messages of null",
        "faq.jsonl",
        lines({"messages": [None]}),
        "faq.jsonl:1: message 1 is null; expected an object with role and content.",
    ),
    (
        "messages of arrays",
        "faq.jsonl",
        lines({"messages": [["user", "a"], ["assistant", "b"]]}),
        (
            "faq.jsonl:1: message 1 is an array; expected an object with role and content.\n"
            "faq.jsonl:1: message 2 is an array; expected an object with role and content.\n"
            "2 errors; nothing was written."
        ),
    ),
    (
        "messages of empty objects",
        "faq.jsonl",
        lines({"messages": [{}, {}]}),
        (
            'faq.jsonl:1: message 1 has no "role"; it has no keys. Add it, or pass --set data.columns.role=NAME.\n'
            'faq.jsonl:1: message 2 has no "role"; it has no keys. Add it, or pass --set data.columns.role=NAME.\n'
            "2 errors; nothing was written."
        ),
    ),
    ("messages of false", "faq.jsonl", lines({"messages": False}), 'faq.jsonl:1: "messages" is false; expected an array of messages.'),
    (
        "messages in an array too many",
        "faq.jsonl",
        lines({"messages": [[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]]}),
        "faq.jsonl:1: message 1 is an array; expected an object with role and content.",
    ),
    (
        "message without its text among good ones",
        "faq.jsonl",
        lines({"messages": [{"role": "user", "content": "a"}, {"role": "assistant"}]}),
        'faq.jsonl:1: message 2 has no "content"; it has "role". Add it, or pass --set data.columns.content=NAME.',
    ),
    (
        "message with text under another key",
        "faq.jsonl",
        lines({"messages": [{"role": "user", "text": "a"}, {"role": "assistant", "text": "b"}]}),
        (
            'faq.jsonl:1: message 1 has no "content"; it has "role" and "text". Add it, or pass --set '
            "data.columns.content=NAME.\n"
            'faq.jsonl:1: message 2 has no "content"; it has "role" and "text". Add it, or pass --set '
            "data.columns.content=NAME.\n"
            "2 errors; nothing was written."
        ),
    ),
    (
        "message with content of a number",
        "faq.jsonl",
        chat(("user", "a"), ("assistant", 5)),
        "faq.jsonl:1: the content of message 2 (assistant) is the number 5; expected text. Put it in quotes.",
    ),
    (
        "message with content of an object",
        "faq.jsonl",
        chat(("user", "a"), ("assistant", {"text": "b"})),
        "faq.jsonl:1: the content of message 2 (assistant) is an object; expected text. Write it as one text.",
    ),
    (
        "message with content of true",
        "faq.jsonl",
        chat(("user", True), ("assistant", "b")),
        "faq.jsonl:1: the content of message 1 (user) is true; expected text. Put it in quotes.",
    ),
    (
        "message with no content parts",
        "faq.jsonl",
        chat(("user", "a"), ("assistant", [])),
        "faq.jsonl:1: the content of message 2 (assistant) is empty; expected text. Fill it in, or remove the row.",
    ),
    (
        "message with an audio part",
        "faq.jsonl",
        chat(("user", [{"type": "input_audio", "input_audio": {}}]), ("assistant", "b")),
        (
            'faq.jsonl:1: the content of message 1 (user) has a part of type "input_audio"; only text is supported. Remove '
            "the row, or write it as text."
        ),
    ),
    (
        "message with a text part without text",
        "faq.jsonl",
        chat(("user", [{"type": "text"}]), ("assistant", "b")),
        "faq.jsonl:1: the content of message 1 (user) has a text part whose text is null; expected text. Fill it in.",
    ),
    (
        "message with a part without a type",
        "faq.jsonl",
        chat(("user", [{"text": "a"}]), ("assistant", "b")),
        (
            "faq.jsonl:1: the content of message 1 (user) has a part without a type; only text is supported. Remove the row, "
            "or write it as text."
        ),
    ),
    (
        "message with parts of strings",
        "faq.jsonl",
        chat(("user", ["a", "b"]), ("assistant", "b")),
        ('faq.jsonl:1: the content of message 1 (user) is an array that holds the text "a"; expected text. Write it as one text.'),
    ),
    (
        "message with NUL",
        "faq.jsonl",
        chat(("user", "a\0"), ("assistant", "b")),
        "faq.jsonl:1: the content of message 1 (user) holds a NUL character. Remove it.",
    ),
    (
        "message with half an emoji",
        "faq.jsonl",
        chat(("user", "a"), ("assistant", "b\ude00")),
        (
            "faq.jsonl:1: the content of message 2 (assistant) holds half of a surrogate pair (a cut emoji), which is no "
            "character. Remove it."
        ),
    ),
    (
        "assistant who says None",
        "faq.jsonl",
        chat(("user", "a"), ("assistant", "None")),
        (
            'faq.jsonl:1: the content of message 2 (assistant) is "None", as Python writes a missing value. Leave it out, or '
            "write what is meant."
        ),
    ),
    (
        "assistant of white space",
        "faq.jsonl",
        chat(("user", "a"), ("assistant", "\n\n")),
        ("faq.jsonl:1: the content of message 2 (assistant) is only white space; expected text. Fill it in, or remove the row."),
    ),
    (
        "user of nothing",
        "faq.jsonl",
        chat(("user", ""), ("assistant", "b")),
        "faq.jsonl:1: the content of message 1 (user) is empty; expected text. Fill it in, or remove the row.",
    ),
    (
        "user null",
        "faq.jsonl",
        chat(("user", None), ("assistant", "b")),
        "faq.jsonl:1: the content of message 1 (user) is null; expected text. Fill it in, or remove the row.",
    ),
    (
        "role with a space behind it",
        "faq.jsonl",
        chat(("user ", "a"), ("assistant", "b")),
        ("faq.jsonl:1: role is \"user \"; expected system, user, assistant or tool. Rename it, or pass --set 'data.roles.user =user'."),
    ),
    (
        "role in capitals",
        "faq.jsonl",
        chat(("USER", "a"), ("ASSISTANT", "b")),
        (
            'faq.jsonl:1: role is "USER"; expected system, user, assistant or tool. Rename it, or pass --set '
            "data.roles.USER=user.\n"
            'faq.jsonl:1: role is "ASSISTANT"; expected system, user, assistant or tool. Rename it, or pass --set '
            "data.roles.ASSISTANT=assistant.\n"
            "2 errors; nothing was written."
        ),
    ),
    (
        "role empty",
        "faq.jsonl",
        chat(("", "a"), ("assistant", "b")),
        'faq.jsonl:1: role is ""; expected system, user, assistant or tool. Rename it.',
    ),
    (
        "role misspelt",
        "faq.jsonl",
        chat(("user", "a"), ("asistant", "b")),
        (
            'faq.jsonl:1: role is "asistant"; expected system, user, assistant or tool. Rename it, or pass --set '
            "data.roles.asistant=assistant."
        ),
    ),
    (
        "role model",
        "faq.jsonl",
        chat(("user", "a"), ("model", "b")),
        ('faq.jsonl:1: role is "model"; expected system, user, assistant or tool. Rename it, or pass --set data.roles.model=assistant.'),
    ),
    (
        "role customer",
        "faq.jsonl",
        chat(("customer", "a"), ("agent", "b")),
        (
            'faq.jsonl:1: role is "customer"; expected system, user, assistant or tool. Rename it, or pass --set '
            "data.roles.customer=user.\n"
            'faq.jsonl:1: role is "agent"; expected system, user, assistant or tool. Rename it, or pass --set '
            "data.roles.agent=assistant.\n"
            "2 errors; nothing was written."
        ),
    ),
    (
        "role ipython",
        "faq.jsonl",
        chat(("user", "a"), ("assistant", "b"), ("ipython", "c"), ("assistant", "d")),
        ('faq.jsonl:1: role is "ipython"; expected system, user, assistant or tool. Rename it, or pass --set data.roles.ipython=tool.'),
    ),
    (
        "role context",
        "faq.jsonl",
        chat(("context", "a"), ("user", "b"), ("assistant", "c")),
        (
            'faq.jsonl:1: role is "context"; expected system, user, assistant or tool. Rename it, or pass --set '
            "data.roles.context=system."
        ),
    ),
    (
        "role in German",
        "faq.jsonl",
        chat(("Nutzer", "a"), ("Assistent", "b")),
        (
            'faq.jsonl:1: role is "Nutzer"; expected system, user, assistant or tool. Rename it, or pass --set '
            "data.roles.Nutzer=user.\n"
            'faq.jsonl:1: role is "Assistent"; expected system, user, assistant or tool. Rename it, or pass --set '
            "data.roles.Assistent=assistant.\n"
            "2 errors; nothing was written."
        ),
    ),
    (
        "role of an array",
        "faq.jsonl",
        lines({"messages": [{"role": ["user"], "content": "a"}]}),
        "faq.jsonl:1: role is an array; expected system, user, assistant or tool.",
    ),
    (
        "role of control characters",
        "faq.jsonl",
        chat(("user\x1b[2J", "a"), ("assistant", "b")),
        'faq.jsonl:1: role is "user\\u001b[2J"; expected system, user, assistant or tool. Rename it.',
    ),
    (
        "role of 1,000 characters",
        "faq.jsonl",
        chat(("u" * 1000, "a"), ("assistant", "b")),
        ('faq.jsonl:1: role is "uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu…"; expected system, user, assistant or tool. Rename it.'),
    ),
    (
        "role true",
        "faq.jsonl",
        lines({"messages": [{"role": True, "content": "a"}]}),
        "faq.jsonl:1: role is true; expected system, user, assistant or tool.",
    ),
    (
        "only a user",
        "faq.jsonl",
        chat(("user", "a")),
        "faq.jsonl:1: there is no assistant message, so nothing to learn. Add the answer, or remove the row.",
    ),
    (
        "only an assistant",
        "faq.jsonl",
        chat(("assistant", "b")),
        ("faq.jsonl:1: the conversation starts with an assistant message; expected a user message first. Add or remove one."),
    ),
    (
        "system and assistant",
        "faq.jsonl",
        chat(("system", "s"), ("assistant", "b")),
        ("faq.jsonl:1: the conversation starts with an assistant message; expected a user message first. Add or remove one."),
    ),
    (
        "system last",
        "faq.jsonl",
        chat(("user", "a"), ("assistant", "b"), ("system", "s")),
        "faq.jsonl:1: message 3 is a system message; expected it at the start. Move or remove it.",
    ),
    (
        "tool first",
        "faq.jsonl",
        chat(("tool", "t"), ("user", "a"), ("assistant", "b")),
        "faq.jsonl:1: the conversation starts with a tool message; expected a user message first. Add or remove one.",
    ),
    (
        "three users",
        "faq.jsonl",
        chat(("user", "a"), ("user", "b"), ("user", "c"), ("assistant", "d")),
        ("faq.jsonl:1: messages 1 and 2 are both from the user; expected user and assistant in turn. Join them, or add what is between."),
    ),
]
