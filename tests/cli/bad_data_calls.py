"""Refused calls about data files: rehearsal, repair, split and preview."""

from __future__ import annotations

from tests.cli.bad_calls import Call, row
from tests.cli.calling import rows

ALL = "`unsloth-ft run --help` shows all."

MIX = [
    Call("a mix without a share", "RUN --mix general.jsonl", "--mix general.jsonl: expected FILE:SHARE, like general.jsonl:0.15."),
    Call(
        "a mix of all and more",
        "RUN --mix general.jsonl:1.5",
        "--mix general.jsonl:1.5: the share is 1.5; expected a part of all training rows: above 0, below 1.",
    ),
    Call(
        "a mix by --set with a mistake",
        "RUN --set data.mix=general.jsonl:0",
        "--mix general.jsonl:0: the share is 0; expected a part of all training rows: above 0, below 1.",
    ),
    Call("a mix of a file that isn't there", "RUN --mix generl.jsonl:0.1", "generl.jsonl: no such file. Did you mean eval.jsonl or faq.jsonl?"),
    Call(
        "a mix of the training rows themselves",
        "RUN --mix ./faq.jsonl:0.1",
        "--mix ./faq.jsonl: the same file as --data faq.jsonl. Mix in other rows than those.",
    ),
    Call(
        "a mix of the held-out rows",
        "RUN --eval-data eval.jsonl --mix ./eval.jsonl:0.1",
        "--mix ./eval.jsonl: the same file as --eval-data eval.jsonl. Mix in other rows than those.",
    ),
    Call(
        "a mix that takes more rows than there are",
        "RUN --eval-data eval.jsonl --mix general.jsonl:0.5",
        "--mix general.jsonl:0.5: that share takes 12 rows, and the file has 3. No row is taken twice. "
        "Pass at most general.jsonl:0.2, or a larger file.",
        files={"general.jsonl": rows(3, first=500)},
    ),
    Call(
        "a held-out question in the mix",
        "RUN --eval-data eval.jsonl --mix general.jsonl:0.1",
        "eval.jsonl:1: the question is also in the training data, at general.jsonl:1: its score would measure memory. "
        "Remove one of the two, or pass --set data.allow_leak=true.",
        files={"general.jsonl": rows(1, first=100)},
    ),
    Call(
        "a mix with an empty answer",
        "RUN --mix general.jsonl:0.1",
        'general.jsonl:1: "answer" is empty; expected text. Fill it in, or remove the row.',
        files={"general.jsonl": row("Who?", "") + rows(3, first=500)},
    ),
    Call(
        "a mix without data",
        "plan smollm2-135m --mix general.jsonl:0.1",
        "--export, --eval-data and --mix want --data: what they are checked against is the data's own model and rows.",
    ),
]

CALLS = [*MIX]
