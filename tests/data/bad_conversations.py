"""Rows that are JSON and no conversation that can be learned, beyond those of bad_rows: name, file name, content, the whole message."""

from __future__ import annotations

import json

from tests.data.building import KNOWN, chat, lines, qa


def share(*turns: tuple[str, object]) -> bytes:
    """One line of ShareGPT."""
    return lines({"conversations": [{"from": role, "value": value} for role, value in turns]})


def answers(value: object) -> bytes:
    """One question with this answer."""
    return lines({"question": "Who?", "answer": value})


BAD_CONVERSATIONS: list[tuple[str, str, bytes, str]] = [
    ("answer of zero", "faq.jsonl", answers(0), 'faq.jsonl:1: "answer" is the number 0; expected text. Put it in quotes.'),
    ("answer of false", "faq.jsonl", answers(False), 'faq.jsonl:1: "answer" is false; expected text. Put it in quotes.'),
    (
        "answer of a negative number",
        "faq.jsonl",
        answers(-1.5),
        'faq.jsonl:1: "answer" is the number -1.5; expected text. Put it in quotes.',
    ),
    ("answer of an empty array", "faq.jsonl", answers([]), 'faq.jsonl:1: "answer" is empty; expected text. Fill it in, or remove the row.'),
    ("answer of an empty object", "faq.jsonl", answers({}), 'faq.jsonl:1: "answer" is an object; expected text. Write it as one text.'),
    (
        "answer of several texts",
        "faq.jsonl",
        answers(["a", "b"]),
        'faq.jsonl:1: "answer" is an array that holds the text "a"; expected text. Write it as one text.',
    ),
    (
        "answer of no-break spaces",
        "faq.jsonl",
        answers("\u00a0\u2003"),
        'faq.jsonl:1: "answer" is only white space; expected text. Fill it in, or remove the row.',
    ),
    (
        "answer of zero-width spaces",
        "faq.jsonl",
        answers("\u200b\ufeff"),
        'faq.jsonl:1: "answer" holds only characters that show nothing; expected text. Fill it in, or remove the row.',
    ),
    (
        "answer of None in spaces",
        "faq.jsonl",
        answers(" None "),
        'faq.jsonl:1: "answer" is "None", as Python writes a missing value. Leave it out, or write what is meant.',
    ),
    (
        "answer of half an emoji behind text",
        "faq.jsonl",
        answers("Ok \ud83d"),
        'faq.jsonl:1: "answer" holds half of a surrogate pair (a cut emoji), which is no character. Remove it.',
    ),
    (
        "question null",
        "faq.jsonl",
        lines({"question": None, "answer": "Me."}),
        'faq.jsonl:1: "question" is null; expected text. Fill it in, or remove the row.',
    ),
    (
        "question of a number",
        "faq.jsonl",
        lines({"question": 7, "answer": "Me."}),
        'faq.jsonl:1: "question" is the number 7; expected text. Put it in quotes.',
    ),
    (
        "both sides null",
        "faq.jsonl",
        lines({"question": None, "answer": None}),
        (
            'faq.jsonl:1: "question" is null; expected text. Fill it in, or remove the row.\n'
            'faq.jsonl:1: "answer" is null; expected text. Fill it in, or remove the row.\n'
            "2 errors; nothing was written."
        ),
    ),
    (
        "prompt without completion",
        "faq.jsonl",
        lines({"prompt": "Who?"}),
        'faq.jsonl:1: "completion" is missing; the row has "prompt". Add it, or pass --set data.columns.completion=NAME.',
    ),
    (
        "completion empty",
        "faq.jsonl",
        lines({"prompt": "Who?", "completion": ""}),
        'faq.jsonl:1: "completion" is empty; expected text. Fill it in, or remove the row.',
    ),
    (
        "output null",
        "faq.jsonl",
        lines({"instruction": "Add.", "input": "2 2", "output": None}),
        'faq.jsonl:1: "output" is null; expected text. Fill it in, or remove the row.',
    ),
    (
        "input of a number",
        "faq.jsonl",
        lines({"instruction": "Add.", "input": 4, "output": "4"}),
        'faq.jsonl:1: "input" is the number 4; expected text. Put it in quotes.',
    ),
    (
        "instruction null",
        "faq.jsonl",
        lines({"instruction": None, "input": "2 2", "output": "4"}),
        'faq.jsonl:1: "instruction" is null; expected text. Fill it in, or remove the row.',
    ),
    (
        "output without instruction",
        "faq.jsonl",
        lines({"input": "2 2", "output": "4"}),
        (
            'faq.jsonl:1: "instruction" is missing; the row has "input" and "output". Add it, or pass --set '
            "data.columns.instruction=input."
        ),
    ),
    ("text null", "faq.jsonl", lines({"text": None}), 'faq.jsonl:1: "text" is null; expected text. Fill it in, or remove the row.'),
    ("text empty", "faq.jsonl", lines({"text": ""}), 'faq.jsonl:1: "text" is empty; expected text. Fill it in, or remove the row.'),
    ("text of a number", "faq.jsonl", lines({"text": 3}), 'faq.jsonl:1: "text" is the number 3; expected text. Put it in quotes.'),
    ("text with NUL", "faq.jsonl", lines({"text": "a\0b"}), 'faq.jsonl:1: "text" holds a NUL character. Remove it.'),
    (
        "system of a number",
        "faq.jsonl",
        lines({"system": 1, "question": "Who?", "answer": "Me."}),
        'faq.jsonl:1: "system" is the number 1; expected text. Put it in quotes.',
    ),
    (
        "system with half an emoji",
        "faq.jsonl",
        lines({"system": "\ud83d", "question": "Who?", "answer": "Me."}),
        'faq.jsonl:1: "system" holds half of a surrogate pair (a cut emoji), which is no character. Remove it.',
    ),
    (
        "keys with spaces around them",
        "faq.jsonl",
        lines({" question": "Who?", "answer ": "Me."}),
        (
            'faq.jsonl:1: no known shape in the keys " question" and "answer "; known shapes: '
            f"{KNOWN}. Pass --set data.columns.question=question --set data.columns.answer=answer."
        ),
    ),
    (
        "keys in capitals",
        "faq.jsonl",
        lines({"QUESTION": "Who?", "ANSWER": "Me."}),
        (
            'faq.jsonl:1: no known shape in the keys "QUESTION" and "ANSWER"; known shapes: '
            f"{KNOWN}. Pass --set data.columns.question=QUESTION --set data.columns.answer=ANSWER."
        ),
    ),
    (
        "empty key",
        "faq.jsonl",
        lines({"": "Who?"}),
        (
            'faq.jsonl:1: no known shape in the keys ""; known shapes: '
            f"{KNOWN}. Pass --set data.columns.question=NAME --set data.columns.answer=NAME."
        ),
    ),
    (
        "key of half an emoji",
        "faq.jsonl",
        lines({"\ud83d": "Who?", "b": "Me."}),
        (
            'faq.jsonl:1: no known shape in the keys "\\ud83d" and "b"; known shapes: '
            f"{KNOWN}. Pass --set data.columns.question=NAME --set data.columns.answer=NAME."
        ),
    ),
    (
        "key of 10,000 characters",
        "faq.jsonl",
        lines({"k" * 10_000: "Who?", "b": "Me."}),
        (
            'faq.jsonl:1: no known shape in the keys "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk…" and "b"; known shapes: '
            f"{KNOWN}. Pass --set data.columns.question=NAME --set data.columns.answer=NAME."
        ),
    ),
    (
        "1,000 unknown keys",
        "faq.jsonl",
        lines({f"k{n}": "x" for n in range(1000)}),
        (
            'faq.jsonl:1: no known shape in the keys "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7" and 992 more; known '
            f"shapes: {KNOWN}. Pass --set data.columns.question=NAME --set data.columns.answer=NAME."
        ),
    ),
    (
        "question inside another object",
        "faq.jsonl",
        lines({"data": {"question": "Who?", "answer": "Me."}}),
        (
            'faq.jsonl:1: no known shape in the keys "data"; known shapes: '
            f"{KNOWN}. Pass --set data.columns.question=NAME --set data.columns.answer=NAME."
        ),
    ),
    (
        "rows inside a key of a line",
        "faq.jsonl",
        lines({"rows": [{"question": "Who?", "answer": "Me."}]}),
        'faq.jsonl:1: no known shape in the keys "rows"; the rows may be inside "rows". Write that array alone to a file.',
    ),
    (
        "preference pairs of messages",
        "faq.jsonl",
        lines({"chosen": [{"role": "user", "content": "a"}], "rejected": [{"role": "user", "content": "a"}]}),
        (
            "faq.jsonl:1: the row has chosen and rejected answers (preference data); expected one answer. "
            "To learn the chosen one, pass --set data.columns.messages=chosen."
        ),
    ),
    (
        "ranked answers",
        "faq.jsonl",
        lines({"question": "Who?", "answers": ["Me.", "You."]}),
        ('faq.jsonl:1: "answer" is missing; the row has "question" and "answers". Add it, or pass --set data.columns.answer=NAME.'),
    ),
    (
        "embedding pairs",
        "faq.jsonl",
        lines({"anchor": "a", "positive": "b", "negative": "c"}),
        (
            'faq.jsonl:1: no known shape in the keys "anchor", "positive" and "negative"; known shapes: '
            f"{KNOWN}. Pass --set data.columns.question=NAME --set data.columns.answer=NAME."
        ),
    ),
    (
        "classification rows",
        "faq.jsonl",
        lines({"sentence": "Good.", "label": 1}),
        (
            'faq.jsonl:1: no known shape in the keys "sentence" and "label"; known shapes: '
            f"{KNOWN}. Pass --set data.columns.question=NAME --set data.columns.answer=NAME."
        ),
    ),
    (
        "OpenAI's batch rows",
        "faq.jsonl",
        lines({"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": []}}),
        (
            'faq.jsonl:1: no known shape in the keys "custom_id", "method", "url" and "body"; known shapes: '
            f"{KNOWN}. Pass --set data.columns.question=NAME --set data.columns.answer=NAME."
        ),
    ),
    (
        "question and messages half each",
        "faq.jsonl",
        lines({"question": "Who?", "messages": None}),
        'faq.jsonl:1: "messages" is null; expected an array of messages.',
    ),
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
