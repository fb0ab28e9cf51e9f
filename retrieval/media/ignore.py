"""Patterns of `.crossfindignore` files, in the language of .gitignore."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# One step of a pattern: `**/`, `/**`, `**`, `*`, `?`, `[set]`, an escaped character, or itself.
_TOKEN = re.compile(r"\*\*/|/\*\*$|\*+|\?|\[!?\]?[^\]]*\]|\\.|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of an ignore file.

    Attributes:
        folder: absolute path of the folder whose file holds the line, ending in `/`.
        pattern: matches paths relative to `folder`.
        keeps: True for a `!` line, which takes back what earlier lines ignored.
        folders_only: True for a line that ends in `/`.
    """

    folder: str
    pattern: re.Pattern[str]
    keeps: bool
    folders_only: bool


def parse_rules(text: str, *, folder: str) -> tuple[Rule, ...]:
    """Read the lines of one ignore file.

    Args:
        text: its content.
        folder: absolute path of the folder it lies in.

    Returns:
        The rules in the order of the file; empty lines, comments and lines that are no pattern
        are left out.

    Example:
        >>> rules = parse_rules("*.bmp", folder="/photos")
        >>> is_ignored("/photos/old/a.bmp", rules=rules, is_folder=False)
        True
    """
    rules = (_parse_line(line, folder=folder) for line in text.splitlines())
    return tuple(rule for rule in rules if rule is not None)


def is_ignored(path: str, *, rules: Sequence[Rule], is_folder: bool) -> bool:
    """Say whether the last rule that matches a path ignores it.

    Args:
        path: absolute.
        rules: those of the outermost folder first.
        is_folder: whether `path` is a folder.

    Example:
        >>> rules = parse_rules("raw/", folder="/photos")
        >>> is_ignored("/photos/raw", rules=rules, is_folder=True)
        True
        >>> is_ignored("/photos/raw", rules=rules, is_folder=False)
        False
    """
    for rule in reversed(rules):
        if rule.folders_only and not is_folder:
            continue
        if path.startswith(rule.folder) and rule.pattern.fullmatch(path[len(rule.folder) :]):
            return not rule.keeps
    return False


def _parse_line(line: str, *, folder: str) -> Rule | None:
    body = line.rstrip()
    if not body or body.startswith("#"):
        return None
    keeps = body.startswith("!")
    body = body.removeprefix("!")
    folders_only = body.endswith("/")
    body = body.rstrip("/")
    anchored = "/" in body
    body = body.lstrip("/")
    if not body:
        return None
    try:
        pattern = re.compile(("" if anchored else "(?:.*/)?") + _regex(body), re.DOTALL)
    except re.error:
        return None  # such as [z-a]: git matches nothing by it either
    return Rule(folder.rstrip("/") + "/", pattern, keeps, folders_only)


def _regex(body: str) -> str:
    return "".join(_translate(match.group()) for match in _TOKEN.finditer(body))


_FIXED = {"**/": "(?:.*/)?", "/**": "/.+", "?": "[^/]"}


def _translate(token: str) -> str:
    if token in _FIXED:
        return _FIXED[token]
    if token.startswith("*"):
        return "[^/]*"
    if len(token) > 2 and token[0] == "[":
        inner = token[1:-1].replace("\\", "\\\\").replace("[", "\\[")
        return "[" + ("^/" + inner[1:] if inner[0] == "!" else inner) + "]"
    return re.escape(token[1:] if len(token) == 2 and token[0] == "\\" else token)
