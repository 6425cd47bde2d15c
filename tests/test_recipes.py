"""The recipes that come with the package, how they are found, and what a mistake in one says."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest
from pydantic import ValidationError

import unsloth_ft.recipes
from unsloth_ft import catalog
from unsloth_ft.errors import UserError
from unsloth_ft.recipe import PROJECTIONS, Recipe

FOLDER = Path(unsloth_ft.recipes.__path__[0])

# name, module, hub id, load_in_4bit, learning rate, rows a forward pass, forward passes a step
RECIPES = [
    ("llama31-8b", "llama31_8b", "meta-llama/Llama-3.1-8B-Instruct", True, 2e-4),
    ("llama32-1b", "llama32_1b", "meta-llama/Llama-3.2-1B-Instruct", False, 5e-4),
    ("llama32-3b", "llama32_3b", "meta-llama/Llama-3.2-3B-Instruct", True, 2e-4),
    ("mistral-7b", "mistral_7b", "mistralai/Mistral-7B-Instruct-v0.3", True, 2e-4),
    ("qwen25-0.5b", "qwen25_0_5b", "Qwen/Qwen2.5-0.5B-Instruct", False, 5e-4),
    ("qwen25-7b", "qwen25_7b", "Qwen/Qwen2.5-7B-Instruct", True, 2e-4),
    ("qwen3-0.6b", "qwen3_0_6b", "Qwen/Qwen3-0.6B", False, 5e-4),
    ("qwen3-4b", "qwen3_4b", "Qwen/Qwen3-4B", True, 2e-4),
    ("qwen3-8b", "qwen3_8b", "Qwen/Qwen3-8B", True, 2e-4),
    ("smollm2-135m", "smollm2_135m", "HuggingFaceTB/SmolLM2-135M-Instruct", False, 2e-3),
]
NAMES = [row[0] for row in RECIPES]
FILES = sorted(path.name for path in FOLDER.glob("*.py") if path.name != "__init__.py")


def recipe(name: str = "llama31-8b") -> Recipe:
    return catalog.find(name).recipe


def refusal(*settings: str) -> str:
    with pytest.raises(UserError) as error:
        catalog.override(recipe(), settings)
    return str(error.value)


def found_in(path: Path) -> str:
    with pytest.raises(UserError) as error:
        catalog.find(str(path))
    return str(error.value)


def bare_numbers(source: str) -> list[str]:
    """"line: literal" of every number without a comment on its line or alone on the line above."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    commented = {token.start[0] for token in tokens if token.type == tokenize.COMMENT}
    comment_lines = {number for number in commented if source.splitlines()[number - 1].lstrip().startswith("#")}
    return [
        f"{token.start[0]}: {token.string}"
        for token in tokens
        if token.type == tokenize.NUMBER and token.start[0] not in commented and token.start[0] - 1 not in comment_lines
    ]


# The recipes themselves


def test_the_ten_recipes_are_the_files_of_the_folder():
    assert catalog.names() == NAMES
    assert FILES == sorted(f"{row[1]}.py" for row in RECIPES)


@pytest.mark.parametrize(("name", "module", "model", "load_in_4bit", "learning_rate"), RECIPES)
def test_a_recipe_is_found_by_its_typed_name_with_these_values(
    name: str, module: str, model: str, load_in_4bit: bool, learning_rate: float
):
    entry = catalog.find(name)
    assert (entry.name, entry.source) == (name, "built in")
    assert entry.recipe.model == model
    assert entry.recipe.load_in_4bit is load_in_4bit
    assert entry.recipe.train.learning_rate == learning_rate
    train = entry.recipe.train
    assert (train.effective_batch_size, train.per_device_train_batch_size, train.gradient_accumulation_steps) == (8, None, None)


@pytest.mark.parametrize(("name", "module"), [row[:2] for row in RECIPES])
def test_the_same_recipe_is_found_by_its_path(name: str, module: str):
    entry = catalog.find(str(FOLDER / f"{module}.py"))
    assert (entry.name, entry.source) == (module, f"{module}.py")
    assert entry.recipe == recipe(name)


@pytest.mark.parametrize("name", NAMES)
def test_from_three_billion_weights_up_the_base_is_held_in_four_bits(name: str):
    size = name.rsplit("-", 1)[1]
    billions = float(size[:-1]) / {"b": 1, "m": 1000}[size[-1]]
    assert recipe(name).load_in_4bit is (billions >= 3)


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_adapts_all_seven_projections_with_rank_16_and_a_cosine_schedule(name: str):
    found = recipe(name)
    assert (found.lora.r, found.lora.lora_dropout, found.lora.target_modules) == (16, 0.0, PROJECTIONS)
    assert (found.train.lr_scheduler_type, found.train.seed) == ("cosine", 3407)
    assert found.lora_scale in (1.0, 2.0)


def test_the_adapters_scale_goes_with_the_source_of_the_learning_rate():
    # 5e-4 comes from runs with lora_alpha 32, 2e-4 and SmolLM2's 2e-3 from runs with lora_alpha = r.
    assert {name: recipe(name).lora_scale for name in NAMES if recipe(name).lora_scale != 1} == {
        "llama32-1b": 2.0,
        "qwen25-0.5b": 2.0,
        "qwen3-0.6b": 2.0,
    }


@pytest.mark.parametrize("name", NAMES)
def test_no_recipe_switches_thinking_off_in_the_template(name: str):
    assert "enable_thinking" not in recipe(name).chat_template_kwargs


@pytest.mark.parametrize("name", NAMES)
def test_a_template_that_writes_the_date_is_given_one(name: str):
    dated = {"llama31-8b", "llama32-1b", "llama32-3b"}  # of 3.1, llama.cpp alone writes another than the built-in one
    assert recipe(name).chat_template_kwargs == ({"date_string": "26 Jul 2024"} if name in dated else {})


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_survives_its_own_plain_values(name: str):
    assert catalog.validated(recipe(name).model_dump(), "run.json") == recipe(name)
    assert Recipe.model_validate_json(recipe(name).model_dump_json()) == recipe(name)


# What the files look like


@pytest.mark.parametrize("file", FILES)
def test_every_number_in_a_recipe_file_has_its_source_beside_it(file: str):
    assert bare_numbers((FOLDER / file).read_text(encoding="utf-8")) == []


def test_a_number_without_a_source_is_found():
    # A comment behind the previous value is that value's, not this one's.
    assert bare_numbers("a = 1\nb = 2  # why\nc = 3\n# why\nd = 4\n") == ["1: 1", "3: 3"]


@pytest.mark.parametrize("file", FILES)
def test_a_recipe_file_is_a_docstring_one_import_and_one_assignment(file: str):
    kinds = [type(node).__name__ for node in ast.parse((FOLDER / file).read_text(encoding="utf-8")).body]
    assert kinds == ["Expr", "ImportFrom", "Assign"]


@pytest.mark.parametrize("file", FILES)
def test_a_recipe_file_names_the_models_licence(file: str):
    text = (FOLDER / file).read_text(encoding="utf-8")
    expected = {"llama31": "Llama 3.1 Community License", "llama32": "Llama 3.2 Community License"}.get(file.split("_")[0], "Apache-2.0")
    assert f"# {expected}" in text


def test_the_package_of_recipes_exports_nothing():
    code = "import unsloth_ft.recipes as r; print([n for n in vars(r) if not n.startswith('__')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_loading_every_recipe_imports_neither_torch_nor_transformers():
    code = (
        "import sys; from unsloth_ft import catalog; assert len(catalog.all_entries()) >= 10; catalog.fields();"
        "print(sorted({'torch', 'transformers', 'unsloth', 'peft', 'trl', 'datasets'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# Finding

LIST_HINT = "`unsloth-ft recipes list` shows all; a file is named by its path, like ./mine.py."


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lama31-8b", "llama31-8b"),
        ("qwen25_7b", "qwen25-7b"),
        ("Qwen3-8B", "qwen3-8b"),
        ("smollm2", "smollm2-135m"),
        ("mistral7b", "mistral-7b"),
    ],
)
def test_an_unknown_recipe_names_the_nearest(typed: str, meant: str):
    with pytest.raises(UserError) as error:
        catalog.find(typed)
    assert str(error.value).startswith(f'recipe "{typed}" is not known. Did you mean {meant}')
    assert str(error.value).endswith(f"? {LIST_HINT}")


def test_an_unknown_recipe_near_to_none_names_the_list():
    with pytest.raises(UserError) as error:
        catalog.find("xyz")
    assert str(error.value) == f'recipe "xyz" is not known. {LIST_HINT}'


def test_a_users_recipe_file_is_found_by_its_path(tmp_path: Path):
    path = tmp_path / "mine.py"
    path.write_text('from unsloth_ft.recipe import Lora, Recipe\n\nRECIPE = Recipe(model="me/mine", lora=Lora(r=4))\n', encoding="utf-8")
    entry = catalog.find(str(path))
    assert (entry.name, entry.source) == ("mine", "mine.py")
    assert (entry.recipe.model, entry.recipe.lora.r) == ("me/mine", 4)


def test_a_users_recipe_can_be_a_copy_with_changes(tmp_path: Path):
    path = tmp_path / "wider.py"
    path.write_text(
        "from unsloth_ft.recipes.qwen3_4b import RECIPE as BASE\n\n"
        'RECIPE = BASE.model_copy(update={"lora": BASE.lora.model_copy(update={"r": 64})})\n',
        encoding="utf-8",
    )
    found = catalog.find(str(path)).recipe
    assert (found.model, found.lora.r) == ("Qwen/Qwen3-4B", 64)
    assert recipe("qwen3-4b").lora.r == 16


def test_a_missing_recipe_file_is_refused(tmp_path: Path):
    assert found_in(tmp_path / "gone.py") == f"{tmp_path / 'gone.py'}: no such recipe file."


def test_a_recipe_file_without_a_recipe_is_refused(tmp_path: Path):
    path = tmp_path / "empty.py"
    path.write_text("recipe = 1\n", encoding="utf-8")
    assert found_in(path) == f"{path}: no RECIPE in it; expected `RECIPE = Recipe(model=…)`."


def test_a_recipe_file_whose_recipe_is_something_else_is_refused(tmp_path: Path):
    path = tmp_path / "plain.py"
    path.write_text('RECIPE = {"model": "me/mine"}\n', encoding="utf-8")
    assert found_in(path) == f"{path}: RECIPE is of type dict; expected an unsloth_ft.recipe.Recipe."


def test_a_syntax_error_in_a_recipe_file_names_the_file_and_the_line(tmp_path: Path):
    path = tmp_path / "broken.py"
    path.write_text("from unsloth_ft.recipe import Recipe\n\nRECIPE = Recipe(model=\n", encoding="utf-8")
    assert found_in(path) == f"{path}: SyntaxError: '(' was never closed (broken.py, line 3)"


def test_an_unknown_name_in_a_recipe_file_is_refused(tmp_path: Path):
    path = tmp_path / "unimported.py"
    path.write_text('RECIPE = Recipe(model="me/mine")\n', encoding="utf-8")
    assert found_in(path) == f"{path}:1: NameError: name 'Recipe' is not defined"


def test_every_wrong_value_in_a_recipe_file_is_named_at_once(tmp_path: Path):
    path = tmp_path / "wrong.py"
    path.write_text(
        'from unsloth_ft.recipe import Recipe\n\nRECIPE = Recipe(model=" ", lora={"r": 0}, max_seq_lenght=512)\n', encoding="utf-8"
    )
    assert found_in(path).splitlines() == [
        f"{path}: model is ' '; empty; a hub id or a folder was expected.",
        f"{path}: lora.r is 0; input should be greater than or equal to 1.",
        f'{path}: no recipe field "max_seq_lenght". Did you mean max_seq_length?',
    ]


# Changing


def test_settings_change_a_copy_and_leave_the_recipe_alone():
    changed = catalog.override(
        recipe(),
        [
            "lora.r=32",
            "train.learning_rate=1e-4",
            "load_in_4bit=false",
            "lora.target_modules=q_proj, v_proj",
            "data.columns.question=q",
            "wheel=None",
        ],
    )
    assert (changed.lora.r, changed.train.learning_rate, changed.load_in_4bit) == (32, 1e-4, False)
    assert (changed.lora.target_modules, changed.data.columns, changed.wheel) == (("q_proj", "v_proj"), {"question": "q"}, None)
    assert changed.lora.lora_alpha == recipe().lora.lora_alpha
    assert (recipe().lora.r, recipe().data.columns) == (16, {})


def test_thinking_can_be_switched_off_from_the_command_line():
    changed = catalog.override(recipe("qwen3-8b"), ["chat_template_kwargs.enable_thinking=false"])
    assert changed.chat_template_kwargs == {"enable_thinking": False}


def test_rank_zero_is_refused():
    assert refusal("lora.r=0") == "--set: lora.r is 0; input should be greater than or equal to 1."


@pytest.mark.parametrize(("typed", "shown"), [("nan", "'nan'"), ("NaN", "nan"), ("inf", "'inf'"), ("Infinity", "inf")])
def test_a_learning_rate_that_is_no_number_is_refused(typed: str, shown: str):
    assert refusal(f"train.learning_rate={typed}") == f"--set: train.learning_rate is {shown}; input should be a finite number."


def test_a_negative_learning_rate_is_refused_and_zero_is_the_control_run():
    assert refusal("train.learning_rate=-1e-4") == "--set: train.learning_rate is -0.0001; input should be greater than or equal to 0."
    assert catalog.override(recipe(), ["train.learning_rate=0"]).train.learning_rate == 0


def test_one_misspelt_target_module_among_several_is_refused_with_the_nearest():
    message = refusal("lora.target_modules=q_proj,v_porj")
    assert message.startswith(
        "--set: lora.target_modules is ['q_proj', 'v_porj']; \"v_porj\" is none of "
        "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj. Did you mean v_proj"
    )


def test_no_target_module_is_refused():
    assert refusal("lora.target_modules=") == "--set: lora.target_modules is []; no module named; an adapter needs at least one."


def test_an_unknown_key_names_the_nearest():
    assert refusal("lora.rank=8").startswith('--set lora.rank=8: no recipe field "lora.rank". Did you mean lora.r')


def test_a_key_without_its_section_is_completed():
    assert refusal("learning_rate=1e-4") == (
        '--set learning_rate=1e-4: no recipe field "learning_rate". Did you mean train.learning_rate? '
        "`unsloth-ft recipes show NAME` lists all."
    )


def test_a_setting_without_a_value_is_refused():
    assert refusal("lora.r") == '--set "lora.r": expected KEY=VALUE, like lora.r=32.'


def test_all_wrong_values_are_named_at_once():
    assert refusal("lora.r=0", "lora.lora_dropout=1.5", "train.per_device_train_batch_size=0").splitlines() == [
        "--set: lora.r is 0; input should be greater than or equal to 1.",
        "--set: lora.lora_dropout is 1.5; input should be less than 1.",
        "--set: train.per_device_train_batch_size is 0; input should be greater than or equal to 1.",
    ]


def test_a_recipe_can_not_be_changed_in_place():
    with pytest.raises(ValidationError, match="frozen"):
        recipe().load_in_4bit = False
