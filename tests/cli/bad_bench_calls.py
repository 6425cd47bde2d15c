"""Refused calls of the bench."""

from __future__ import annotations

import json

from tests.bench.sample import measurement
from tests.cli.bad_calls import LIST
from tests.cli.calling import Call

MEASURED = json.dumps(measurement().as_json(), indent=1)
CASE_FILE = 'from unsloth_ft.bench.case import Case\nCASE = Case(what="?", {})\n'
BENCH_RUN = "`unsloth-ft bench run --help` shows all."
CALLS = [
    Call("an unknown command of bench", "bench rnu", "no such command 'rnu'. Did you mean 'run'? `unsloth-ft bench --help` shows all."),
    Call(
        "an unknown case",
        "bench run sped-faq",
        'no case "sped-faq". Did you mean speed-faq, speed-full, speed-faq-grouped? `unsloth-ft bench cases` lists all.',
    ),
    Call(
        "a case file that is not there",
        "bench run mine.py",
        r"re:mine\.py: no such file; a case is a \.py file with a CASE, or one of .+\.",
    ),
    Call(
        "a case file without a case",
        "bench run mine.py",
        "mine.py: CASE is NoneType; expected an unsloth_ft.bench.case.Case.",
        files={"mine.py": "case = 1\n"},
    ),
    Call(
        "a case file with two mistakes",
        "bench run mine.py",
        "mine.py: what: field required.\nmine.py: stepz: extra inputs are not permitted.",
        files={"mine.py": "from unsloth_ft.bench.case import Case\nCASE = Case(stepz=1)\n"},
    ),
    Call(
        "a case file that raises",
        "bench run mine.py",
        "mine.py: ZeroDivisionError: division by zero",
        files={"mine.py": "CASE = 1 / 0\n"},
    ),
    Call("a case file that ends the program", "bench run mine.py", "mine.py: SystemExit: 0", files={"mine.py": "raise SystemExit(0)\n"}),
    Call(
        "a case file with a point that is none",
        "bench run mine.py",
        "mine.py: rows is 4; its 2 + 10 steps take 96.",
        files={"mine.py": CASE_FILE.format('sweep={"field": "rows", "values": (4,)}')},
    ),
    Call(
        "a case file with a sweep of nothing",
        "bench run mine.py",
        "mine.py: sweep.values: tuple should have at least 1 item after validation, not 0.",
        files={"mine.py": CASE_FILE.format('sweep={"field": "r", "values": ()}')},
    ),
    Call(
        "a case file with a field that there is not without a GPU",
        "bench run mine.py",
        "mine.py: stepz: extra inputs are not permitted.",
        files={"mine.py": CASE_FILE.format('without_gpu={"stepz": 1}')},
    ),
    Call(
        "a case file with legs that do something else",
        "bench run mine.py",
        "mine.py: no leg for data: merge; expected legs of prepare-ours, prepare-again, prepare-datasets, check-ours, check-datasets.",
        files={"mine.py": CASE_FILE.format('measures="data", legs=({"kind": "merge"},)')},
    ),
    Call(
        "two cases of one name",
        "bench run speed-faq speed-faq.py",
        "speed-faq.py: another case is called speed-faq too, and their results would be in one place. Rename the file.",
        files={"speed-faq.py": CASE_FILE.format("")},
    ),
    Call(
        "a leg that trains, in a case of commands",
        "bench run startup --legs peft-naive",
        '--legs: startup has no leg "peft-naive"; there are cli-help, cli-recipes, cli-plan, cli-doctor, cli-run.',
    ),
    Call("no repeats", "bench run --repeats 0", f"invalid value for '--repeats': 0 is not in the range x>=1. {BENCH_RUN}"),
    Call("no measured steps", "bench run --steps 0", f"invalid value for '--steps': 0 is not in the range x>=1. {BENCH_RUN}"),
    Call("no time", "bench run --time-budget 0", f"invalid value for '--time-budget': 0 is not in the range x>=1. {BENCH_RUN}"),
    Call(
        "a memory cap that is none",
        "bench run context --memory-cap lots",
        'memory "lots"; expected a size like 24GB (GiB are meant, as cards are sold) or 24564MiB.',
    ),
    Call(
        "a memory cap of nothing",
        "bench run context --memory-cap 0GB",
        'memory "0GB"; expected a size like 24GB (GiB are meant, as cards are sold) or 24564MiB.',
    ),
    Call(
        "a memory cap that no machine has",
        f"bench run context --memory-cap {'9' * 400}GB",
        f'memory "{"9" * 400}GB"; expected a size like 24GB (GiB are meant, as cards are sold) or 24564MiB.',
    ),
    Call(
        "an unknown leg",
        "bench run speed-faq --legs peft-naiv,unsloth-plan",
        '--legs: speed-faq has no leg "peft-naiv"; there are peft-naive, peft-tuned, unsloth-notebook, unsloth-plan, unsloth-flat, '
        "unsloth-padded, peft-full, peft-lora, peft-qlora. Did you mean peft-naive, peft-lora, peft-tuned?",
    ),
    Call("an unknown recipe, measured", "bench run --recipe nope", f'recipe "nope" is not known. {LIST}'),
    Call(
        "a model that is no folder, measured",
        "bench run --model ./nosuch",
        "./nosuch: no such folder; expected a hub id (owner/name), or a folder with config.json and safetensors.",
    ),
    Call(
        "results in a file",
        "bench run --out faq.jsonl",
        "--out faq.jsonl: faq.jsonl is a file; expected a folder for the results.",
    ),
    Call(
        "results that are not there, compared",
        "bench compare none none",
        "none: no such folder, and no run in bench/results; expected RUN, a folder, or one of them with :LEG.",
    ),
    Call("one side to compare", "bench compare none", "missing argument 'B'. `unsloth-ft bench compare --help` shows all."),
    Call(
        "results that are not there, reported",
        "bench report none",
        "none: no measurements; expected a folder that `unsloth-ft bench run` wrote.",
    ),
    Call(
        "a check of no file",
        "bench report --check",
        "--check looks at a file: give it with --readme FILE. `unsloth-ft bench report --help` shows all.",
    ),
    Call(
        "a README without a place for the table",
        "bench report --readme README.md",
        "README.md: no place for the bench's table; expected one line <!-- bench: begin --> and one line <!-- bench: end --> below it.",
        files={"README.md": "# Mine\n", "bench/results/README.md": "# Results\n"},
    ),
    Call(
        "a README for results that are not there",
        "bench report none --readme README.md",
        "none: no measurements; expected a folder that `unsloth-ft bench run` wrote.",
        files={"README.md": "<!-- bench: begin -->\nOur table.\n<!-- bench: end -->\n"},
    ),
    Call(
        "a report in a file",
        "bench report results --out faq.jsonl/report",
        r"re:bench\.md: can't be written \(Not a directory\); [\d,]+ bytes are needed\. Free some space and run the same command again\.",
        code=3,
        files={"results/one.json": MEASURED},
    ),
    Call(
        "a result that is half written, reported",
        "bench report results",
        r"re:results/one\.json: can't be read as a measurement \(Unterminated string .+\)\.",
        files={"results/one.json": MEASURED[:700]},
    ),
    Call(
        "a result of another format, compared",
        "bench compare results results",
        "results: no measurements; expected a folder that `unsloth-ft bench run` wrote.",
        files={"results/one.json": MEASURED.replace('"format": 1', '"format": 2')},
    ),
    Call(
        "a result with a value of another type, compared",
        "bench compare results results",
        "results/one.json: repeat: Input should be a valid integer; expected a file that this version's `bench run` wrote.",
        files={"results/one.json": MEASURED.replace('"repeat": 0', '"repeat": "0"')},
    ),
]
