"""Refused calls about recipes, settings, models, places and runs."""

from __future__ import annotations

import json

from tests.cli.calling import Call

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

CALLS = [*COMMANDS, *VALUES, *RECIPES, *PLACES, *MODELS, *RUNS]
