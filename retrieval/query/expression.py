"""Composed queries as values: building them, refining them, writing them down again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from retrieval.errors import UsageError
from retrieval.types import Either, Every, Expression, Sum, Term

# Rocchio, in SMART (1971), with the weights of Manning et al., Introduction to Information
# Retrieval, 9.1.1: q' = q + 0.75 mean(more) - 0.15 mean(less).
ROCCHIO_MORE, ROCCHIO_LESS = 0.75, 0.15
MAX_TERMS = 64


def terms(expression: Expression) -> Iterator[Term]:
    """Yield the terms of an expression, left to right.

    Example:
        >>> [term.value for term in terms(Every((Term("sea"), Term("dog"))))]
        ['sea', 'dog']
    """
    if isinstance(expression, Term):
        yield expression
    elif isinstance(expression, Sum):
        for _, part in expression.parts:
            yield from terms(part)
    else:
        for inner in expression.parts:
            yield from terms(inner)


def stored_ids(expression: Expression) -> set[int]:
    """Name the stored items an expression is made of: they are no answers to it.

    Example:
        >>> stored_ids(Sum(((1.0, Term("3", kind="item")), (1.0, Term("sea")))))
        {3}
    """
    return {int(term.value) for term in terms(expression) if term.kind == "item"}


def refine(
    expression: Expression | None, *, more: Sequence[int] = (), less: Sequence[int] = ()
) -> Expression:
    """Move a query towards some stored items and away from others, as Rocchio does.

    q' = q + 0.75 mean(more) - 0.15 mean(less), brought to unit length.

    Args:
        expression: the query; None where the items alone say what is wanted.
        more: ids of items to come nearer to.
        less: ids of items to get away from.

    Raises:
        UsageError: nothing is wanted at all, or the query has AND or OR in it (`bad_query`).

    Example:
        >>> [(weight, term.value) for weight, term in refine(Term("sea"), more=[4]).parts]
        [(1.0, 'sea'), (0.75, '4')]
    """
    if not more and not less and expression is not None:
        return expression
    if isinstance(expression, Every | Either):
        raise UsageError(
            "more like and less like need one direction to move; the query has AND or OR in it",
            code="bad_query",
        )
    if expression is None and not more:
        raise UsageError(
            "the query only says what it should be less like; say what it is", code="empty_query"
        )
    parts: list[tuple[float, Term | Sum]] = [] if expression is None else [(1.0, expression)]
    parts += _spread(more, ROCCHIO_MORE) + _spread(less, -ROCCHIO_LESS)
    return Sum(tuple(parts))


def write(expression: Expression) -> str:
    """Write an expression so that `parse` reads the same one again.

    Example:
        >>> write(Sum(((2.0, Term("sea")), (-1.0, Term("7", kind="item")))))
        '2:"sea" - #7'
    """
    if isinstance(expression, Term):
        return _write_term(expression)
    if isinstance(expression, Sum):
        written = ""
        for position, (weight, part) in enumerate(expression.parts):
            sign = "-" if weight < 0 else "+"
            lead = ("- " if weight < 0 else "") if position == 0 else f" {sign} "
            size = "" if abs(weight) == 1 else f"{abs(weight)!r}:".replace(".0:", ":")
            body = write(part)
            written += lead + size + (f"({body})" if isinstance(part, Sum) else body)
        return written
    word = " AND " if isinstance(expression, Every) else " OR "
    return word.join(write(p) if isinstance(p, Term) else f"({write(p)})" for p in expression.parts)


def check_size(expression: Expression) -> None:
    """Refuse an expression with too many terms, or without any.

    Raises:
        UsageError: `bad_query`.
    """
    n_terms = sum(1 for _ in terms(expression))
    if not 1 <= n_terms <= MAX_TERMS:
        raise UsageError(
            f"the query has {n_terms} terms; it must have 1 to {MAX_TERMS}", code="bad_query"
        )


def _spread(ids: Iterable[int], weight: float) -> list[tuple[float, Term | Sum]]:
    wanted = list(dict.fromkeys(ids))
    return [(weight / len(wanted), Term(str(id_), kind="item")) for id_ in wanted]


def _write_term(term: Term) -> str:
    if term.kind == "item":
        body = f"#{term.value}"
    elif term.kind == "text":
        body = '"' + term.value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    else:
        body = "".join("\\" + c if c.isspace() or c in '\\"()[]' else c for c in term.value)
    if term.crop is not None:
        body += "[" + ",".join(f"{x!r}" for x in term.crop) + "]"
    if term.slice_s is not None:
        body += "[" + ":".join(f"{x!r}s" for x in term.slice_s) + "]"
    return body
