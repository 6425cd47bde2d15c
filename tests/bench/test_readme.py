from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.sample import CPU, WORK, everything, four_legs, leg, measurement, on_gpu, self_check
from tests.cli import calling
from unsloth_ft.bench import readme
from unsloth_ft.bench.measurement import write

ROOT = Path(__file__).parents[2]


def section(*measurements) -> str:
    return readme.section(measurements, link="bench/results")


def lines_with(words: str, *measurements) -> list[str]:
    return [line for line in section(*measurements).splitlines() if words in line]


def test_the_repositorys_readme_says_what_the_committed_results_say():
    stale = readme.is_stale(ROOT / "README.md", ROOT / "bench" / "results")
    assert not stale, "run `unsloth-ft bench report --readme README.md` and commit the README"


def test_without_results_it_says_only_that_no_gpu_was_measured():
    assert section() == "Not yet measured on a GPU."


def test_without_a_gpu_that_is_said_below_the_table():
    assert section(*four_legs()).splitlines()[-1] == "Not yet measured on a GPU."
    assert lines_with("Not yet", *four_legs(), *on_gpu("unsloth-plan", 100.0)) == []


def test_a_gpu_on_which_nothing_finished_is_not_measured():
    failed = [replace(one, outcome="failed", error="no kernel") for one in on_gpu("unsloth-plan", 100.0)]
    assert lines_with("Not yet", *four_legs(), *failed) == ["Not yet measured on a GPU."]


def test_each_row_has_its_figures_and_names_its_run():
    assert lines_with("unsloth-plan", *four_legs())[0] == (
        "|  | unsloth-plan | 180 tokens/s [180, 181] | peft-tuned: slower by 1.11 × [1.11, 1.11] | 1.50 GiB |  |"
    )
    assert lines_with("peft-naive", *four_legs())[0].endswith("| [2026-11-26-cpu](bench/results/2026-11-26-cpu/speed-faq) |")


def test_where_we_are_slower_is_said():
    assert lines_with("against peft-tuned", *four_legs()) == ["- speed-faq: slower by 1.11 × [1.11, 1.11] against peft-tuned"]
    quicker = [*leg("peft-tuned", speed=200.0), *leg("unsloth-plan", speed=400.0)]
    assert lines_with("as far as", *quicker) == [
        "In none of these cases is our leg slower than another valid one, or in need of more memory, as far as the repeats can show."
    ]


def test_the_newest_run_of_a_machine_and_case_is_shown():
    older = [replace(one, run="older", date="2026-11-01T00:00:00+00:00") for one in leg(speed=50.0)]
    elsewhere = [replace(one, run="elsewhere", date="2026-10-01T00:00:00+00:00", machine=CPU | {"cpu": "AMD EPYC"}) for one in leg()]
    rows = lines_with("| peft-naive |", *older, *leg(speed=100.0), *elsewhere)
    assert [row.split(" | ")[2] for row in rows] == ["200 tokens/s [200, 201]", "100 tokens/s [100, 100]"]
    assert ["elsewhere" in row for row in rows] == [True, False]


def test_an_invalid_leg_is_shown_as_such():
    broken = leg("unsloth-plan", work=replace(WORK, seed=1))
    assert "| **unsloth-plan** | 200 tokens/s [200, 201] | **INVALID**: not the work of peft-naive: seed 1 against 3,407 |" in (
        section(*leg(), *leg("peft-tuned"), *broken)
    )


def test_the_bench_held_against_itself_is_told():
    assert lines_with("held against itself", *self_check()) == [
        "The bench held against itself ([2026-11-26-cpu](bench/results/2026-11-26-cpu/self-check)): same-again against one came out as"
        " no difference: 1.00 × [1.00, 1.00]; 2% would show; other-seed was marked INVALID; other-rows was marked INVALID."
    ]


def test_the_order_of_files_does_not_matter():
    measurements = everything()
    assert section(*measurements) == section(*reversed(measurements))


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    text = f"# A title\n\n{readme.BEGIN}\nold\n{readme.END}\n\nMore.\n"
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    for one in leg():
        write(one, tmp_path / "bench/results")
    return tmp_path


def report(*arguments: str) -> calling.Answer:
    return calling.call("bench", "report", *arguments)


def test_a_stale_readme_is_found_and_rewritten(checkout: Path):
    found = report("--readme", "README.md", "--check")
    assert (found.code, found.err) == (
        4,
        "error: README.md: its bench table is not what bench/results holds."
        " `unsloth-ft bench report bench/results --readme README.md` rewrites it.\n",
    )
    assert (checkout / "README.md").read_text(encoding="utf-8").splitlines()[3] == "old"
    assert report("--readme", "README.md").out == "README.md: rewritten\n"
    text = (checkout / "README.md").read_text(encoding="utf-8")
    assert text.startswith(f"# A title\n\n{readme.BEGIN}\n**Intel Xeon (2 cores, 8 GiB)**, 2026-11-26; unsloth 2026.10.9,")
    assert text.endswith(f"\n\nNot yet measured on a GPU.\n{readme.END}\n\nMore.\n")
    assert report("--readme", "README.md", "--check").code == 0
    assert report("--readme", "README.md").out == "README.md: up to date\n"
    assert sorted(path.name for path in (checkout / "bench/results").iterdir()) == ["2026-11-26-cpu"]  # no report beside it


def test_one_new_measurement_makes_it_stale(checkout: Path):
    report("--readme", "README.md")
    write(measurement(repeat=3, speed=300.0), checkout / "bench/results")
    assert report("--readme", "README.md", "--check").code == 4


def test_a_readme_without_a_place_for_the_table_is_refused(checkout: Path):
    (checkout / "README.md").write_text(f"{readme.END}\n{readme.BEGIN}\n", encoding="utf-8")
    found = report("--readme", "README.md")
    assert (found.code, found.err) == (
        2,
        "error: README.md: no place for the bench's table; expected one line <!-- bench: begin --> and one line <!-- bench: end --> below"
        " it.\n",
    )


def test_check_without_a_file_is_refused(checkout: Path):
    found = report("--check")
    assert (found.code, "--check looks at a file: give it with --readme FILE." in found.err) == (2, True)


def test_a_leg_that_found_no_time_is_left_to_the_report():
    ours = [replace(one, outcome="no_time", error="3 s were left", steps=()) for one in leg("peft-naive")]
    rows = lines_with("| peft-", *ours, *leg("peft-tuned"))
    assert len(rows) == 1
    assert rows[0].startswith("| speed-faq, smollm2-135m | peft-tuned | 200 tokens/s")


def test_a_gpu_leg_that_loaded_kernels_in_every_repeat_says_so_beside_its_figure():
    (only, *_) = on_gpu("peft-tuned", 100.0)
    assert "tokens/s while loading kernels |" in lines_with("| peft-tuned", only)[0]
