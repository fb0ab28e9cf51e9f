"""Items with every field, and random conditions on them beside what each means in Python."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from retrieval.catalog.conditions import Kind
from retrieval.catalog.records import FileRecord, ItemRecord
from retrieval.types import Details, Part

HOSTILE = [
    "x')::text OR 1=1 --", "%' OR 1=1", "'; DROP TABLE items; --", "a\\%b", "100%", "_", "\\",
    "O'Hara", '"', "é\u202e", "a,b", "NULL", "1=1", "", "🙂", "%%", "Photo",
]  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One item with its files, as the predicate sees it."""

    id: int
    modality: str
    format: str
    size_bytes: int
    width_px: int | None
    duration_s: float | None
    caption: str | None
    flags: tuple[str, ...]
    files: tuple[tuple[str, int], ...]
    taken_ns: int | None
    lat: float | None
    camera: str | None
    own_tags: tuple[str, ...]
    given_tags: tuple[str, ...]
    rating: float | None
    mood: str | None
    kept: bool | None

    @property
    def tag(self) -> set[str]:
        return {*self.own_tags, *self.given_tags}


COLUMNS: dict[str, Kind] = {"rating": "number", "mood": "text", "kept": "bool"}
TAGS = ["pets", "wild", "O'Hara", "a,b", "Pets", "%"]


def _stamp(rng: random.Random) -> int:
    year, month, hour = rng.choice([1969, 2019, 2020, 2021]), rng.randint(1, 12), rng.randint(0, 23)
    second = int(datetime(year, month, 15, hour, tzinfo=UTC).timestamp())
    return second * 10**9 + rng.randint(0, 10**9 - 1)


def make_rows(n: int, *, seed: int) -> list[Row]:
    rng = random.Random(seed)
    rows = []
    for number in range(1, n + 1):
        stamps = [_stamp(rng) for _ in range(rng.choice([1, 1, 2]))]
        folders = ["/media/holiday", "/media/Work", "/media/100%"]
        rows.append(
            Row(
                id=number,
                modality=rng.choice(["image", "audio", "text", "video"]),
                format=rng.choice(["png", "jpeg", "wav"]),
                size_bytes=rng.choice([0, 10, 500, 2**40]),
                width_px=rng.choice([None, 10, 640, 4000]),
                duration_s=rng.choice([None, 0.5, 30.0, 1e4]),
                caption=rng.choice([None, *HOSTILE]),
                flags=tuple(sorted(rng.sample(["silent", "bad_caption", "a"], rng.randint(0, 2)))),
                files=tuple(
                    (f"{rng.choice(folders)}/{number}-{copy}.png", stamp)
                    for copy, stamp in enumerate(stamps)
                ),
                taken_ns=rng.choice([None, _stamp(rng)]),
                lat=rng.choice([None, -33.5, 0.0, 48.2]),
                camera=rng.choice([None, "ACME X1", *HOSTILE[:4]]),
                own_tags=tuple(sorted(rng.sample(TAGS, rng.randint(0, 2)))),
                given_tags=tuple(sorted(rng.sample(TAGS, rng.choice([0, 0, 1])))),
                rating=rng.choice([None, 0.0, 2.5, 4.0, -1.0]),
                mood=rng.choice([None, *HOSTILE[:6], *(h for h in HOSTILE if h)]) or None,
                kept=rng.choice([None, True, False]),
            )
        )
    return rows


def file_records(rows: list[Row]) -> Iterator[FileRecord]:
    for row in rows:
        for path, stamp in row.files:
            yield FileRecord(path, row.size_bytes, stamp, "", f"{row.id:064}")


def item_record(row: Row) -> ItemRecord:
    return ItemRecord(
        id=row.id, content_hash=f"{row.id:064}", record=0, modality=row.modality,  # type: ignore[arg-type]
        format=row.format, size_bytes=row.size_bytes, width_px=row.width_px, height_px=None,
        duration_s=row.duration_s, caption=row.caption, flags=row.flags,
        parts=(Part(row.id, row.id, "text"),),
        details=Details(row.taken_ns, row.lat, row.lat, row.camera, row.own_tags),
    )  # fmt: skip


Test = Callable[[Row], bool]


def like(pattern: str) -> Callable[[str], bool]:
    """LIKE in Python: ignores ASCII case, backslash takes the next character plainly."""
    parts = []
    characters = iter(pattern)
    for c in characters:
        parts.append(
            ".*"
            if c == "%"
            else "."
            if c == "_"
            else re.escape(next(characters) if c == "\\" else c)
        )
    found = re.compile("".join(parts), re.IGNORECASE | re.ASCII | re.DOTALL)
    return lambda text: found.fullmatch(text) is not None


def quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


COMPARE: dict[str, Callable[[float, float], bool]] = {
    "=": lambda a, b: a == b, "!=": lambda a, b: a != b, "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip


def atom(rng: random.Random) -> tuple[str, Test]:  # noqa: PLR0911, PLR0912
    kind = rng.choice(
        ["number", "text", "in", "like", "year", "path", "paths", "flag", "null", "tag", "taken",
         "kept"]
    )  # fmt: skip
    if kind == "number":
        fields = ["size_bytes", "width_px", "duration_s", "id", "lat", "rating"]
        field, sign = rng.choice(fields), rng.choice([*COMPARE])
        value = rng.choice([0, 10, 30, 640, 0.5, -3, 1e4, 2**40])
        return (
            f"{field} {sign} {value!r}",
            lambda r: getattr(r, field) is not None and COMPARE[sign](getattr(r, field), value),
        )
    if kind == "text":
        field = rng.choice(["caption", "format", "modality", "camera", "mood"])
        equal = rng.random() < 0.5
        text = rng.choice([*HOSTILE, "png", "image", "photo"])
        return (
            f"{field} {'=' if equal else '!='} {quote(text)}",
            lambda r: getattr(r, field) is not None and (getattr(r, field) == text) == equal,
        )
    if kind == "in":
        values = rng.sample([*HOSTILE, "png", "audio"], 3)
        field = rng.choice(["caption", "format", "modality", "camera", "mood"])
        listed = ", ".join(map(quote, values))
        return f"{field} IN ({listed})", lambda r: getattr(r, field) in values
    if kind == "like":
        pattern = rng.choice(["%", "_", "%o%", "p%", "100\\%", "%\\_", "\\\\", "%'%", "PHOTO", ""])
        field = rng.choice(["caption", "mood"])
        return (
            f"{field} LIKE {quote(pattern)}",
            lambda r: getattr(r, field) is not None and like(pattern)(getattr(r, field)),
        )
    if kind == "year":
        year, sign = rng.choice([1969, 2019, 2020, 2022]), rng.choice([*COMPARE])
        years = lambda r: [  # noqa: E731
            datetime.fromtimestamp(s // 10**9, UTC).year
            for s in ([r.taken_ns] if r.taken_ns is not None else [s for _, s in r.files])
        ]
        if sign == "!=":
            return f"year != {year}", lambda r: year not in years(r)
        return f"year {sign} {year}", lambda r: any(COMPARE[sign](y, year) for y in years(r))
    if kind == "path":
        pattern = rng.choice(["holiday/%", "/media/%", "%-1.png", "100\\%/%", "HOLIDAY/%", "%"])
        whole = pattern if pattern[0] in "/%" else f"%/{pattern}"
        return f"path LIKE {quote(pattern)}", lambda r: any(like(whole)(p) for p, _ in r.files)
    if kind == "paths":
        name = rng.choice(["holiday/3-0.png", "5-0.png", "/media/Work/7-0.png", "Holiday/3-0.png"])
        return f"path = {quote(name)}", lambda r: any(
            p == name if name[0] == "/" else p.endswith("/" + name) for p, _ in r.files
        )
    if kind == "flag":
        flag = rng.choice(["silent", "a", "bad", ""])
        return f"flags = {quote(flag)}", lambda r: flag in r.flags
    if kind == "tag":
        chosen, negated = rng.sample(TAGS, 2), rng.random() < 0.3
        texts = {
            f"tag IN ({', '.join(map(quote, chosen))})": lambda r: bool(r.tag & set(chosen)),
            f"tag {'!=' if negated else '='} {quote(chosen[0])}":
                lambda r: (chosen[0] in r.tag) != negated,
            "tag LIKE 'p%'": lambda r: any(t.lower().startswith("p") for t in r.tag),
        }  # fmt: skip
        return rng.choice([*texts.items()])
    if kind == "taken":
        day, sign = rng.choice(["2019-06-15", "2020-01-01", "1969-12-31"]), rng.choice([*COMPARE])
        start = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 10**9

        def taken(r: Row) -> bool:
            if r.taken_ns is None:
                return sign == "!="
            return COMPARE[sign]((r.taken_ns - start) // (86_400 * 10**9), 0)

        return f"taken_at {sign} '{day}'", taken
    if kind == "kept":
        value, sign = rng.choice(["true", "FALSE"]), rng.choice(["=", "!="])
        return (
            f"kept {sign} {value}",
            lambda r: r.kept is not None and (r.kept == (value == "true")) == (sign == "="),
        )
    names = ["caption", "width_px", "duration_s", "flags", "camera", "taken_at", "tag", "rating"]
    field, negated = rng.choice(names), rng.random() < 0.5
    if field == "tag":
        return f"tag IS {'NOT ' if negated else ''}NULL", lambda r: bool(r.tag) == negated
    if field == "taken_at":
        return (
            f"taken_at IS {'NOT ' if negated else ''}NULL",
            lambda r: (r.taken_ns is None) != negated,
        )
    return (
        f"{field} IS {'NOT ' if negated else ''}NULL",
        lambda r: (getattr(r, field) is None if field != "flags" else not r.flags) != negated,
    )


def condition(rng: random.Random, depth: int) -> tuple[str, Test]:
    if depth == 0 or rng.random() < 0.3:
        return atom(rng)
    (left, one), (right, other) = condition(rng, depth - 1), condition(rng, depth - 1)
    kind = rng.choice(["and", "OR", "not"])
    if kind == "not":
        return f"NOT ({left})", lambda r: not one(r)
    if kind == "and":
        return f"({left}) and ({right})", lambda r: one(r) and other(r)
    return f"({left}) OR ({right})", lambda r: one(r) or other(r)
