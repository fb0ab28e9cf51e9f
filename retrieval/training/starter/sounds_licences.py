"""Which files of a Debian package may be trained on, by its machine-readable copyright file."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

# Names that Debian uses for the licences whose works may shape weights that ship under Apache-2.0.
_FREE = re.compile(
    r"(CC0(-1\.0)?|CC-BY(-[34]\.0)?|PD|public[- ]domain|Expat|MIT|ISC|Zlib|Apache-2\.0|BSD.*)", re.I
)


def is_free(licence: str) -> bool:
    """Tell whether a licence, or one of several offered, asks for no more than to be named.

    Args:
        licence: short name(s), as in a `License:` line.

    Returns:
        False for share-alike, copyleft and unknown ones, and wherever two hold at once.

    Example:
        >>> is_free("CC-BY-3.0"), is_free("GPL-3 or CC-BY-3.0"), is_free("CC-BY-SA-3.0")
        (True, True, False)
    """
    return any(_FREE.fullmatch(one.strip()) for one in re.split(r"\bor\b|\|", licence))


def free_files(copyright_file: Path, *, files: Sequence[Path]) -> list[tuple[Path, str, str]]:
    """Pick the files that a copyright file names with a free licence.

    Of all stanzas that match a file the last one counts, as Debian's format 1.0 says. A stanza for
    everything (`*`) is not enough: such packages often hold older works of unknown origin.

    Args:
        copyright_file: `/usr/share/doc/PACKAGE/copyright`.
        files: of the package.

    Returns:
        (file, licence, holder) in the order of `files`.
    """
    stanzas = list(_stanzas(copyright_file.read_text(encoding="utf-8", errors="replace")))
    out = []
    for file in files:
        name = file.as_posix()
        matching = [s for s in stanzas if any(fnmatch.fnmatch(name, g) for g in s[0])]
        if matching and "*" not in matching[-1][0] and is_free(matching[-1][1]):
            out.append((file, matching[-1][1], matching[-1][2]))
    return out


def _stanzas(text: str) -> Iterator[tuple[list[str], str, str]]:
    """Yield (patterns of absolute paths, licence, holder) of each `Files:` stanza."""
    for block in re.split(r"\n\s*\n", text):
        fields = {
            m[1].lower(): m[2]
            for m in re.finditer(r"^([\w-]+):[ \t]*((?:.*)(?:\n[ \t]+.*)*)", block, re.M)
        }
        if "files" not in fields or "license" not in fields:
            continue
        # Patterns are parted by white space, but some packages name files with spaces, one a line;
        # reading both ways can at worst leave out a file that is free.
        lines = [line.strip() for line in fields["files"].split("\n")]
        patterns = [p.removeprefix("./") for p in {*fields["files"].split(), *lines}]
        holder = " ".join(fields.get("copyright", "").split())
        licence = fields["license"].split("\n", 1)[0].strip()
        yield ["*" if p == "*" else f"*/{p}" for p in patterns], licence, holder
