"""What is found across rows, in sentences: duplicates, contradictions and leaks, each with the lines to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from . import similar
from .checks import leak
from .findings import SHOWN_PER_CODE, Finding, Findings, Kind
from .index import place_of
from .wording import count, quote

if TYPE_CHECKING:
    import numpy as np

LISTED_LINES = 5  # of a group, before "and N more"
Place = tuple[int, int]  # the file's number, the line
Questions = Callable[[Iterable[Place]], Mapping[Place, str]]


class Across:
    """Compares rows that are numbers in an index. `paths`: the files, by their numbers; `questions` gives the questions at some places."""

    def __init__(self, paths: Sequence[str], questions: Questions) -> None:
        self._paths = paths
        self._questions = questions

    def within(self, rows: np.ndarray) -> Findings:
        """Of one side's rows."""
        options = {"most": SHOWN_PER_CODE, "others": LISTED_LINES}
        same = similar.duplicates(rows, **options)
        near = similar.near_duplicates(rows, **options)
        contradicting = similar.contradictions(rows, **options)
        asked = self._questions(place_of(rows[group.first]) for group in contradicting.first)
        kinds = (
            self._kind("duplicate", rows, same, lambda _, seen: f"the same row as {seen}. Remove the copies, or it weighs more."),
            self._kind("near-duplicate", rows, near, lambda _, seen: f"nearly the same row as {seen}. Keep one of them, or it weighs more."),
            self._kind(
                "contradiction",
                rows,
                contradicting,
                lambda first, seen: f"the question {quote(asked[first], limit=40)} has another answer at {seen}. Keep one answer a question.",
            ),
        )
        return Findings(tuple(kind for kind in kinds if kind.count))

    def _kind(self, code: str, rows: np.ndarray, groups: similar.Groups, say: Callable[[Place, str], str]) -> Kind:
        """`say` is given where the first row is, and the rows beside the second in words."""
        found = []
        for group in groups.first:
            message = say(place_of(rows[group.first]), f"{self._where(rows[group.first])}{self._others(rows, group)}")
            found.append(self._warning(rows[group.second], code, message))
        return Kind("warning", code, tuple(found), groups.count)

    def _others(self, rows: np.ndarray, group: similar.Group) -> str:
        more = group.count - 2
        if not more:
            return ""
        hidden = f" and {count(more - LISTED_LINES, 'other')}" if more > LISTED_LINES else ""
        return f" (also {', '.join(self._where(rows[other]) for other in group.others)}{hidden})"

    def leaks(self, rows: np.ndarray, held_out: np.ndarray, *, allowed: bool) -> Findings:
        """Questions of the held-out rows that are in `rows` too."""
        import numpy as np

        leaked, at = similar.leaks(rows, held_out)
        near, near_at = similar.near_leaks(rows, held_out)
        new = ~np.isin(near, leaked)
        kinds = []
        found = [self._leak(held_out[row], rows[first], allowed) for row, first in zip(leaked[:SHOWN_PER_CODE], at, strict=False)]
        if found:
            kinds.append(Kind(found[0].severity, "leak", tuple(found), len(leaked)))
        found = [self._near_leak(held_out[row], rows[first]) for row, first in zip(near[new][:SHOWN_PER_CODE], near_at[new], strict=False)]
        if found:
            kinds.append(Kind("warning", "near-leak", tuple(found), int(new.sum())))
        return Findings(tuple(kinds))

    def _leak(self, row: np.void, first: np.void, allowed: bool) -> Finding:
        file, line = place_of(row)
        return leak(self._paths[file], line, self._where(first), allowed=allowed)

    def _near_leak(self, row: np.void, first: np.void) -> Finding:
        message = f"nearly the same question is in the training data, at {self._where(first)}: its score may measure memory. Remove one of the two."
        return self._warning(row, "near-leak", message)

    def _where(self, row: np.void) -> str:
        file, line = place_of(row)
        return f"{self._paths[file]}:{line}"

    def _warning(self, row: np.void, code: str, message: str) -> Finding:
        file, line = place_of(row)
        return Finding(self._paths[file], line, "warning", code, message)

