"""Numbers in sentences, traced to what the same page prints.

A number in a sentence stands in a block or a table of its page, exactly or rounded to the digits that the sentence has
(11,000 to thousands). One that does not has a comment right behind it (and behind its unit):

* `0.48<!--1,140/2,371-->`, `29 %<!--1-599.6/845.6-->`: what gives it, of numbers that stand there;
* `0.015<!--capacity.md-->`: the page on which it stands;
* `200<!--given-->`: it follows from no output.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from printed.pages import PAGES

TRACED = ("README.md", "findings.md", "tutorial.md")
"""Pages on which every number in a sentence is traced."""

SCALES = {"k": 1e3, "thousand": 1e3, "M": 1e6, "million": 1e6, "G": 1e9, "billion": 1e9}
VALUE = r"[−+]?\d[\d,]*(?:\.\d+)?"
SHOWN = re.compile(rf"(?P<value>{VALUE})(?: (?P<scale>[kMG])\b)?(?P<share> ?%)?")
SAID = re.compile(
    rf"(?<![\w.:=/*@#-])(?P<value>{VALUE})(?!\.?[\w*]|-\w)"
    r"(?: (?P<scale>million|thousand|billion|[kMG])\b)?(?P<share> ?%)?(?:/s)?(?P<mark><!--.*?-->)?"
)
FENCED = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`[^`\n]+`")
TABLE = re.compile(r"^ *\|.*$", re.MULTILINE)
NO_SENTENCE = re.compile(r"<!-- .*? -->|`[^`\n]+`|\]\([^)]*\)|^#.*$|^ *\d+\. |https?://\S+", re.MULTILINE)
CONSTANTS = {1.0, 2.0, 100.0, 3600.0}
"""What a computation may contain without any output of them: wholes, halves, percents and seconds of an hour."""
OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True)
class Number:
    """A number as it was written."""

    text: str
    value: float
    step: float
    """Of its last digit."""
    share: bool = False
    """Whether it is a percentage; its value is one then, too."""

    def rounds(self, exact: float) -> bool:
        """Whether that, rounded to its last digit either way, gives it; signs are for words to say."""
        return abs(abs(self.value) - abs(exact)) <= self.step * (0.5 + 1e-9)

    def stands_in(self, shown: Sequence[Number]) -> bool:
        """Whether one of those gives it; of a percentage only another one, since small numbers are everywhere."""
        return any(self.rounds(number.value) for number in shown if number.share or not self.share)


def untraced(page: str, locked: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """Yield line and complaint for each number in a sentence that nothing printed gives.

    What draws a picture may print numbers as well, which the page's part of the lock holds.
    """
    drawn = "\n".join(entry.get("printed", "") for entry in locked.values())
    here = [*_shown(page), *_numbers(SHOWN, drawn)]
    for number, line, mark in _said(page):
        if mark == "given":
            continue
        if mark.endswith(".md"):
            if not number.stands_in(_shown(PAGES[mark].read_text("utf-8"))):
                yield line, f"{number.text} does not stand in {mark}"
        elif mark:
            try:
                result, parts = computed(mark)
            except (SyntaxError, KeyError, ValueError) as error:
                yield line, f"{number.text}<!--{mark}--> is no computation: {error}"
                continue
            values = {number.value for number in here}
            lacking = [f"{part:,g}" for part in parts if part not in CONSTANTS and part not in values]
            if lacking:
                yield line, f"{number.text} is computed of {', '.join(lacking)}, which the page does not show"
            elif not number.rounds(100 * result if number.share else result):
                yield line, f"{number.text} is {result:.4g} ({mark})"
        elif not number.stands_in(here):
            yield line, f"{number.text} stands in no output of the page"


def computed(text: str) -> tuple[float, list[float]]:
    """Return the result of `1-599.6/845.6`, and the numbers in it."""
    plain = text.replace(",", "").replace("−", "-")
    parts = [float(part) for part in re.findall(r"\d+(?:\.\d+)?", plain)]
    return _value(ast.parse(plain, mode="eval").body), parts


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.BinOp):
        return OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    raise ValueError("only numbers, + - * / and brackets")


def _numbers(pattern: re.Pattern[str], text: str) -> Iterator[Number]:
    for found in pattern.finditer(text):
        yield _number(found)


def _number(found: re.Match[str]) -> Number:
    digits = found["value"].replace(",", "").replace("−", "-")
    scale = SCALES.get(found["scale"] or "", 1.0)
    step = 1e3 if digits.endswith("000") else 10.0 ** -len(digits.partition(".")[2]) * scale
    return Number(found[0].partition("<!--")[0].strip(), float(digits) * scale, step, bool(found["share"]))


def _shown(page: str) -> list[Number]:
    """Every number in blocks, tables and inline code of a page."""
    parts = (found[0] for pattern in (FENCED, TABLE, INLINE) for found in pattern.finditer(page))
    return list(_numbers(SHOWN, "\n".join(parts)))


def _said(page: str) -> Iterator[tuple[Number, int, str]]:
    """Numbers in sentences, with their lines and marks."""

    def blank(found: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", found[0])

    text = NO_SENTENCE.sub(blank, TABLE.sub(blank, FENCED.sub(blank, page)))
    for found in SAID.finditer(text):
        mark = (found["mark"] or "").removeprefix("<!--").removesuffix("-->")
        yield _number(found), text.count("\n", 0, found.start()) + 1, mark
