"""Bits of a catalog that turn over: each that changes a protected value must be found.

A store with rows of every kind is made once. For each flip, what the protected columns hold is read
by SQLite alone, before and after; where that differs (or can no longer be read), `verify` has to
say so, in findings or by refusing the catalog. What SQLite's own integrity check says is counted
beside it.
"""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from retrieval.catalog.seal import PROTECTED
from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.errors import CrossfindError

Contents = dict[str, frozenset[tuple[object, ...]]]


@dataclass
class Flips:
    """What became of the flips.

    Attributes:
        n_tried: bits turned over.
        n_changed: of them, those that changed a protected value or made one unreadable.
        n_found: of those, found by `verify`.
        n_found_by_sqlite: of those, found by SQLite's integrity check alone.
        missed: bit positions that were not found, and what was changed there.
        crashed: bit positions that ended in an error that is not ours.
        where: how many changed which table, or made the catalog unreadable.
    """

    n_tried: int = 0
    n_changed: int = 0
    n_found: int = 0
    n_found_by_sqlite: int = 0
    missed: list[str] = field(default_factory=list)
    crashed: list[str] = field(default_factory=list)
    where: dict[str, int] = field(default_factory=dict)


def make_store(folder: Path, *, n_files: int = 60) -> Path:
    """Make a store with rows of every kind in its catalog."""
    rng, media = np.random.default_rng(3), folder / "media"
    media.mkdir(parents=True)
    for number in range(n_files):
        image = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        exif = image.getexif()
        exif[0x010F], exif[0x0110] = "ACME", f"X{number}"
        exif.get_ifd(0x8769)[0x9003] = f"2019:05:31 23:30:{number % 60:02}"
        image.save(media / f"{number:03}.jpg", exif=exif)
        if number % 3 == 0:
            (media / f"{number:03}.txt").write_text(f"A caption of picture {number}")
        (media / f"note{number:03}.md").write_text(f"note {number} of a long walk in the rain")
    (media / "broken.png").write_bytes(b"no picture")
    lines = [f"{n:03}.jpg,{n % 5},mood{n % 7},pet{n % 4}" for n in range(n_files)]
    (media / "own.csv").write_text("path,stars,mood,tags\n" + "\n".join(lines) + "\n")
    settings = load_settings({"workers": 1}, environment={}, file=folder / "none")
    with Engine.open(folder / "store", create=True, model="fake", settings=settings) as engine:
        engine.add(media)
        engine.add_columns(media / "own.csv")
        engine.build()
        engine.remove(media / "001.jpg", media / "note002.md")
        assert engine.verify(n_sample=0).findings == ()
    return folder / "store"


def flip(store: Path, *, n_changed: int, seed: int) -> Flips:
    """Turn over random bits, one at a time, until so many have changed a protected value."""
    rng, path = random.Random(seed), store / "catalog.sqlite"
    whole = path.read_bytes()
    before, done = read(path), Flips()
    while done.n_changed < n_changed:
        bit = rng.randrange(len(whole) * 8)
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        done.n_tried += 1
        if change := difference(before, path):
            done.n_changed += 1
            done.where[change] = done.where.get(change, 0) + 1
            done.n_found_by_sqlite += sqlite_says(path)
            _judge(store, bit=bit, change=change, done=done)
        path.with_name("catalog.sqlite-journal").unlink(missing_ok=True)
    path.write_bytes(whole)
    return done


def _judge(store: Path, *, bit: int, change: str, done: Flips) -> None:
    settings = load_settings({"workers": 1}, environment={}, file=store / "none")
    try:
        with Engine.open(store, settings=settings) as engine:
            found = bool(engine.verify(n_sample=0).findings)
    except CrossfindError:
        found = True
    except Exception as error:  # what is neither a finding nor an error of ours
        done.crashed.append(f"bit {bit} ({change}): {type(error).__name__}: {error}")
        return
    done.n_found += found
    if not found:
        done.missed.append(f"bit {bit}: {change}")


def read(path: Path) -> Contents:
    """Read every protected value with SQLite alone, table by table."""
    found: Contents = {}
    with closing(sqlite3.connect(path)) as connection:
        for table, columns in PROTECTED.items():
            listed = ", ".join(f'"{column}"' for column in columns)
            name = table.__tablename__
            # Not by an index: what counts is what the table holds.
            rows = connection.execute(f'SELECT {listed} FROM "{name}" NOT INDEXED')
            found[name] = frozenset(rows)
        words = connection.execute("SELECT id, c0 FROM texts_words_content")
        found["texts_words"] = frozenset(words)
    return found


def difference(before: Contents, path: Path) -> str:
    """Name the first table whose protected values differ; empty where none does."""
    try:
        now = read(path)
    except (sqlite3.Error, UnicodeError) as error:
        return f"unreadable: {type(error).__name__}"
    return next((table for table in before if before[table] != now[table]), "")


def sqlite_says(path: Path) -> bool:
    """Tell whether SQLite's integrity check alone notices."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",)
    except (sqlite3.Error, UnicodeError):
        return True
