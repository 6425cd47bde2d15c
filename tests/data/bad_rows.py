"""Well-formed JSON Lines whose rows can't be trained on: name, file name, content, the whole message."""

from __future__ import annotations

from tests.data.building import KNOWN, chat, lines, qa

BAD_ROWS: list[tuple[str, str, bytes, str]] = [
    (
        "missing answer",
        "faq.jsonl",
        lines(qa(), {"question": "x"}),
        ('faq.jsonl:2: "answer" is missing; the row has "question". Add it, or pass --set data.columns.answer=NAME.'),
    ),
    (
        "missing answer near",
        "faq.jsonl",
        lines({"question": "x", "response": "y"}),
        ('faq.jsonl:1: "answer" is missing; the row has "question" and "response". Add it, or pass --set data.columns.answer=response.'),
    ),
    (
        "null answer",
        "faq.jsonl",
        lines(qa(), {"question": "x", "answer": None}),
        'faq.jsonl:2: "answer" is null; expected text. Fill it in, or remove the row.',
    ),
    (
        "empty answer",
        "faq.jsonl",
        lines(qa(), {"question": "x", "answer": ""}),
        'faq.jsonl:2: "answer" is empty; expected text. Fill it in, or remove the row.',
    ),
    (
        "blank answer",
        "faq.jsonl",
        lines({"question": "x", "answer": " \n"}),
        'faq.jsonl:1: "answer" is only white space; expected text. Fill it in, or remove the row.',
    ),
    (
        "empty question",
        "faq.jsonl",
        lines({"question": "", "answer": "x"}),
        'faq.jsonl:1: "question" is empty; expected text. Fill it in, or remove the row.',
    ),
    (
        "number answer",
        "faq.jsonl",
        lines({"question": "x", "answer": 42}),
        'faq.jsonl:1: "answer" is the number 42; expected text. Put it in quotes.',
    ),
    (
        "bool answer",
        "faq.jsonl",
        lines({"question": "x", "answer": True}),
        'faq.jsonl:1: "answer" is true; expected text. Put it in quotes.',
    ),
    (
        "object answer",
        "faq.jsonl",
        lines({"question": "x", "answer": {"a": 1}}),
        'faq.jsonl:1: "answer" is an object; expected text. Write it as one text.',
    ),
    (
        "array answer",
        "faq.jsonl",
        lines({"question": "x", "answer": ["a"]}),
        'faq.jsonl:1: "answer" is an array that holds the text "a"; expected text. Write it as one text.',
    ),
    (
        "None answer",
        "faq.jsonl",
        lines({"question": "x", "answer": "None"}),
        'faq.jsonl:1: "answer" is "None", as Python writes a missing value. Leave it out, or write what is meant.',
    ),
    (
        "None input",
        "faq.jsonl",
        lines({"instruction": "x", "input": "None", "output": "y"}),
        'faq.jsonl:1: "input" is "None", as Python writes a missing value. Leave it out, or write what is meant.',
    ),
    (
        "half emoji",
        "faq.jsonl",
        b'{"question": "x", "answer": "\\ud83d"}\n',
        'faq.jsonl:1: "answer" holds half of a surrogate pair (a cut emoji), which is no character. Remove it.',
    ),
    ("escaped nul", "faq.jsonl", b'{"question": "x", "answer": "a\\u0000b"}\n', 'faq.jsonl:1: "answer" holds a NUL character. Remove it.'),
    (
        "mixed",
        "faq.jsonl",
        lines(qa(), {"instruction": "a", "output": "b"}, {"text": "x"}),
        (
            "faq.jsonl:2: rows of different shapes in one file: question/answer (first on line 1), "
            "instruction/input/output (first on line 2), text (first on line 3). Split the file, one shape each."
        ),
    ),
    (
        "unknown keys",
        "faq.jsonl",
        lines({"q": "a", "a": "b"}, {"q": "c", "a": "d"}),
        (
            'faq.jsonl:1: no known shape in the keys "q" and "a"; known shapes: '
            f"{KNOWN}. Pass --set data.columns.question=q --set data.columns.answer=a. 1 more row like it.\n2 errors; nothing was written."
        ),
    ),
    (
        "unknown keys far",
        "faq.jsonl",
        lines({"foo": "a", "bar": "b"}),
        (
            'faq.jsonl:1: no known shape in the keys "foo" and "bar"; known shapes: '
            f"{KNOWN}. Pass --set data.columns.question=NAME --set data.columns.answer=NAME."
        ),
    ),
    (
        "unknown typo",
        "faq.jsonl",
        lines({"quesion": "a", "anwser": "b"}),
        (
            'faq.jsonl:1: no known shape in the keys "quesion" and "anwser"; known shapes: '
            f"{KNOWN}. Pass --set data.columns.question=quesion --set data.columns.answer=anwser."
        ),
    ),
    (
        "upper case",
        "faq.jsonl",
        lines({"Question": "a", "Answer": "b"}),
        (
            'faq.jsonl:1: no known shape in the keys "Question" and "Answer"; known shapes: '
            f"{KNOWN}. Pass --set data.columns.question=Question --set data.columns.answer=Answer."
        ),
    ),
    ("no keys", "faq.jsonl", b"{}\n", (f"faq.jsonl:1: the row has no keys; known shapes: {KNOWN}.")),
    (
        "dialog",
        "faq.jsonl",
        lines({"dialog": [{"role": "user", "content": "a"}]}),
        (f'faq.jsonl:1: no known shape in the keys "dialog"; known shapes: {KNOWN}. Pass --set data.columns.messages=dialog.'),
    ),
    (
        "preference",
        "faq.jsonl",
        lines({"prompt": "a", "chosen": "b", "rejected": "c"}),
        (
            "faq.jsonl:1: the row has chosen and rejected answers (preference data); expected one answer. "
            "To learn the chosen one, pass --set data.columns.completion=chosen."
        ),
    ),
    (
        "text and question",
        "faq.jsonl",
        lines({"question": "a", "text": "b"}),
        (
            'faq.jsonl:1: both "text" and "question", and it is not clear which to train on. '
            "If text is the answer, pass --set data.columns.answer=text --set data.columns.question=question; to "
            "train on text alone, pass --set data.columns.text=text."
        ),
    ),
    (
        "single message rows",
        "faq.jsonl",
        lines({"role": "user", "content": "b"}),
        ('faq.jsonl:1: the row is a single message; expected a whole conversation a row: {"messages": [{"role": …, "content": …}, …]}.'),
    ),
    (
        "tools",
        "faq.jsonl",
        lines({**qa(), "tools": [{"name": "x"}]}),
        ('faq.jsonl:1: "tools" is not supported, and leaving it out would change the row. Remove the key, or the row.'),
    ),
    (
        "history",
        "faq.jsonl",
        lines({"instruction": "a", "output": "b", "history": [["a", "b"]]}),
        ('faq.jsonl:1: "history" is not supported, and leaving it out would change the row. Remove the key, or the row.'),
    ),
    ("messages text", "faq.jsonl", lines({"messages": "hi"}), 'faq.jsonl:1: "messages" is the text "hi"; expected an array of messages.'),
    (
        "messages empty",
        "faq.jsonl",
        lines({"messages": []}),
        "faq.jsonl:1: \"messages\" is an empty array; expected a user's and an assistant's message.",
    ),
    ("messages null", "faq.jsonl", lines({"messages": None}), 'faq.jsonl:1: "messages" is null; expected an array of messages.'),
    (
        "message string",
        "faq.jsonl",
        lines({"messages": ["hi"]}),
        'faq.jsonl:1: message 1 is the text "hi"; expected an object with role and content.',
    ),
    (
        "message without content",
        "faq.jsonl",
        lines({"messages": [{"role": "user"}]}),
        'faq.jsonl:1: message 1 has no "content"; it has "role". Add it, or pass --set data.columns.content=NAME.',
    ),
    (
        "message without role",
        "faq.jsonl",
        lines({"messages": [{"speaker": "user", "content": "x"}]}),
        ('faq.jsonl:1: message 1 has no "role"; it has "speaker" and "content". Add it, or pass --set data.columns.role=NAME.'),
    ),
    (
        "role bot",
        "faq.jsonl",
        chat(("user", "a"), ("bot", "b")),
        ('faq.jsonl:1: role is "bot"; expected system, user, assistant or tool. Rename it, or pass --set data.roles.bot=assistant.'),
    ),
    (
        "role User",
        "faq.jsonl",
        chat(("User", "a"), ("assistant", "b")),
        ('faq.jsonl:1: role is "User"; expected system, user, assistant or tool. Rename it, or pass --set data.roles.User=user.'),
    ),
    (
        "role strange",
        "faq.jsonl",
        chat(("zzz", "a"), ("assistant", "b")),
        ('faq.jsonl:1: role is "zzz"; expected system, user, assistant or tool. Rename it, or pass --set data.roles.zzz=user.'),
    ),
    (
        "role number",
        "faq.jsonl",
        lines({"messages": [{"role": 1, "content": "a"}]}),
        "faq.jsonl:1: role is the number 1; expected system, user, assistant or tool.",
    ),
    (
        "role null",
        "faq.jsonl",
        lines({"messages": [{"role": None, "content": "a"}]}),
        "faq.jsonl:1: role is null; expected system, user, assistant or tool.",
    ),
    (
        "content null",
        "faq.jsonl",
        chat(("user", "a"), ("assistant", None)),
        "faq.jsonl:1: the content of message 2 (assistant) is null; expected text. Fill it in, or remove the row.",
    ),
    (
        "content empty",
        "faq.jsonl",
        chat(("user", "a"), ("assistant", "")),
        ("faq.jsonl:1: the content of message 2 (assistant) is empty; expected text. Fill it in, or remove the row."),
    ),
    (
        "tool calls",
        "faq.jsonl",
        lines({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "tool_calls": [{"id": 1}]}]}),
        'faq.jsonl:1: the tool call of message 2 names no function; expected '
        '{"id": …, "type": "function", "function": {"name": …, "arguments": …}}.',
    ),
    (
        "image",
        "faq.jsonl",
        lines({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}),
        (
            'faq.jsonl:1: the content of message 1 (user) has a part of type "image_url"; only text is supported. '
            "Remove the row, or write it as text."
        ),
    ),
    (
        "no assistant",
        "faq.jsonl",
        chat(("system", "s"), ("user", "a")),
        "faq.jsonl:1: there is no assistant message, so nothing to learn. Add the answer, or remove the row.",
    ),
    (
        "assistant first",
        "faq.jsonl",
        chat(("assistant", "s"), ("user", "a")),
        ("faq.jsonl:1: the conversation starts with an assistant message; expected a user message first. Add or remove one."),
    ),
    (
        "two users",
        "faq.jsonl",
        chat(("user", "a"), ("user", "b"), ("assistant", "c")),
        ("faq.jsonl:1: messages 1 and 2 are both from the user; expected user and assistant in turn. Join them, or add what is between."),
    ),
    (
        "two assistants",
        "faq.jsonl",
        chat(("user", "a"), ("assistant", "b"), ("assistant", "c")),
        (
            "faq.jsonl:1: messages 2 and 3 are both from the assistant; expected user and assistant in turn. "
            "Join them, or add what is between."
        ),
    ),
    (
        "ends with user",
        "faq.jsonl",
        chat(("user", "a"), ("assistant", "b"), ("user", "c")),
        ("faq.jsonl:1: the conversation ends with a user message; expected an assistant message last. Add the answer, or remove it."),
    ),
    (
        "ends with tool",
        "faq.jsonl",
        chat(("user", "a"), ("assistant", "b"), ("tool", "c")),
        ("faq.jsonl:1: the conversation ends with a tool message; expected an assistant message last. Add the answer, or remove it."),
    ),
    (
        "system later",
        "faq.jsonl",
        chat(("user", "a"), ("system", "s"), ("assistant", "b")),
        "faq.jsonl:1: message 2 is a system message; expected it at the start. Move or remove it.",
    ),
    (
        "two systems",
        "faq.jsonl",
        chat(("system", "s"), ("system", "t"), ("user", "a"), ("assistant", "b")),
        ("faq.jsonl:1: message 2 is a second system message; expected one, at the start. Join the two, or remove one."),
    ),
    (
        "only system",
        "faq.jsonl",
        chat(("system", "s")),
        ("faq.jsonl:1: there is only a system message; expected a user's question and an assistant's answer after it."),
    ),
    (
        "tool after user",
        "faq.jsonl",
        chat(("user", "a"), ("tool", "t"), ("assistant", "b")),
        ("faq.jsonl:1: message 2 is a tool message after a user's; expected it after an assistant's. Move or remove it."),
    ),
    (
        "user after tool",
        "faq.jsonl",
        chat(("user", "a"), ("assistant", "t"), ("tool", "b"), ("user", "a"), ("assistant", "t")),
        ("faq.jsonl:1: message 4 is a user message after a tool's; expected the assistant's answer to the tool first. Add it."),
    ),
    (
        "system twice",
        "faq.jsonl",
        lines(
            {
                "system": "a",
                "messages": [{"role": "system", "content": "b"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": "b"}],
            }
        ),
        ('faq.jsonl:1: a "system" key and a system message in one row; expected one of them. Join the two, or remove one.'),
    ),
]
