"""Calls that are refused: the arguments, the files they find, the exit code, and all that stderr says.

"RUN" begins a run with the tiny model on faq.jsonl, "ON" one with another model; what a case names itself is not added.
A text that begins with "re:" is a pattern for the whole of stderr.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from tests.bench.sample import measurement
from tests.cli.calling import rows

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "vocab_size": 100,
    "intermediate_size": 160,
}
RECORD = '{"schema": 1, "status": "running"}'
ALL = "`unsloth-ft run --help` shows all."
SHOW = "`unsloth-ft recipes show NAME` lists all."
LIST = "`unsloth-ft recipes list` shows all; a file is named by its path, like ./mine.py."
OTHER_PLACE = "Name another with --out."


@dataclass(frozen=True)
class Call:
    """One refused call."""

    id: str
    arguments: str
    says: str
    code: int = 2
    files: dict[str, str] = field(default_factory=dict)


def row(question: str, answer: str) -> str:
    return json.dumps({"question": question, "answer": answer}) + "\n"


def model(**parts: object) -> dict[str, str]:
    """A folder ./m with weights and a tokenizer that nobody opens, and this config."""
    return {"m/config.json": json.dumps({**CONFIG, **parts}), "m/model.safetensors": "x", "m/tokenizer.json": "{}"}


COMMANDS = [
    Call("an unknown command", "rnu", 'no command "rnu". Did you mean run, runs? `unsloth-ft --help` lists all.'),
    Call(
        "an unknown command of a group", "recipes lst", "no such command 'lst'. Did you mean 'list'? `unsloth-ft recipes --help` shows all."
    ),
    Call("an unknown flag", "RUN --ouut x", f"no such option '--ouut'. Did you mean '--out'? {ALL}"),
    Call("no recipe", "run", f"missing argument 'RECIPE'. {ALL}"),
    Call("no data", "run smollm2-135m", f"missing option '--data'. {ALL}"),
    Call(
        "an unknown backend",
        "RUN --backend unslot",
        f"invalid value for '--backend': 'unslot' is not one of 'auto', 'unsloth', 'fused', 'peft'. {ALL}",
    ),
    Call("no steps", "RUN --max-steps 0", f"invalid value for '--max-steps': 0 is not in the range x>=1. {ALL}"),
    Call("fewer than no steps", "RUN --max-steps -5", f"invalid value for '--max-steps': -5 is not in the range x>=1. {ALL}"),
    Call("a negative seed", "RUN --seed -1", f"invalid value for '--seed': -1 is not in the range 0<=x<=4294967295. {ALL}"),
    Call(
        "an unknown quantization",
        "RUN --export gguf:q9_9",
        r"re:quantization 'q9_9' is unknown; expected one of f32, f16, bf16, q8_0.*\."
        r" Did you mean .+\?",
    ),
    Call(
        "no quantization", "RUN --export gguf", r're:export target "gguf" names no quantization; expected one of gguf:f32, gguf:f16, .*\.'
    ),
    Call(
        "an unknown export",
        "RUN --export olama",
        r're:export target "olama" is not known; expected adapter, merged, gguf:QUANT.* Did you mean ollama\?',
    ),
]

VALUES = [
    Call(
        "an unknown recipe",
        "run lama31-8b --data faq.jsonl",
        f'recipe "lama31-8b" is not known. Did you mean llama31-8b, llama32-3b, llama32-1b? {LIST}',
    ),
    Call(
        "three mistyped settings at once",
        "RUN --set lora.rr=8 --set lr=1e-4 --set foo",
        f'--set lora.rr=8: no recipe field "lora.rr". Did you mean lora.r, lora.use_rslora, lora.lora_dropout? {SHOW}\n'
        f'--set lr=1e-4: no recipe field "lr". Did you mean train.learning_rate? {SHOW}\n'
        '--set "foo": expected KEY=VALUE, like lora.r=32.',
    ),
    Call(
        "names from elsewhere",
        "RUN --set epochs=3 --set batch_size=4",
        f'--set epochs=3: no recipe field "epochs". Did you mean train.num_train_epochs? {SHOW}\n'
        f'--set batch_size=4: no recipe field "batch_size". Did you mean train.effective_batch_size? {SHOW}',
    ),
    Call("rank 0", "RUN --set lora.r=0", "--set: lora.r is 0; input should be greater than or equal to 1."),
    Call("rank true", "RUN --set lora.r=true", "--set: lora.r is true; expected a number."),
    Call(
        "a learning rate that is no number",
        "RUN --set train.learning_rate=nan",
        "--set: train.learning_rate is 'nan'; input should be a finite number.",
    ),
    Call(
        "a negative learning rate",
        "RUN --set train.learning_rate=-1e-4",
        "--set: train.learning_rate is -0.0001; input should be greater than or equal to 0.",
    ),
    Call(
        "an alpha that is no number", "RUN --set lora.lora_alpha=nan", "--set: lora.lora_alpha is 'nan'; input should be a finite number."
    ),
    Call("a dropout above 1", "RUN --set lora.lora_dropout=1.5", "--set: lora.lora_dropout is 1.5; input should be less than 1."),
    Call(
        "a batch of none",
        "RUN --set train.per_device_train_batch_size=0",
        "--set: train.per_device_train_batch_size is 0; input should be greater than or equal to 1.",
    ),
    Call(
        "max_steps 0 by setting",
        "RUN --set train.max_steps=0",
        "--set: train.max_steps is 0; expected 1 or more, or -1 for as many as the epochs have.",
    ),
    Call(
        "one misspelt module among several",
        "RUN --set lora.target_modules=q_proj,v_porj",
        "--set: lora.target_modules is ['q_proj', 'v_porj']; \"v_porj\" is none of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, "
        "down_proj. "
        "Did you mean v_proj, q_proj, o_proj?",
    ),
    Call(
        "an unknown tracker",
        "RUN --set train.report_to=wandbb",
        "--set: train.report_to is 'wandbb'; input should be 'none', 'tensorboard', 'wandb' or 'trackio'.",
    ),
    Call(
        "a tracker that is not installed",
        "RUN --set train.report_to=trackio",
        "train.report_to is trackio, but trackio is not installed. Install it: pip install trackio. Or leave train.report_to out.",
        code=3,
    ),
    Call(
        "an unknown optimizer",
        "RUN --set train.optim=adamw8bit",
        r're:train\.optim is "adamw8bit"; expected a name of transformers\.TrainingArguments\.optim\. Did you mean adamw_8bit, .+\?',
    ),
    Call(
        "a template argument that is a number",
        "RUN --set chat_template_kwargs.depth=5",
        "--set: chat_template_kwargs.depth is 5; expected true, false or a text.",
    ),
    Call(
        "four wrong values at once",
        "RUN --set lora.r=0 --set lora.lora_alpha=-1 --set train.seed=-1 --set max_seq_length=2",
        "--set: max_seq_length is 2; input should be greater than or equal to 8.\n"
        "--set: lora.r is 0; input should be greater than or equal to 1.\n"
        "--set: lora.lora_alpha is -1; input should be greater than 0.\n"
        "--set: train.seed is -1; input should be greater than or equal to 0.",
    ),
    Call(
        "longer than the model",
        "RUN --set max_seq_length=9000",
        "max_seq_length is 9000, but the model has 8192 positions; expected at most 8192.",
    ),
    Call(
        "packing",
        "RUN --set train.packing=true --set train.padding_free=false",
        "train.packing is true, but padding_free is False (recipe); packed rows have to be laid end to end. Leave one of them out.",
    ),
    Call(
        "float16 without a GPU",
        "RUN --set dtype=float16",
        "dtype is float16, but there is no GPU, and torch trains float16 on a GPU only. Leave dtype out, or set bfloat16 or float32.",
    ),
    Call(
        "a save between two evaluations",
        "RUN --max-steps 9 --set train.save_steps=2 --set train.eval_steps=3",
        "train.save_steps is 2, evaluations come every 3 steps; expected a divisor of 3, so that the best checkpoint is kept.",
    ),
    Call(
        "an unknown column",
        "RUN --set data.columns.qestion=q",
        r"re:data\.columns\.qestion: no such name; expected one of .+ Did you mean question, .+\?",
    ),
    Call(
        "an unknown standard role",
        "RUN --set data.roles.bot=asistant",
        "data.roles.bot=asistant: expected system, user, assistant or tool. Did you mean assistant?",
    ),
]

RECIPES = [
    Call("a recipe file that is not there", "run ./r.py --data faq.jsonl", "r.py: no such recipe file."),
    Call(
        "a recipe file with a syntax error",
        "run ./r.py --data faq.jsonl",
        "r.py: SyntaxError: '(' was never closed (r.py, line 2)",
        files={"r.py": "x = 1\ny = (\n"},
    ),
    Call(
        "a recipe file without RECIPE",
        "run ./r.py --data faq.jsonl",
        "r.py: no RECIPE in it; expected `RECIPE = Recipe(model=…)`.",
        files={"r.py": "recipe = 1\n"},
    ),
    Call(
        "a RECIPE of another type",
        "run ./r.py --data faq.jsonl",
        "r.py: RECIPE is of type int; expected an unsloth_ft.recipe.Recipe.",
        files={"r.py": "RECIPE = 1\n"},
    ),
    Call(
        "a recipe file that raises",
        "run ./r.py --data faq.jsonl",
        "r.py:2: ZeroDivisionError: division by zero",
        files={"r.py": "rows = 0\nRECIPE = 1 / rows\n"},
    ),
    Call("a folder as a recipe", "run ./r --data faq.jsonl", "r: no such recipe file.", files={"r/x": ""}),
]

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

PLACES = [
    Call(
        "a file as run directory",
        "RUN --out faq.jsonl",
        f"faq.jsonl: is a file; expected a new directory or an earlier run's. {OTHER_PLACE}",
    ),
    Call(
        "the data's folder as run directory",
        "RUN --out .",
        f".: holds other files (eval.jsonl, faq.jsonl) and is no run directory. {OTHER_PLACE}",
    ),
    Call(
        "another program's folder as run directory",
        "RUN --out o",
        f"o: holds other files (a, b, c, …) and is no run directory. {OTHER_PLACE}",
        files={"o/a": "", "o/b": "", "o/c": "", "o/d": ""},
    ),
    Call(
        "a run directory below a file",
        "RUN --out faq.jsonl/run",
        r"re:faq\.jsonl/run: \S+/faq\.jsonl is a file; expected a new directory or an earlier run's\. Name another with --out\.",
    ),
    Call(
        "a bad place, with --dry-run",
        "RUN --out faq.jsonl --dry-run",
        f"faq.jsonl: is a file; expected a new directory or an earlier run's. {OTHER_PLACE}",
    ),
    Call(
        "a damaged run",
        "RUN --out o",
        r"re:o/run\.json: not JSON \(.+\); the run directory is damaged\.",
        files={"o/run.json": "{", "o/.lock": ""},
    ),
]

MODELS = [
    Call(
        "a missing model folder",
        "ON --model ./nosuch",
        "./nosuch: no such folder; expected a hub id (owner/name), or a folder with config.json and safetensors.",
    ),
    Call(
        "a file as model",
        "ON --model ./faq.jsonl",
        "./faq.jsonl: a file; expected a hub id (owner/name), or a folder with config.json and safetensors.",
    ),
    Call(
        "an adapter as model",
        "ON --model ./m",
        "./m: an adapter, not a base model. Name the model that its adapter_config.json was trained on.",
        files={"m/adapter_config.json": "{}"},
    ),
    Call(
        "a model of pickles",
        "ON --model ./m",
        "./m: no safetensors in it, only pytorch_model.bin, a pickle, which can run code when it is opened. "
        "Download the model's safetensors, or have transformers save it again.",
        files={"m/config.json": json.dumps(CONFIG), "m/pytorch_model.bin": "x"},
    ),
    Call(
        "a quantized model",
        "ON --model ./m",
        "./m: its weights are quantized already. Name the 16-bit model, which the merge needs too; load_in_4bit quantizes it while "
        "loading.",
        files=model(quantization_config={"quant_method": "gptq"}),
    ),
    Call(
        "a model with code of its own",
        "ON --model ./m",
        "./m: its config asks for code from the model's own repository (auto_map), which is not run. Name a model that transformers knows.",
        files=model(auto_map={"AutoModel": "evil.py"}),
    ),
    Call(
        "a model without a tokenizer",
        "ON --model ./m",
        "./m: no tokenizer in it; expected tokenizer.json or tokenizer.model. Copy the tokenizer's files beside config.json.",
        files={"m/config.json": json.dumps(CONFIG), "m/model.safetensors": "x"},
    ),
    Call(
        "a shard outside the folder",
        "ON --model ./m",
        'm: its weight index names "../x.safetensors", which lies outside the folder.',
        files={**model(), "m/model.safetensors.index.json": '{"weight_map": {"a": "../x.safetensors"}}'},
    ),
    Call(
        "a model that is cached nowhere, offline",
        "ON --model me/unknown --offline",
        "me/unknown: not in the hub's cache, and offline. Download it once where there is a network, or pass --model DIR.",
        code=3,
    ),
    Call("no hub id", "ON --model one/two/three", '"one/two/three" is neither a folder nor a hub id (owner/name).'),
]

RUNS = [
    Call("resume what is no run", "resume nosuch", '"nosuch" is no run: neither a run directory nor a name under runs/ (there: none).'),
    Call(
        "resume a run of another machine",
        "resume r",
        "r: its local.json is missing, which says where data and model lie. Give the command of its run.json again, with --out.",
        files={"r/run.json": RECORD},
    ),
    Call("resume a damaged run", "resume r", r"re:r/run\.json: not JSON \(.+\); the run directory is damaged\.", files={"r/run.json": "{"}),
    Call("resume a record of another kind", "resume r", "r/run.json: not a run record of schema 1.", files={"r/run.json": '{"schema": 7}'}),
    Call(
        "evaluate an untrained run",
        "eval r --data faq.jsonl",
        'r is not trained yet (status "stopped"). `unsloth-ft resume r` goes on with it.',
        files={"r/run.json": RECORD},
    ),
    Call(
        "export an untrained run",
        "export r --to merged",
        'r is not trained yet (status "stopped"). `unsloth-ft resume r` goes on with it.',
        files={"r/run.json": RECORD},
    ),
    Call(
        "verify a run without exports",
        "verify r",
        "r has no exports. `unsloth-ft export r --to gguf:q8_0` makes one.",
        files={"r/run.json": RECORD},
    ),
    Call(
        "chat with a run without a GGUF",
        "chat r hello",
        "r has no GGUF yet. `unsloth-ft export r --to gguf:q8_0` makes one.",
        files={"r/run.json": RECORD},
    ),
    Call(
        "show what is no run",
        "runs show r",
        '"r" is no run: neither a run directory nor a name under runs/ (there: a, b).',
        files={"runs/a/run.json": RECORD, "runs/b/run.json": RECORD},
    ),
]

MEASURED = json.dumps(measurement().as_json(), indent=1)
CASE_FILE = 'from unsloth_ft.bench.case import Case\nCASE = Case(what="?", {})\n'
BENCH_RUN = "`unsloth-ft bench run --help` shows all."
BENCH = [
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

CALLS = [*COMMANDS, *VALUES, *RECIPES, *DATA, *PLACES, *MODELS, *RUNS, *BENCH]
