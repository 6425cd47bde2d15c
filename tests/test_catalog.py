"""Recipes from elsewhere and changes to them; tests/test_recipes.py has the recipes that come with the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.calling import snapshot
from unsloth_ft import catalog
from unsloth_ft.errors import UserError
from unsloth_ft.recipe import Recipe

MINE = Recipe(model="me/mine")
LISTS_ALL = "`unsloth-ft recipes show NAME` lists all."


@pytest.fixture
def entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package `others` 1.0 with the recipes other-7b and, by mistake, other-list."""
    (tmp_path / "others.py").write_text(
        "from unsloth_ft.recipe import Recipe\nRECIPE = Recipe(model='they/theirs')\nLIST = []\n", encoding="utf-8"
    )
    info = tmp_path / "others-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[unsloth_ft.recipes]\nother-7b = others:RECIPE\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "others", raising=False)


def refusal(*settings: str) -> str:
    with pytest.raises(UserError) as error:
        catalog.override(MINE, settings)
    return str(error.value)


# Entry points


def test_a_package_brings_recipes_through_the_entry_point_group(entry_points: None):
    entry = catalog.find("other-7b")
    assert (entry.name, entry.recipe.model, entry.source) == ("other-7b", "they/theirs", "others")
    assert catalog.all_entries()[-1] == entry


def test_a_packages_recipe_is_suggested_too(entry_points: None):
    with pytest.raises(UserError, match=r'^recipe "othr-7b" is not known\. Did you mean other-7b'):
        catalog.find("othr-7b")


def test_a_packages_recipe_that_is_none_is_refused(entry_points: None, tmp_path: Path):
    (tmp_path / "others-1.0.dist-info" / "entry_points.txt").write_text(
        "[unsloth_ft.recipes]\nother-list = others:LIST\n", encoding="utf-8"
    )
    with pytest.raises(UserError) as error:
        catalog.find("other-list")
    assert str(error.value) == "entry point others:LIST: RECIPE is of type list; expected an unsloth_ft.recipe.Recipe."


# Recipe files


def test_reading_a_recipe_file_leaves_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "mine.py"
    path.write_text("from unsloth_ft.recipe import Recipe\nRECIPE = Recipe(model='me/mine')\n", encoding="utf-8")
    before = snapshot(tmp_path)
    assert catalog.find(str(path)).recipe == MINE
    assert snapshot(tmp_path) == before


def test_a_changed_recipe_file_is_read_again(tmp_path: Path):
    path = tmp_path / "mine.py"
    for model in ("me/one", "me/two"):
        path.write_text(f"from unsloth_ft.recipe import Recipe\nRECIPE = Recipe(model={model!r})\n", encoding="utf-8")
        assert catalog.find(str(path)).recipe.model == model


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_of_that_name\n", ":1: ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("\n\n{}['r']\n", ":3: KeyError: 'r'"),
        ("assert 1 == 2, 'odd'\n", ":1: AssertionError: odd"),
        ("open('/nowhere/at/all')\n", ":1: FileNotFoundError: [Errno 2] No such file or directory: '/nowhere/at/all'"),
        ("raise RuntimeError('no')\n", ":1: RuntimeError: no"),
        ("x = 1\x00\n", ": "),
    ],
)
def test_whatever_a_recipe_file_raises_names_its_line(text: str, said: str, tmp_path: Path):
    path = tmp_path / "mine.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        catalog.find(str(path))
    assert str(error.value).startswith(f"{path}{said}")


def test_a_mistake_in_a_function_that_a_recipe_calls_names_the_recipes_line(tmp_path: Path):
    path = tmp_path / "mine.py"
    path.write_text("import json\n\nRECIPE = json.loads('{')\n", encoding="utf-8")
    with pytest.raises(UserError) as error:
        catalog.find(str(path))
    assert str(error.value).startswith(f"{path}:3: JSONDecodeError: ")


def test_a_file_of_another_kind_is_no_recipe(tmp_path: Path):
    (tmp_path / "recipe.yaml").write_text("r: 8\n", encoding="utf-8")
    with pytest.raises(UserError) as error:
        catalog.find(str(tmp_path / "recipe.yaml"))
    assert str(error.value) == f"{tmp_path / 'recipe.yaml'}: not a Python file; a recipe is a .py file with a RECIPE."


# Settings


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lr", "train.learning_rate"),
        ("LR", "train.learning_rate"),
        ("train.lr", "train.learning_rate"),
        ("epochs", "train.num_train_epochs"),
        ("batch_size", "train.effective_batch_size"),
        ("rank", "lora.r"),
        ("alpha", "lora.lora_alpha"),
        ("dropout", "lora.lora_dropout"),
        ("max_length", "max_seq_length"),
        ("seed", "train.seed"),
        ("lora.max_seq_length", "max_seq_length"),
    ],
)
def test_names_from_elsewhere_lead_to_ours(typed: str, meant: str):
    assert refusal(f"{typed}=1") == f'--set {typed}=1: no recipe field "{typed}". Did you mean {meant}? {LISTS_ALL}'


def test_every_name_from_elsewhere_leads_to_a_field():
    assert set(catalog.OTHER_NAMES.values()) <= set(catalog.fields())


@pytest.mark.parametrize("key", ["lora", "train", "", "=", "lora.", "xyzzy"])
def test_a_key_that_is_no_field_is_refused(key: str):
    assert f'no recipe field "{key.rstrip("=")}"' in refusal(f"{key}=1")


def test_the_last_of_two_settings_counts():
    assert catalog.override(MINE, ["lora.r=8", "lora.r=4"]).lora.r == 4


def test_values_are_json_where_they_can_be_and_text_elsewhere():
    changed = catalog.override(
        MINE,
        [
            "load_in_4bit=True",
            "revision=main",
            "max_seq_length=null",
            'lora.target_modules=["q_proj"]',
            "train.report_to=wandb",
            "model=a=b",
        ],
    )
    assert (changed.load_in_4bit, changed.revision, changed.max_seq_length) == (True, "main", None)
    assert (changed.lora.target_modules, changed.train.report_to, changed.model) == (("q_proj",), "wandb", "a=b")


def test_names_with_dots_reach_columns_roles_and_template_arguments():
    changed = catalog.override(MINE, ["data.columns.question=my.q", "data.roles.a.b=user", "chat_template_kwargs.enable_thinking=false"])
    assert (changed.data.columns, changed.data.roles) == ({"question": "my.q"}, {"a.b": "user"})
    assert changed.chat_template_kwargs == {"enable_thinking": False}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("lora.r=true", "lora.r is true; expected a number."),
        (
            "train.gradient_checkpointing=0",
            "train.gradient_checkpointing is 0; expected true, false, unsloth, or a number of layers from 1.",
        ),
        ("lora.r=1.5", "lora.r is 1.5; input should be a valid integer, got a number with a fractional part."),
        ("lora.r=x", "lora.r is 'x'; input should be a valid integer, unable to parse string as an integer."),
        ("train.max_steps=-2", "train.max_steps is -2; expected 1 or more, or -1 for as many as the epochs have."),
        ("train.seed=4294967296", "train.seed is 4294967296; input should be less than 4294967296."),
        (
            "train.lr_scheduler_type=cosin",
            "train.lr_scheduler_type is 'cosin'; input should be 'cosine', 'linear', 'constant' or 'constant_with_warmup'.",
        ),
        ("data.held_out=1", "data.held_out is 1; input should be less than 1."),
        ("data.columns=q", "data.columns is 'q'; input should be a valid dictionary."),
        ("chat_template_kwargs.depth=[1]", "chat_template_kwargs.depth is [1]; expected true, false or a text."),
        ("model=", "model is ''; empty; a hub id or a folder was expected."),
    ],
)
def test_a_wrong_value_names_its_key_what_was_found_and_what_was_expected(setting: str, said: str):
    assert refusal(setting) == f"--set: {said}"


def test_no_message_ends_in_two_marks():
    assert refusal("lora.target_modules=q_porj").endswith("Did you mean q_proj, v_proj, o_proj?")


def test_every_field_has_a_line_of_explanation():
    assert [key for key, meaning in catalog.fields().items() if len(meaning) < 10] == []


def test_the_python_api_works_without_torch():
    code = (
        "import sys\n"
        "from unsloth_ft import catalog\n"
        "from unsloth_ft.hardware import GIB, Gpu, Hardware\n"
        "from unsloth_ft.plan import DataFacts, Decision, ModelFacts, resolve\n"
        "from unsloth_ft.recipe import Lora, Recipe, Train\n"
        "from unsloth_ft import data, record, base_model, prepare, backends\n"
        "recipe = Recipe(model='me/mine', lora=Lora(r=8), train=Train(learning_rate=1e-4))\n"
        "machine = Hardware((Gpu('T4', 16 * GIB, (7, 5)),), 'cpu', 2, False, 8 * GIB)\n"
        "plan = resolve(recipe, DataFacts(100, 10, 20, 30, 40), ModelFacts('L', 2, 64, 160, 1000, 512, 4, 2, 16), machine, Decision('peft', 'a "
        "test'))\n"
        "print(plan.dtype.value, catalog.override(recipe, ['lora.r=4']).lora.r)\n"
        "print(sorted({'torch', 'transformers', 'unsloth', 'peft', 'trl', 'datasets', 'accelerate'} & set(sys.modules)))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "float16 4\n[]\n"
