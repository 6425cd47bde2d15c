"""Rehearsal rows: what a share comes to, which rows are drawn, and what is refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.data.building import lines, qa
from unsloth_ft.data import load, mixing
from unsloth_ft.data.mixing import Part
from unsloth_ft.errors import UserError


def general(folder: Path, rows: list[int]) -> Path:
    path = folder / "general.jsonl"
    path.write_bytes(lines(*(qa(f"question {number}", str(number)) for number in rows)))
    return path


@pytest.mark.parametrize(
    ("texts", "own_rows", "rows"),
    [
        (["a:0.15"], 85, (15,)),
        (["a:0.5"], 12, (12,)),
        (["a:0.15", "b:0.05"], 80, (15, 5)),
        (["a:0.0001"], 10, (1,)),
        ([], 10, ()),
    ],
)
def test_the_share_is_of_the_mixed_training_rows(texts: list[str], own_rows: int, rows: tuple[int, ...]):
    assert mixing.wanted_rows(mixing.parts(texts), own_rows) == rows


def test_what_stands_behind_the_last_colon_is_the_share():
    assert mixing.parts(["hf://owner/name:train:0.15", "C:x.jsonl:1e-2"]) == (Part("hf://owner/name:train", 0.15), Part("C:x.jsonl", 0.01))


def test_the_seed_and_the_rows_decide_what_is_drawn_and_not_their_place_in_the_file(tmp_path: Path):
    def drawn(rows: list[int], seed: int) -> list[str]:
        found = mixing.draw(load([general(tmp_path, rows)]), Part("general.jsonl", 0.1), 5, largest_share=0.0, seed=seed)
        return [row.answer for row in found.rows]

    ordered = list(range(40))
    shuffled = random.Random(1).sample(ordered, k=40)
    assert drawn(ordered, 1) == ["13", "14", "23", "26", "31"]
    assert set(drawn(shuffled, 1)) == set(drawn(ordered, 1))
    assert drawn(shuffled, 1) == [str(number) for number in shuffled if str(number) in drawn(ordered, 1)]
    assert drawn(ordered, 2) != drawn(ordered, 1)


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["general.jsonl"], "--mix general.jsonl: expected FILE:SHARE, like general.jsonl:0.15."),
        ([":0.2"], "--mix :0.2: expected FILE:SHARE, like general.jsonl:0.15."),
        (["a:15%"], "--mix a:15%: expected FILE:SHARE, like general.jsonl:0.15."),
        (["a:0"], "--mix a:0: the share is 0; expected a part of all training rows: above 0, below 1."),
        (["a:1"], "--mix a:1: the share is 1; expected a part of all training rows: above 0, below 1."),
        (["a:-0.1"], "--mix a:-0.1: the share is -0.1; expected a part of all training rows: above 0, below 1."),
        (["*.jsonl:0.1"], "--mix *.jsonl:0.1: a pattern; expected one file. Pass --mix once for each, with its own share."),
        (["a:nan"], "--mix a:nan: the share is nan; expected a part of all training rows: above 0, below 1."),
        (["a:0.5", "b:0.5"], "--mix: the shares add up to 1; expected less than 1, since the rest is --data."),
        (["a:0.1", "a:0.2"], "--mix a: the same file is given twice. Pass it once."),
        (["a:0.1", "./a:0.2"], "--mix ./a: the same file as a. Pass it once."),
    ],
)
def test_a_mix_that_is_none_is_refused(texts: list[str], says: str):
    with pytest.raises(UserError) as refused:
        mixing.parts(texts)
    assert str(refused.value) == says


def test_a_share_that_takes_more_rows_than_there_are_says_which_would_do(tmp_path: Path):
    dataset = load([general(tmp_path, list(range(12)))])
    part = Part("general.jsonl", 0.5)
    enough_for = mixing.largest_share([part], part, 100, 12)
    assert (enough_for, mixing.wanted_rows([Part("general.jsonl", enough_for)], 100)) == (0.107, (12,))
    with pytest.raises(UserError) as refused:
        mixing.draw(dataset, part, 100, largest_share=enough_for, seed=1)
    assert str(refused.value) == (
        "--mix general.jsonl:0.5: that share takes 100 rows, and the file has 12. No row is taken twice. "
        "Pass at most general.jsonl:0.107, or a larger file."
    )


def test_a_link_to_the_training_file_is_the_training_file(tmp_path: Path):
    path = general(tmp_path, [1, 2])
    link = tmp_path / "link.jsonl"
    link.symlink_to(path)
    with pytest.raises(UserError) as refused:
        mixing.refuse_training_files([Part(str(link), 0.1)], [str(path)])
    assert str(refused.value) == f"--mix {link}: the same file as --data {path}. Mix in other rows than those."
