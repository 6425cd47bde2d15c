"""Rows as a FAQ has them: short, ragged, in random order."""

from unsloth_ft.bench.case import Case

CASE = Case(what="How fast are steps on short, ragged rows in random order?")
