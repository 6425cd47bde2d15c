"""The rules that keep the package readable: imports point one way, heavy libraries load late, files stay short."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "unsloth_ft"
BENCH = ROOT / "bench"  # installed as unsloth_ft.bench
MODULES = sorted([*PACKAGE.rglob("*.py"), *BENCH.rglob("*.py")])
LONGEST_MODULE = 400  # lines; past that it is two nouns

# The stages in the order in which a run goes through them: each may import what stands before it, and nothing behind it.
STAGES = (
    "errors", "cache", "disk", "data", "recipe", "catalog", "hardware", "cards", "model_facts", "known_models", "flops", "order", "pace", "memory",
    "plan", "record", "measured", "smollm2", "base_model", "chat", "token_rows", "token_store", "xray", "kernels", "backends", "prepare",
    "outlook", "sketch", "reopen", "train", "evaluate", "probe", "export", "report", "begin", "run", "bench", "cli", "__main__",
)  # fmt: skip
# The arrows that point back from one stage to another; none of them closes a circle of modules, as a test below shows.
ALLOWED_BACK = {
    ("export.pipeline", "report.terminal"),  # an export is told while it is made; all words for the terminal are in one place
    ("train.trainer", "evaluate.losses"),  # the loss that chooses the best checkpoint is the one that the verdict is made of
    ("train.before", "evaluate.losses"),
}
VALUES = ("errors", "recipe", "catalog", "hardware", "order", "plan", "record", "base_model", "prepare", "begin", "run", "reopen", "chat", "xray",
          "data", "backends", "export.pipeline", "export.targets", "report.terminal", "bench.case", "bench.measurement", "bench.runner", "cli", "cli.bench")  # fmt: skip
HEAVY = {"torch", "transformers", "trl", "peft", "unsloth", "datasets", "accelerate", "bitsandbytes", "xllamacpp", "pandas"}


def name_of(path: Path) -> str:
    """unsloth_ft/train/loop.py -> train.loop"""
    return ".".join(path.relative_to(ROOT if path.is_relative_to(BENCH) else PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """Every module that the file imports when it runs, in whatever function; relative ones resolved, type-checking ones left out."""
    here = ("unsloth_ft." + name_of(path)).split(".")
    package = here if path.name == "__init__.py" else here[:-1]
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            pending += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])]) if node.level else node.module or ""
            yield from (f"{base}.{alias.name}" for alias in node.names)
        pending += ast.iter_child_nodes(node)


def stage(module: str) -> str:
    """train.loop belongs to train, chat_ids to chat."""
    first = module.split(".")[0]
    return first if first in STAGES else first.split("_")[0]


OWN = {(name_of(path), found.removeprefix("unsloth_ft.")) for path in MODULES for found in imports(path) if found.startswith("unsloth_ft.")}


def test_every_module_belongs_to_a_stage():
    found = {stage(name_of(path)) for path in MODULES if name_of(path) != "__init__" and path != PACKAGE / "__init__.py"}
    assert found <= set(STAGES)


def test_imports_point_from_later_stages_to_earlier_ones():
    back = set()
    for module, imported in OWN:
        # `from unsloth_ft import __version__` names no stage.
        if stage(imported) in STAGES and stage(module) in STAGES and STAGES.index(stage(imported)) > STAGES.index(stage(module)):
            back.add((module, ".".join(imported.split(".")[:2])))
    assert back == ALLOWED_BACK


def test_no_module_imports_itself_by_way_of_others():
    names = {name_of(path) for path in MODULES}

    def owner(imported: str) -> str | None:
        """chat.IGNORE -> chat; None for what stands in the package's own __init__."""
        parts = imported.split(".")
        return next((".".join(parts[:end]) for end in range(len(parts), 0, -1) if ".".join(parts[:end]) in names), None)

    graph = {
        name: {found for module, imported in OWN if module == name and (found := owner(imported)) not in (None, name)} for name in names
    }
    assert graph["train.trainer"] >= {"evaluate.losses", "train.batches"}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_an_import_that_points_back_would_be_seen(tmp_path: Path):
    folder = PACKAGE / "train"
    assert ("train.loop", "backends.third_party") in OWN
    assert "unsloth_ft.train.checkpoints" in set(imports(folder / "loop.py"))  # inside a function
    assert not any(imported.startswith("prepare") for module, imported in OWN if module == "report.terminal")  # for type checkers only
    assert ("data.examination", "errors.UserError") in OWN  # relative


def test_unsloth_is_imported_in_one_file_only():
    assert {name_of(path) for path in MODULES if any(found.split(".")[0] == "unsloth" for found in imports(path))} == {"backends.unsloth"}


def test_data_reads_without_torch():
    light = {"torch", "transformers", "trl", "peft", "unsloth", "accelerate"}
    assert {
        (name_of(path), found) for path in (PACKAGE / "data").glob("*.py") for found in imports(path) if found.split(".")[0] in light
    } == set()


def test_importing_the_values_and_the_story_loads_no_heavy_library():
    code = f"""
import importlib, sys
for name in {VALUES}:
    importlib.import_module("unsloth_ft." + name)
    found = sorted({HEAVY} & set(sys.modules))
    if found:
        sys.exit(f"importing {{name}} loads {{found}}")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.stderr, done.returncode) == ("", 0)


def test_only_the_command_line_catches_every_exception():
    broad = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.type] if isinstance(node, ast.ExceptHandler) else []
            names = names[0].elts if names and isinstance(names[0], ast.Tuple) else names
            if any(name is None or (isinstance(name, ast.Name) and name.id in ("Exception", "BaseException")) for name in names):
                broad.append(name_of(path))
    assert broad == ["cli"]


def test_only_programs_exit_and_print():
    calls = []
    for path in MODULES:
        # A worker is a program of its own, in a process of its own; its output is what its parent reads.
        if stage(name_of(path)) == "cli" or path.stem.endswith("_worker"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "exit", "quit", "sys.exit", "os._exit"):
                calls.append(f"{name_of(path)}:{node.lineno}")
    assert calls == []


def test_no_module_is_longer_than_400_lines():
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {module: length for module, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_the_story_can_be_read_in_one_go():
    assert 60 <= len((PACKAGE / "run.py").read_text(encoding="utf-8").splitlines()) <= 150


def test_every_module_says_what_it_is_for():
    assert [name_of(path) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))] == []


def test_no_line_is_far_beyond_the_limit():
    # Long sentences stay whole where a reader searches for them; code does not.
    long = [
        f"{name_of(path)}:{number}"
        for path in MODULES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > 220
    ]
    assert long == []


def test_tracked_files_name_no_folder_of_a_machine_and_no_package_index():
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    pattern = re.compile(rb"(?<![\w.])/(?:work|root)/|index-url|pypi\.org/simple|files\.pythonhosted\.org|://(?:10|172|192\.168)\.\d")
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        content = path.read_bytes() if path.is_file() and path != Path(__file__) else b""
        if b"\0" not in content:
            found += [f"{name}: {match.group().decode()}" for match in pattern.finditer(content)]
    assert found == []
