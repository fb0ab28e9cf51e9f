"""Reading filters: `year>=2020 AND duration_s<30 AND path LIKE 'holiday/%'` to a Condition.

    condition = both ("OR" both)*          both = single ("AND" single)*
    single    = "NOT" single | "(" condition ")" | FIELD comparison
    comparison = ("=" | "!=" | "<" | "<=" | ">" | ">=") value | ["NOT"] "LIKE" 'pattern'
               | ["NOT"] "IN" "(" value ("," value)* ")" | "IS" ["NOT"] "NULL"

Texts stand in single quotes, doubled inside ('it''s'); the user's own columns may also be true or
false. Texts are compared exactly, LIKE ignores case. What an item does not have is neither above
nor below anything: the comparison is false. A path that does not begin with / matches from any
folder on. `year` is that of `taken_at`, or of `modified` where nothing says when it was taken.
Times are UTC: a day, or a second.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import cast

from retrieval.catalog.conditions import (
    FIELDS,
    SEVERAL,
    AllOf,
    AnyOf,
    Comparison,
    Condition,
    Kind,
    Like,
    Member,
    Missing,
    Not,
    Operator,
    Value,
    Within,
)
from retrieval.errors import UsageError

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.]))"
    r"|(?P<word>[^\W\d]\w*)|(?P<mark><=|>=|!=|<>|==|=|<|>|\(|\)|,))"
)
_MAX_CHARACTERS, _MAX_CONDITIONS, _MAX_DEPTH, _MAX_VALUES = 20_000, 200, 40, 500
_MAX_NUMBER = 2**63 - 1
KEYWORDS = frozenset({"and", "or", "not", "in", "like", "is", "null", "true", "false"})
"""Words that no column can be called."""

_TEXTS: frozenset[Kind] = SEVERAL | {"text"}
_UNORDERED: frozenset[Kind] = _TEXTS | {"bool"}
_TEXT, _A_TEXT = "a text: use =, !=, LIKE or IN", "'a text'"
_EXAMPLES: dict[Kind, str] = {
    "number": "30", "year": "2020", "time": "'2020-05-31'", "bool": "true",
}  # fmt: skip


def parse_where(text: str, *, columns: Mapping[str, Kind] | None = None) -> Condition:
    """Read a filter.

    Args:
        text: as the module says.
        columns: the user's own columns and their kinds: text, number or bool.

    Returns:
        The condition.

    Raises:
        UsageError: it is none (`bad_filter`), or names a field that items do not have
            (`unknown_field`); the message names the column, from 1.

    Example:
        >>> parse_where("duration_s < 30")
        Comparison(field='duration_s', operator='<', value=30)
        >>> parse_where("yaer > 3")
        Traceback (most recent call last):
        retrieval.errors.UsageError: filter column 1: unknown field 'yaer'; did you mean year?
    """
    return _Reader(text, columns or {}).read()


class _Reader:
    def __init__(self, text: str, columns: Mapping[str, Kind]) -> None:
        if len(text) > _MAX_CHARACTERS:
            raise _error(1, f"it has more than {_MAX_CHARACTERS} characters")
        self._text = text
        self._kinds: dict[str, Kind] = {**columns, **FIELDS}
        self._tokens = _tokens(text)
        self._at = 0
        self._n_conditions = 0
        self._depth = 0

    def read(self) -> Condition:
        condition = self._any()
        if self._at < len(self._tokens):
            raise self._expected("AND, OR or the end")
        return condition

    def _any(self) -> Condition:
        parts = [self._all()]
        while self._take("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _all(self) -> Condition:
        parts = [self._single()]
        while self._take("and"):
            parts.append(self._single())
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _single(self) -> Condition:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _error(self._column(), f"it is nested more than {_MAX_DEPTH} deep")
        if self._take("not"):
            condition: Condition = Not(self._single())
        elif self._take("("):
            condition = self._any()
            self._need(")")
        else:
            condition = self._comparison()
        self._depth -= 1
        return condition

    def _comparison(self) -> Condition:
        self._n_conditions += 1
        if self._n_conditions > _MAX_CONDITIONS:
            raise _error(self._column(), f"it has more than {_MAX_CONDITIONS} conditions")
        field = self._field()
        if self._take("is"):
            negated = self._take("not")
            self._need("null")
            return Not(Missing(field)) if negated else Missing(field)
        negated = self._take("not")
        if self._take("like"):
            found: Condition = self._like(field)
        elif self._take("in"):
            found = self._member(field)
        elif negated:
            raise self._expected("LIKE or IN")
        else:
            return self._compare(field)
        return Not(found) if negated else found

    def _field(self) -> str:
        column = self._column()
        kind, word = self._peek()
        if kind != "word" or word.lower() in KEYWORDS:
            raise self._expected("the name of a field")
        self._at += 1
        if word not in self._kinds:
            near = difflib.get_close_matches(word.lower(), self._kinds, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(self._kinds)}"
            raise UsageError(
                f"filter column {column}: unknown field {word!r:.60}; {hint}", code="unknown_field"
            )
        return word

    def _compare(self, field: str) -> Condition:
        kind, mark = self._peek()
        if kind != "mark" or mark in ("(", ")", ","):
            raise self._expected("=, !=, <, <=, >, >=, LIKE, IN or IS")
        column = self._column()
        self._at += 1
        operator = cast(Operator, {"==": "=", "<>": "!="}.get(mark, mark))
        if self._kinds[field] in _UNORDERED and operator not in ("=", "!="):
            what = "true or false: use = or !=" if self._kinds[field] == "bool" else _TEXT
            raise _error(column, f"{field} is {what}")
        value = self._value(field)
        if self._kinds[field] in ("year", "time"):
            return _within(field, operator, *_range(value))
        if self._kinds[field] in SEVERAL:
            found = Member(field, (value,))
            return Not(found) if operator == "!=" else found
        return Comparison(field, operator, value)

    def _like(self, field: str) -> Condition:
        if self._kinds[field] not in _TEXTS:
            raise _error(self._column(), f"{field} is no text: use =, !=, <, <=, > or >=")
        column = self._column()
        pattern = str(self._value(field))
        if re.search(r"(?<!\\)(?:\\\\)*\\(?![\\%_])", pattern):
            raise _error(column, r"in a pattern \ stands only before %, _ or \ ")
        return Like(field, pattern)

    def _member(self, field: str) -> Condition:
        self._need("(")
        values = [self._value(field)]
        while self._take(","):
            values.append(self._value(field))
        self._need(")")
        if len(values) > _MAX_VALUES:
            raise _error(self._column(), f"IN has more than {_MAX_VALUES} values")
        if self._kinds[field] in ("year", "time"):
            return AnyOf(tuple(Within(field, *_range(value)) for value in values))
        return Member(field, tuple(values))

    def _value(self, field: str) -> Value:
        column = self._column()
        kind, word = self._peek()
        wanted = self._kinds[field]
        if wanted == "bool" and kind == "word" and word.lower() in ("true", "false"):
            self._at += 1
            return word.lower() == "true"
        if kind != {"number": "number", "year": "number", "bool": "bool"}.get(wanted, "text"):
            raise self._expected(f"a value of {field} such as {_EXAMPLES.get(wanted, _A_TEXT)}")
        self._at += 1
        if kind == "number":
            value = _number(word, column)
            if wanted == "year" and not (isinstance(value, int) and 1 <= value <= 9998):
                raise _error(column, "a year is a whole number from 1 to 9998")
            return value
        text = word[1:-1].replace("''", "'")
        if wanted == "time":
            _time(text, column)
        return _checked(text, column)

    def _peek(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            return "", ""
        kind, word, _ = self._tokens[self._at]
        return kind, word

    def _take(self, wanted: str) -> bool:
        kind, word = self._peek()
        found = kind in ("word", "mark") and word.lower() == wanted
        self._at += found
        return found

    def _need(self, wanted: str) -> None:
        if not self._take(wanted):
            raise self._expected(wanted.upper())

    def _column(self) -> int:
        tokens = self._tokens
        return tokens[self._at][2] if self._at < len(tokens) else len(self._text) + 1

    def _expected(self, what: str) -> UsageError:
        found = self._peek()[1]
        return _error(
            self._column(), f"{what} is expected" + (f", not {found!r:.60}" if found else "")
        )


def _tokens(text: str) -> list[tuple[str, str, int]]:
    tokens, at = [], 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if not found:
            at += len(text[at:]) - len(text[at:].lstrip())
            hint = " (texts stand in single quotes)" if text[at] in "\"'`" else ""
            raise _error(at + 1, f"{text[at]!r} is not expected here{hint}")
        kind = str(found.lastgroup)
        tokens.append((kind, found.group(kind), found.start(kind) + 1))
        at = found.end()
    return tokens


def _number(word: str, column: int) -> int | float:
    value = int(word) if re.fullmatch(r"-?\d{1,30}", word) else float(word)
    if abs(value) > _MAX_NUMBER:
        raise _error(column, f"{word:.30} is too large")
    return value


def _checked(text: str, column: int) -> str:
    if "\x00" in text or any(0xD800 <= ord(c) < 0xE000 for c in text):
        raise _error(column, "a text holds no NUL and no half of a character")
    return text


def _time(text: str, column: int = 1) -> tuple[datetime, timedelta]:
    for pattern, length in (
        ("%Y-%m-%d", timedelta(days=1)),
        ("%Y-%m-%dT%H:%M:%S", timedelta(0, 1)),
    ):
        try:
            return datetime.strptime(text, pattern).replace(tzinfo=UTC), length
        except ValueError:
            continue
    raise _error(column, f"{text!r:.40} is no time: write '2020-05-31' or '2020-05-31T12:00:00'")


def _range(value: Value) -> tuple[int, int]:
    """Give first and past-the-last nanosecond of a year, a day or a second."""
    if isinstance(value, str):
        start, length = _time(value)
        return _ns(start), _ns(start) + int(length.total_seconds()) * 10**9
    year = int(value)
    return _ns(datetime(year, 1, 1, tzinfo=UTC)), _ns(datetime(year + 1, 1, 1, tzinfo=UTC))


def _ns(time: datetime) -> int:
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**9


def _within(field: str, operator: Operator, low: int, high: int) -> Condition:
    if operator == "!=":
        return Not(Within(field, low, high))
    limits = {
        "=": (low, high),
        "<": (None, low),
        "<=": (None, high),
        ">": (high, None),
        ">=": (low, None),
    }
    return Within(field, *limits[operator])


def _error(column: int, what: str) -> UsageError:
    return UsageError(f"filter column {column}: {what}", code="bad_filter")
