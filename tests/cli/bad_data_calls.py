"""Refused calls about data files: reading, rehearsal, repair, split and preview."""

from __future__ import annotations

from tests.cli.bad_calls import LIST
from tests.cli.calling import Call, row, rows

DATA = [
    Call("a missing data file", "RUN --data fag.jsonl", "fag.jsonl: no such file. Did you mean faq.jsonl or eval.jsonl?"),
    Call("an empty data file", "RUN --data d.jsonl", "d.jsonl: the file is empty; expected at least one row.", files={"d.jsonl": ""}),
    Call(
        "a folder as data",
        "RUN --data d",
        'd: a folder; expected a file. It holds "x.jsonl": pass what you want of it.',
        files={"d/x.jsonl": rows(3)},
    ),
    Call(
        "two broken lines",
        "RUN --data d.jsonl",
        'd.jsonl:13:29: not valid JSON: found "}" at column 29; expected a value.\n'
        "d.jsonl:14:13: not valid JSON: found a quote at column 13; expected a colon after the key.\n2 errors; nothing was written.",
        files={"d.jsonl": rows(12) + '{"question": "a", "answer": }\n{"question" "b"}\n'},
    ),
    Call(
        "two shapes in one file",
        "RUN --data d.jsonl",
        "d.jsonl:13: rows of different shapes in one file: question/answer (first on line 1), prompt/completion (first on line 13). "
        "Split the file, one shape each.",
        files={"d.jsonl": rows(12) + '{"prompt": "a", "completion": "b"}\n'},
    ),
    Call(
        "empty answers",
        "RUN --data d.jsonl",
        'd.jsonl:13: "answer" is empty; expected text. Fill it in, or remove the row.\n'
        'd.jsonl:14: "answer" is only white space; expected text. Fill it in, or remove the row.\n2 errors; nothing was written.',
        files={"d.jsonl": rows(12) + row("a", "") + row("b", " ")},
    ),
    Call(
        "a leak into the evaluation",
        "RUN --eval-data e.jsonl",
        "e.jsonl:1: the question is also in the training data, at faq.jsonl:3: its score would measure memory. "
        "Remove one of the two, or pass --set data.allow_leak=true.",
        files={"e.jsonl": rows(1, first=2) + rows(3, first=100)},
    ),
    Call(
        "control tokens in the text",
        "RUN --data d.jsonl --eval-data eval.jsonl",
        r're:d\.jsonl:13: the user\'s text contains the control token "<\|im_end\|>".*\n'
        r'd\.jsonl:14: the assistant\'s text contains the control token "<\|im_start\|>", which the model would read as one\. '
        r"Remove it, or pass --set data\.special_tokens=text to encode it as plain text\.(\n2 of 18 rows .*)?",
        files={"d.jsonl": rows(12) + row("Say <|im_end|> twice", "no") + row("Say it", "<|im_start|>")},
    ),
    Call(
        "an unknown role",
        "RUN --data d.jsonl",
        'd.jsonl:1: role is "robot"; expected system, user, assistant or tool. Rename it, or pass --set data.roles.robot=assistant.',
        files={"d.jsonl": '{"messages": [{"role": "user", "content": "a"}, {"role": "robot", "content": "b"}]}\n'},
    ),
    Call(
        "one row",
        "RUN --data d.jsonl",
        "d.jsonl: 1 row; a held-out split needs at least 2 rows with different questions. Add rows, or pass --eval-data FILE with "
        "questions to measure on.",
        files={"d.jsonl": rows(1)},
    ),
    Call("no row that fits", "RUN --set max_seq_length=8", r"re:no row fits into max_seq_length 8; .+"),
    Call(
        "a dataset of the hub, offline",
        "RUN --data hf://me/rows --offline",
        "hf://me/rows: not in the cache of datasets, and this run is offline. Load it once where there is network, or save it as a file "
        "and pass that.",
        code=3,
    ),
    Call("a bad file, looked at", "data preview faq.jsonl --recipe nope", f'recipe "nope" is not known. {LIST}'),
]

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

SPLIT = [
    Call("a split to nowhere", "data split faq.jsonl", "missing option '--out'. `unsloth-ft data split --help` shows all."),
    Call(
        "a split by share and by number",
        "data split faq.jsonl --out parts --share 0.2 --rows 3",
        "--share and --rows both say how much to hold out; expected one of them.",
    ),
    Call(
        "a share of all",
        "data split faq.jsonl --out parts --share 1",
        "invalid value for '--share': 1.0 is not in the range 0<x<1. `unsloth-ft data split --help` shows all.",
    ),
    Call(
        "a share that is no number",
        "data split faq.jsonl --out parts --share nan",
        "the held-out share is nan; expected a number between 0 and 1, such as 0.1.",
    ),
    Call(
        "all rows held out",
        "data split faq.jsonl --out parts --rows 12",
        "--rows 12: there are 12 rows; expected fewer, to leave some to train on.",
    ),
    Call(
        "a split where one is already",
        "data split faq.jsonl --out parts",
        "--out parts/held_out.jsonl: already there, and never written over. Name a new file, or remove that one.",
        files={"parts/held_out.jsonl": "x"},
    ),
    Call(
        "a split over its own input",
        "data split parts/train.jsonl --out parts",
        "--out parts/train.jsonl: this is an input, which is never written over. Name a new file.",
        files={"parts/train.jsonl": rows(3)},
    ),
    Call(
        "a split into a file",
        "data split faq.jsonl --out eval.jsonl",
        "--out eval.jsonl: a file; expected a folder, or the name of a new one.",
    ),
    Call(
        "a split into a folder of a folder that isn't there",
        "data split faq.jsonl --out some/where",
        "--out some/where: there is no folder some. Make it first.",
    ),
    Call(
        "a split of one question",
        "data split same.jsonl --out parts",
        "same.jsonl: 2 rows with one and the same question; a held-out split needs at least 2 rows with different questions. "
        "Add rows, or pass --eval-data FILE with questions to measure on.",
        files={"same.jsonl": row("A?", "1") + row("a", "2")},
    ),
    Call(
        "a split of broken rows",
        "data split broken.jsonl --out parts",
        'broken.jsonl:2: "answer" is empty; expected text. Fill it in, or remove the row.',
        files={"broken.jsonl": row("A?", "1") + row("B?", "")},
    ),
    Call(
        "a split of rendered text and messages together",
        "data split faq.jsonl text.jsonl --out parts",
        "rows of rendered text and of question/answer; expected one kind. Split each alone.",
        files={"text.jsonl": '{"text": "Hello."}\n'},
    ),
]

UNREPAIRED = "1 error in rows that can't be repaired without guessing; nothing was written. Mend them by hand, or pass --drop to leave them out."
FIX = [
    Call("a repair to nowhere", "data fix faq.jsonl", "missing option '--out'. `unsloth-ft data fix --help` shows all."),
    Call(
        "a repair in place",
        "data fix faq.jsonl --out faq.jsonl",
        "--out faq.jsonl: this is an input, which is never written over. Name a new file.",
    ),
    Call(
        "a repair in place by another name",
        "data fix faq.jsonl --out ../desk/faq.jsonl",
        "--out ../desk/faq.jsonl: this is an input (as faq.jsonl), which is never written over. Name a new file.",
    ),
    Call(
        "a repair over the rows to measure on",
        "data fix faq.jsonl --eval-data eval.jsonl --out eval.jsonl",
        "--out eval.jsonl: this is an input, which is never written over. Name a new file.",
    ),
    Call(
        "a repair over another file",
        "data fix faq.jsonl --out eval.jsonl",
        "--out eval.jsonl: already there, and never written over. Name a new file, or remove that one.",
    ),
    Call(
        "a repair into a folder that isn't there",
        "data fix faq.jsonl --out some/new.jsonl",
        '--out some/new.jsonl: there is no folder "some". Make it first.',
    ),
    Call(
        "a repair into another format",
        "data fix faq.jsonl --out new.csv",
        "--out new.csv: the copy is JSON Lines; expected a name that ends in .jsonl.",
    ),
    Call("a repair into a folder's name", "data fix faq.jsonl --out some/", '--out "some/": expected the name of a new file.'),
    Call(
        "the list of changes over the copy",
        "data fix faq.jsonl --out new.jsonl --changes ./new.jsonl",
        "--changes ./new.jsonl: the same file as --out. Name another.",
    ),
    Call(
        "the list of changes over a file",
        "data fix faq.jsonl --out new.jsonl --changes eval.jsonl",
        "--changes eval.jsonl: already there, and never written over. Name a new file, or remove that one.",
    ),
    Call("a repair of the same file twice", "data fix faq.jsonl faq.jsonl --out new.jsonl", "faq.jsonl: the same file is given twice. Pass it once."),
    Call(
        "a repair of a file that isn't there",
        "data fix fq.jsonl --out new.jsonl",
        "fq.jsonl: no such file. Did you mean faq.jsonl or eval.jsonl?\n1 error in files that can't be repaired without guessing; nothing was written.",
    ),
    Call(
        "an encoding that nobody knows",
        "data fix faq.jsonl --out new.jsonl --encoding utf-9",
        "--encoding utf-9: not known; expected a name such as windows-1252, latin-1, cp1251 or shift_jis.",
    ),
    Call(
        "an encoding that is none of text",
        "data fix faq.jsonl --out new.jsonl --encoding base64",
        "--encoding base64: not known; expected a name such as windows-1252, latin-1, cp1251 or shift_jis.",
    ),
    Call(
        "a row that can't be repaired",
        "data fix broken.jsonl --out new.jsonl --changes changes.jsonl",
        f'broken.jsonl:2: "answer" is empty; expected text. Fill it in, or remove the row.\n{UNREPAIRED}',
        files={"broken.jsonl": row("A?", "1") + row("B?", "")},
    ),
    Call(
        "nothing but rows that can't be repaired",
        "data fix broken.jsonl --out new.jsonl --drop",
        'broken.jsonl:1: "answer" is empty; expected text. Fill it in, or remove the row.\n'
        "broken.jsonl: no row is left; nothing was written.",
        files={"broken.jsonl": row("B?", "")},
    ),
    Call(
        "a column that no row has",
        "data fix faq.jsonl --out new.jsonl --set data.columns.qestion=q",
        "data.columns.qestion: no such name; expected one of messages, system, conversations, instruction, output, input, prompt, completion, "
        "question, answer, text, role, content. Did you mean question, conversations, completion?",
    ),
]

PREVIEW = [
    Call("a preview of a line that is none", "data preview faq.jsonl --recipe smollm2-135m --row x", "--row x: expected a line's number, like 12 or faq.jsonl:12."),
    Call(
        "a preview of line 0",
        "data preview faq.jsonl --recipe smollm2-135m --row 0",
        "--row 0: expected a line's number, like 12 or faq.jsonl:12.",
    ),
    Call(
        "a preview of another file's line",
        "data preview faq.jsonl --recipe smollm2-135m --row eval.jsonl:1",
        "--row eval.jsonl:1: a line of another file; FILE is faq.jsonl.",
    ),
    Call(
        "a preview of some rows and of one",
        "data preview faq.jsonl --recipe smollm2-135m --row 1 --rows 2",
        "--rows and --row both say which rows to show; expected one of them.",
    ),
    Call(
        "a preview of a line behind the end",
        "data preview faq.jsonl --recipe smollm2-135m --row 13",
        "faq.jsonl:13: there is no row; expected a line that has one (of arrays, CSV and Parquet: the row's number).",
    ),
    Call(
        "a preview of a broken line",
        "data preview broken.jsonl --recipe smollm2-135m --row 2",
        'broken.jsonl:2: "answer" is empty; expected text. Fill it in, or remove the row.',
        files={"broken.jsonl": row("A?", "1") + row("B?", "")},
    ),
    Call(
        "a preview of nothing but broken rows",
        "data preview broken.jsonl --recipe smollm2-135m",
        'broken.jsonl:1: "answer" is empty; expected text. Fill it in, or remove the row.',
        files={"broken.jsonl": row("B?", "")},
    ),
    Call(
        "a page over the data",
        "data preview faq.jsonl --recipe smollm2-135m --html ./faq.jsonl",
        "--html is faq.jsonl, the data file. Name another file.",
    ),
    Call(
        "a preview of several files",
        "data preview *.jsonl --recipe smollm2-135m",
        '*.jsonl: 2 files match ("eval.jsonl" and "faq.jsonl"); expected one. Name it.',
    ),
]

CALLS = [*DATA, *MIX, *SPLIT, *FIX, *PREVIEW]
