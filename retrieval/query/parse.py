"""The grammar of composed queries, read from text.

    query  = every ("OR" every)*                 OR: the best part counts
    every  = sum ("AND" sum)*                    AND: the worst part counts
    sum    = ["-"] term (("+" | "-") term)*      vectors added, brought to unit length
    term   = [weight ":"] (text | path | "#" id | "(" query ")")
    text   = words | '"' anything '"'            "2:beach" has its weight inside
    path   = ("./" | "../" | "/" | "~/") ... ["[left,top,right,bottom]" | "[3s:8s]"]

Operators stand between spaces and AND, OR are written in capitals.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace

from retrieval.config import expand_home
from retrieval.errors import UsageError
from retrieval.query.expression import check_size
from retrieval.types import Either, Every, Expression, Sum, Term

_NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_WEIGHT = re.compile(rf"({_NUMBER}):(?=\S)")
# Inside quotes only before a letter: "12:30 train" is a time of day.
_INNER_WEIGHT = re.compile(rf"({_NUMBER}):(?=[^\W\d])")
_OPERATOR = re.compile(r"(\+|-|AND|OR)(?=\s|$)")
_ID = re.compile(r"#(\d{1,18})(?=[\s)]|$)")
_PATH_START = re.compile(r"\.{1,2}/|/|~/")
_CROP = re.compile(rf"\[({_NUMBER}),({_NUMBER}),({_NUMBER}),({_NUMBER})\]")
_SLICE = re.compile(rf"\[({_NUMBER})s?:({_NUMBER})s?\]")
_MAX_DEPTH = 32
_MAX_TEXT = 10_000  # nobody composes more; what is longer is a text


def parse(text: str) -> Expression:
    """Read a composed query.

    Args:
        text: as the module's grammar says.

    Returns:
        The query; relative paths and `~` are resolved against the working directory.

    Raises:
        UsageError: it is not one (`bad_query`); the message names the column, from 1.

    Example:
        >>> [(weight, term.value) for weight, term in parse('"2:beach" + "dog" - people').parts]
        [(2.0, 'beach'), (1.0, 'dog'), (-1.0, 'people')]
        >>> parse("red AND")
        Traceback (most recent call last):
        retrieval.errors.UsageError: column 8: a text, a path or #ID is missing at the end
    """
    expression = _Reader(text).read()
    check_size(expression)
    return expression


def looks_composed(text: str) -> bool:
    """Tell whether text clearly uses the grammar; all else keeps meaning plain words.

    It does when an operator stands between spaces and at least one of its operands cannot be
    plain words: quoted, weighted, a path, or #ID. So does one operand alone that is quoted or
    weighted, and a path with a crop or slice. `rock - paper` stays text.

    Example:
        >>> looks_composed('"rock" - paper'), looks_composed("rock - paper")
        (True, False)
    """
    if len(text) > _MAX_TEXT:
        return False
    operands = _operands(text.strip())
    marked = [_is_marked(operand) for operand in operands]
    if len(operands) > 1:
        return any(marked)
    if not operands or not marked[0]:
        return False
    only = operands[0]
    if only.startswith("#"):
        return False
    return not _PATH_START.match(only) or bool(re.search(r"(?<!\\)\[[^\[\]\\]*\]$", only))


def join_arguments(arguments: tuple[str, ...]) -> str:
    """Write what a shell has split as one query: what held spaces was quoted.

    Example:
        >>> join_arguments(("2:beach", "+", "my dog", "-", "./a b.jpg"))
        '2:beach + "my dog" - ./a\\\\ b.jpg'
    """
    if len(arguments) == 1:
        return arguments[0]
    return " ".join(_quoted(argument) for argument in arguments)


def _quoted(argument: str) -> str:
    if not re.search(r"\s", argument) or argument.startswith('"'):
        return argument
    if _PATH_START.match(argument):
        return re.sub(r"(\s)", r"\\\1", argument)
    return '"' + argument.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _operands(text: str) -> list[str]:
    """Split at the operators that stand outside quotes, without judging what is between."""
    pieces = re.findall(r'(?:\\.|"(?:\\.|[^"\\])*"|\S)+', text)
    operands: list[list[str]] = [[]]
    for piece in pieces:
        if piece in ("+", "-", "AND", "OR"):
            operands.append([])
        else:
            operands[-1].append(piece)
    return [" ".join(words) for words in operands if words]


def _is_marked(operand: str) -> bool:
    bare = operand.strip("()")
    weight = _WEIGHT.match(bare)
    rest = bare[weight.end() :] if weight else bare
    if weight and re.match(r'[^\W\d]|["#./~(]', rest):
        return True
    return (
        bool(re.fullmatch(r'"(?:\\.|[^"\\])*"', rest))
        or bool(_ID.fullmatch(rest))
        or (bool(_PATH_START.match(rest)) and not re.search(r"(?<!\\)\s", rest))
    )


class _Reader:
    """A recursive descent over one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def read(self) -> Expression:
        expression = self._either()
        self._skip()
        if self._at < len(self._text):
            raise self._error(f"{self._text[self._at :][:20]!r} is not expected here")
        return expression

    def _either(self) -> Expression:
        parts = [self._every()]
        while self._take("OR"):
            parts.append(self._every())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _every(self) -> Expression:
        parts = [self._sum()]
        while self._take("AND"):
            parts.append(self._sum())
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def _sum(self) -> Expression:
        sign = -1.0 if self._take("-") else 1.0
        column = self._column()
        weight, first = self._weighted()
        parts = [(sign * weight, first)]
        columns = [column]
        while True:
            sign = 1.0 if self._take("+") else -1.0 if self._take("-") else 0.0
            if not sign:
                break
            columns.append(self._column())
            weight, part = self._weighted()
            parts.append((sign * weight, part))
        if len(parts) == 1 and parts[0][0] == 1.0:
            return parts[0][1]
        return Sum(tuple((w, _addend(p, c)) for (w, p), c in zip(parts, columns, strict=True)))

    def _weighted(self) -> tuple[float, Expression]:
        self._skip()
        found = _WEIGHT.match(self._text, self._at)
        if not found or not re.match(r'[^\W\d]|["#./~(]', self._text[found.end() :]):
            return self._atom()
        column = self._column()
        self._at = found.end()
        inner, expression = self._atom(weighted=True)
        return _weight(found.group(1), column) * inner, expression

    def _atom(self, *, weighted: bool = False) -> tuple[float, Expression]:
        """Read a text, path, id or group, with the weight that stood inside its quotes."""
        text, at = self._text, self._at
        if at >= len(text) or _OPERATOR.match(text, at) or text[at] == ")":
            raise self._error("a text, a path or #ID is missing" + self._place())
        if text[at] == "(":
            return 1.0, self._group()
        if text[at] == '"':
            return self._quote(weighted=weighted)
        stored = _ID.match(text, at)
        if stored:
            self._at = stored.end()
            return 1.0, Term(str(int(stored.group(1))), kind="item")
        if _PATH_START.match(text, at):
            return 1.0, self._path()
        return 1.0, self._words()

    def _group(self) -> Expression:
        column = self._column()
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._error(f"more than {_MAX_DEPTH} brackets are open")
        self._at += 1
        inner = self._either()
        self._skip()
        if self._at >= len(self._text) or self._text[self._at] != ")":
            raise _error(column, "this bracket is not closed; write ')'")
        self._at += 1
        self._depth -= 1
        return inner

    def _quote(self, *, weighted: bool) -> tuple[float, Expression]:
        column = self._column()
        found = re.compile(r'"((?:\\.|[^"\\])*)"', re.DOTALL).match(self._text, self._at)
        if not found:
            raise _error(column, "this quotation mark is not closed")
        self._at = found.end()
        value = re.sub(r"\\(.)", r"\1", found.group(1), flags=re.DOTALL)
        inner = None if weighted else _INNER_WEIGHT.match(value)
        weight = 1.0 if inner is None else _weight(inner.group(1), column + 1)
        value = value if inner is None else value[inner.end() :]
        if not value.strip():
            raise _error(column, "there is nothing between the quotation marks")
        return weight, Term(value)

    def _path(self) -> Term:
        column = self._column()
        name, n_open = "", 0
        crop: tuple[float, ...] | None = None
        slice_s: tuple[float, ...] | None = None
        while self._at < len(self._text):
            c = self._text[self._at]
            if c == "\\" and self._at + 1 < len(self._text):
                name += self._text[self._at + 1]
                self._at += 2
                continue
            found = _CROP.match(self._text, self._at) or _SLICE.match(self._text, self._at)
            if found and self._ends(found.end()):
                numbers = tuple(float(group) for group in found.groups())
                crop, slice_s = (numbers, None) if len(numbers) == 4 else (None, numbers)
                _check_cut(numbers, self._column())
                self._at = found.end()
                break
            n_open += (c == "(") - (c == ")")
            if c.isspace() or n_open < 0:  # "photo(1).jpg" has its own brackets
                break
            name += c
            self._at += 1
        if "\x00" in name:
            raise _error(column, "a path holds no NUL")
        path = str(expand_home(name).absolute())
        term = Term(path, kind="file")
        if crop is not None:
            return replace(term, crop=(crop[0], crop[1], crop[2], crop[3]))
        return term if slice_s is None else replace(term, slice_s=(slice_s[0], slice_s[1]))

    def _words(self) -> Term:
        words = []
        while True:
            self._skip()
            found = re.compile(r'[^\s()"]+').match(self._text, self._at)
            if not found or _OPERATOR.match(self._text, self._at):
                break
            words.append(found.group())
            self._at = found.end()
        return Term(" ".join(words))

    def _take(self, operator: str) -> bool:
        self._skip()
        found = _OPERATOR.match(self._text, self._at)
        if not found or found.group(1) != operator:
            return False
        self._at = found.end()
        return True

    def _skip(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _ends(self, at: int) -> bool:
        return at >= len(self._text) or self._text[at].isspace() or self._text[at] == ")"

    def _column(self) -> int:
        self._skip()
        return self._at + 1

    def _place(self) -> str:
        return " at the end" if self._at >= len(self._text) else ""

    def _error(self, what: str) -> UsageError:
        return _error(self._at + 1, what)


def _error(column: int, what: str) -> UsageError:
    return UsageError(f"column {column}: {what}", code="bad_query")


def _weight(digits: str, column: int) -> float:
    value = float(digits)
    if not math.isfinite(value) or not 0 < value <= 1e6:
        raise _error(column, f"the weight {digits} must be above 0 and at most 1000000")
    return value


def _addend(part: Expression, column: int) -> Term | Sum:
    if isinstance(part, Every | Either):
        raise _error(
            column, "+ and - add vectors, and a group with AND or OR has none; use AND or OR here"
        )
    return part


def _check_cut(numbers: tuple[float, ...], column: int) -> None:
    if len(numbers) == 4:
        left, top, right, bottom = numbers
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise _error(
                column, "a crop is [left,top,right,bottom], shares of the picture from 0 to 1"
            )
    elif not 0 <= numbers[0] < numbers[1]:
        raise _error(column, "a slice is [start:end] in seconds, and ends after it starts")
