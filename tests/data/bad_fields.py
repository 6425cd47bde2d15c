"""Rows with a text that can't be learned or with unknown keys, beyond those of bad_rows: name, file name, content, the whole message."""

from __future__ import annotations

from tests.data.building import KNOWN, lines


def answers(value: object) -> bytes:
    """One question with this answer."""
    return lines({"question": "Who?", "answer": value})


BAD_FIELDS: list[tuple[str, str, bytes, str]] = [
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
]
