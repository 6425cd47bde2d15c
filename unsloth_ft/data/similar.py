"""Rows that are equal, nearly equal, or contradict each other, and questions on both sides of a split: found by sorting numbers.

A row is 168 bytes in one flat array; no pair of rows is compared that doesn't share 64 bits of signature, and no text is held.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .signatures import PERMUTATIONS

if TYPE_CHECKING:
    import numpy as np

# Of the estimated Jaccard similarity of words by threes, for the questions and for the answers. Lee et al. 2022 ("Deduplicating training
# data makes language models better") call documents duplicates from 0.8 on; 26 of 32 numbers are the first step above it. Two texts of
# 0.6 pass once in 100, and both parts have to.
AGREEING = 26
PAIRS_AT_ONCE = 2**15  # 8 MB of signatures
MOST_COMPARED = 64  # rows of one band with a held-out row: a template's rows are all in one


@dataclass(frozen=True)
class Group:
    """Rows that belong together, by their numbers in the index: the first, the second, some of the others, and how many there are in all."""

    first: int
    second: int
    others: tuple[int, ...]
    count: int


@dataclass(frozen=True)
class Groups:
    """The groups that come first, and how many there are."""

    first: tuple[Group, ...]
    count: int


def duplicates(rows: np.ndarray, *, most: int, others: int) -> Groups:
    """Rows that are equal word for word."""
    return _groups(rows["row"], most, others)


def _groups(keys: np.ndarray, most: int, others: int) -> Groups:
    """Rows with the same key, the groups in the order of their first rows."""
    import numpy as np

    order = np.argsort(keys, kind="stable")
    starts, sizes = _runs(keys[order])
    several = np.flatnonzero(sizes > 1)
    firsts = order[starts[several]]
    found = []
    for place in np.argsort(firsts, kind="stable")[:most]:
        start, size = int(starts[several[place]]), int(sizes[several[place]])
        members = order[start : start + min(size, 2 + others)].tolist()
        found.append(Group(members[0], members[1], tuple(members[2:]), size))
    return Groups(tuple(found), len(several))


def _runs(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(where each run of equal values starts, its length)."""
    import numpy as np

    if not len(ordered):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    return starts, np.diff(np.append(starts, len(ordered)))


def contradictions(rows: np.ndarray, *, most: int, others: int) -> Groups:
    """Rows with one question (and one system prompt) and several answers; of each answer its first row."""
    import numpy as np

    order = np.lexsort((rows["answer"], rows["asked"]))
    asked, answer = rows["asked"][order], rows["answer"][order]
    # lexsort keeps equal rows in order, so each answer's first row stands first.
    new = np.append(True, (asked[1:] != asked[:-1]) | (answer[1:] != answer[:-1])) if len(asked) else np.zeros(0, dtype=bool)
    firsts = np.sort(order[new & (asked != 0)])
    found = _groups(rows["asked"][firsts], most, others)
    numbers = firsts.tolist()
    return Groups(tuple(_renumbered(group, numbers) for group in found.first), found.count)


def _renumbered(group: Group, numbers: Sequence[int]) -> Group:
    return Group(numbers[group.first], numbers[group.second], tuple(numbers[other] for other in group.others), group.count)


def near_duplicates(rows: np.ndarray, *, most: int, others: int) -> Groups:
    """Rows whose questions and answers are nearly the same. What is equal, or one question with two answers, has findings of its own and is left out."""
    import numpy as np

    roots = linked(rows["signature"])
    order = np.argsort(roots, kind="stable")
    starts, sizes = _runs(roots[order])
    found, number = [], 0
    for place in np.flatnonzero(sizes > 1).tolist():
        members = _told_apart(rows, order[starts[place] : starts[place] + sizes[place]])
        if len(members) > 1:
            number += 1
            if len(found) < most:
                found.append(Group(members[0], members[1], tuple(members[2 : 2 + others]), len(members)))
    return Groups(tuple(found), number)


def _told_apart(rows: np.ndarray, members: np.ndarray) -> list[int]:
    """The members without copies of one before, and without other answers to the question of one before."""
    met: set[int] = set()
    answers: dict[int, int] = {}
    kept = []
    for member, row, asked, answer in zip(
        members.tolist(), *(rows[name][members].tolist() for name in ("row", "asked", "answer")), strict=True
    ):
        if row not in met and (asked == 0 or answers.setdefault(asked, answer) == answer):
            kept.append(member)
        met.add(row)
    return kept


def beside_kept(rows: np.ndarray, members: Sequence[int]) -> dict[int, int]:
    """Which rows of a group would go, each with one that stays and that it is nearly the same as. The first of the group stays.

    Not all rows of a group are alike: the first like the second, and the second like the third, is enough.
    """
    import numpy as np

    signatures = rows["signature"]
    kept: dict[tuple[int, int], list[int]] = {}  # by band and its 64 bits: two rows that are alike share one, as in `linked`
    found = {}
    for member in members:
        keys = list(enumerate(np.ascontiguousarray(signatures[member]).view(np.uint64).tolist()))
        candidates = np.array(sorted({row for key in keys for row in kept.get(key, ())}), dtype=np.int64)
        alike = candidates[_alike(signatures[candidates] == signatures[member])] if len(candidates) else candidates
        if len(alike):
            found[member] = int(alike[0])
            continue
        for key in keys:
            known = kept.setdefault(key, [])
            if len(known) < MOST_COMPARED:
                known.append(member)
    return found


def linked(signatures: np.ndarray) -> np.ndarray:
    """For each row the first one that it is linked with, over any number of rows that are nearly the same."""
    import numpy as np

    roots = np.arange(len(signatures))
    bands = signatures.view(np.uint64)
    for band in range(bands.shape[1]):
        for one, other in _candidates(np.ascontiguousarray(bands[:, band])):
            apart = roots[one] != roots[other]
            one, other = one[apart], other[apart]
            alike = _alike(signatures[one] == signatures[other])
            _link(roots, one[alike], other[alike])
    return roots


def joined(roots: np.ndarray, same: Sequence[int]) -> np.ndarray:
    """The roots, each row linked with the one that `same` names as well."""
    import numpy as np

    roots = roots.copy()
    _link(roots, np.asarray(same, dtype=np.int64), np.arange(len(roots)))
    return roots


def _candidates(keys: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of rows that share a key: each with the one before it, and with the first of all. A key of n rows gives 2n pairs, not n²."""
    import numpy as np

    order = np.argsort(keys, kind="stable")
    starts, sizes = _runs(keys[order])
    behind = np.flatnonzero(np.append(False, keys[order][1:] == keys[order][:-1]))
    firsts = np.repeat(starts, sizes)[behind]
    for before in (behind - 1, firsts):
        for start in range(0, len(behind), PAIRS_AT_ONCE):
            yield order[before[start : start + PAIRS_AT_ONCE]], order[behind[start : start + PAIRS_AT_ONCE]]


def _alike(same: np.ndarray) -> np.ndarray:
    """Whether enough numbers agree, of the questions' and of the answers'."""
    halves = same.reshape(len(same), PERMUTATIONS // 2, 2, 2).sum(axis=(1, 3))
    return (halves >= AGREEING).all(axis=1)


def _link(roots: np.ndarray, one: np.ndarray, other: np.ndarray) -> None:
    """Gives all rows that are linked with either the smaller root, in place."""
    import numpy as np

    while len(one):
        low, high = np.minimum(roots[one], roots[other]), np.maximum(roots[one], roots[other])
        apart = low != high
        if not apart.any():
            return
        np.minimum.at(roots, high[apart], low[apart])
        while not np.array_equal(further := roots[roots], roots):
            roots[:] = further
        one, other = one[apart], other[apart]


def leaks(rows: np.ndarray, held_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(held-out rows whose question is in `rows`, its first row there), by their numbers."""
    import numpy as np

    order = np.argsort(rows["question"], kind="stable")
    questions = rows["question"][order]
    place = np.minimum(np.searchsorted(questions, held_out["question"]), max(len(rows) - 1, 0))
    if not len(rows):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    leaked = np.flatnonzero(questions[place] == held_out["question"])
    return leaked, order[place[leaked]]


def near_leaks(rows: np.ndarray, held_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(held-out rows whose question is nearly one of `rows`, the first row found there). Answers don't count."""
    import numpy as np

    found = np.full(len(held_out), len(rows))
    bands, wanted = _question_bands(rows), _question_bands(held_out)
    for band in range(bands.shape[1]):
        order = np.argsort(bands[:, band], kind="stable")
        keys = bands[order, band]
        first, last = (np.searchsorted(keys, wanted[:, band], side=side) for side in ("left", "right"))
        for place in np.flatnonzero(last > first).tolist():
            candidates = order[first[place] : min(last[place], first[place] + MOST_COMPARED)]
            same = (rows["signature"][candidates] == held_out["signature"][place]).reshape(len(candidates), PERMUTATIONS // 2, 2, 2)
            alike = candidates[same[:, :, 0].sum(axis=(1, 2)) >= AGREEING]
            found[place] = min(found[place], alike.min(initial=len(rows)))
    leaked = np.flatnonzero(found < len(rows))
    return leaked, found[leaked]


def _question_bands(rows: np.ndarray) -> np.ndarray:
    """(rows, 8) uint64: four numbers of the question's signature each."""
    import numpy as np

    questions = rows["signature"].reshape(len(rows), PERMUTATIONS // 2, 2, 2)[:, :, 0]
    return np.ascontiguousarray(questions).reshape(len(rows), PERMUTATIONS).view(np.uint64)
