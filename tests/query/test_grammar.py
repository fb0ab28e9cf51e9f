"""The grammar: what text means, where it is wrong, and that every form says the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import UsageError
from retrieval.query.expression import refine, stored_ids, write
from retrieval.query.grammar import make_query, read_query, read_typed
from retrieval.query.json_form import expression_to_json, read_expression
from retrieval.query.parse import join_arguments, looks_composed, parse
from retrieval.types import Either, Every, Expression, Sum, Term

DOG = Term(str(Path("dog.ogg").absolute()), kind="file")


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ('"2:sea" + ./dog.ogg - a b', Sum(((2.0, Term("sea")), (1.0, DOG), (-1.0, Term("a b"))))),
        ('2:"a b" - #7', Sum(((2.0, Term("a b")), (-1.0, Term("7", kind="item"))))),
        ('"sea" AND "dog" OR red', Either((Every((Term("sea"), Term("dog"))), Term("red")))),
        ('"sea" AND ("dog" OR red)', Every((Term("sea"), Either((Term("dog"), Term("red")))))),
        ('"a" + "b" AND "c"', Every((Sum(((1.0, Term("a")), (1.0, Term("b")))), Term("c")))),
        ('- "a" + b c', Sum(((-1.0, Term("a")), (1.0, Term("b c"))))),
        ('2:("a" - "b") + c', Sum(((2.0, parse('"a" - "b"')), (1.0, Term("c"))))),  # type: ignore[arg-type]
        (r'"say \"hi\" \\ -"', Term('say "hi" \\ -')),
        ('"12:30 train"', Term("12:30 train")),
        ("/a.jpg[0.1,0.2,0.6,0.9]", Term("/a.jpg", kind="file", crop=(0.1, 0.2, 0.6, 0.9))),
        ("/a.wav[3s:8.5s]", Term("/a.wav", kind="file", slice_s=(3.0, 8.5))),
        (r"/a\ b\[1\].jpg", Term("/a b[1].jpg", kind="file")),
        ("/a[1].jpg", Term("/a[1].jpg", kind="file")),
        ('("a" OR /b(1).jpg)', Either((Term("a"), Term("/b(1).jpg", kind="file")))),
        ("well-known + 'x' AND", None),
    ],
)  # fmt: skip
def test_text_means(text: str, meaning: Expression | None) -> None:
    if meaning is None:
        with pytest.raises(UsageError, match="column"):
            parse(text)
    else:
        assert parse(text) == meaning


@pytest.mark.parametrize(
    ("text", "column", "word"),
    [
        ('"dog" +', 8, "missing at the end"),
        ('"dog" + - "cat"', 9, "missing"),
        ('"dog', 1, "not closed"),
        ('"a" + ("b" OR "c")', 7, "AND or OR"),
        ('("a" + "b"', 1, "bracket"),
        ('"a" )', 5, "not expected"),
        ('"a" "b"', 5, "not expected"),
        ("/a.jpg[0.6,0,0.1,1]", 7, "crop"),
        ("/a.wav[8s:3s]", 7, "slice"),
        ('0:"a" + b', 1, "weight"),
        ('"a" + ""', 7, "nothing between"),
        ("(" * 40 + "a", 33, "brackets"),
    ],
)
def test_an_error_names_the_column(text: str, column: int, word: str) -> None:
    with pytest.raises(UsageError, match=word) as caught:
        parse(text)
    assert str(caught.value).startswith(f"column {column}:")
    assert caught.value.code == "bad_query"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["a red parrot", "rock - paper", "this AND that", "C++ or C", "salt + pepper", "12:30 train",
     'say "hi" now', 'say "hi" - now', "#12", "./a.jpg", "5 - 3 = 2", "- a", "+", "", "- -",
     "./my dog.jpg", "well-known - half-done", "a (b) - c", "#hash - tag", "x" * 20_000 + ' - "a"'],
)  # fmt: skip
def test_what_a_newcomer_types_stays_plain(text: str) -> None:
    assert not looks_composed(text)


@pytest.mark.parametrize(
    "text",
    ['"rock" - paper', "2:rock - paper", "rock - ./paper.jpg", "rock AND #12", '"rock"', "2:rock",
     "./a.jpg[0,0,1,0.5]", "./a.wav[1:2]", '("a" OR b) AND c', "rock AND"
     ' "paper"', 'rock - "2:paper"'],
)  # fmt: skip
def test_what_uses_the_grammar_is_noticed(text: str) -> None:
    assert looks_composed(text)


def test_syntax_overrules_the_guess() -> None:
    assert read_query("rock - paper") == "rock - paper"
    assert read_query("rock - paper", syntax="composed") == parse("rock - paper")
    assert read_query('"rock" - paper', syntax="text") == '"rock" - paper'


def test_a_shell_may_split_the_query() -> None:
    assert parse(join_arguments(("2:beach", "+", "my dog", "-", "people"))) == parse(
        '2:beach + "my dog" - people'
    )
    assert join_arguments(("a", "red", "parrot")) == "a red parrot"
    assert parse(join_arguments(("./a b.jpg", "+", "x y"))) == parse(r'./a\ b.jpg + "x y"')


_words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).filter(
    lambda t: bool(t.strip())
)
_shares = st.tuples(*[st.floats(0, 1)] * 4).filter(lambda c: c[0] < c[2] and c[1] < c[3])
_times = st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)).filter(lambda s: s[0] < s[1])
_paths = _words.map(lambda t: "/" + t.replace("/", "_").replace("\x00", "_").strip()).map(
    lambda t: str(Path(t))
)
_terms = st.one_of(
    # What looks like a weight inside quotes is one, so `write` cannot say it plainly.
    _words.filter(lambda t: ":" not in t).map(Term),
    st.integers(0, 10**17).map(lambda n: Term(str(n), kind="item")),
    _paths.map(lambda p: Term(p, kind="file")),
    st.builds(lambda p, c: Term(p, kind="file", crop=c), _paths, _shares),
    st.builds(lambda p, s: Term(p, kind="file", slice_s=s), _paths, _times),
)
_weights = st.floats(1e-3, 1e6) | st.floats(-1e6, -1e-3)


def _sums(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Sum]:
    parts = st.lists(st.tuples(_weights, inner), min_size=2, max_size=4)
    return parts.map(lambda p: Sum(tuple(p)))  # type: ignore[arg-type]


_vectors = st.recursive(_terms, _sums, max_leaves=6)
_expressions = st.recursive(
    _vectors,
    lambda inner: st.lists(inner, min_size=2, max_size=3).flatmap(
        lambda p: st.sampled_from([Every(tuple(p)), Either(tuple(p))])
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(_expressions)
def test_text_and_json_both_say_every_query(expression: Expression) -> None:
    assert read_expression(expression_to_json(expression)) == expression
    assert parse(write(expression)) == expression


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40) | st.text('"+-()[]:#./ AND OR 123', max_size=40))
def test_any_text_is_read_or_refused_with_a_column(text: str) -> None:
    looks_composed(text)
    refused = None
    try:
        parse(text)
    except UsageError as error:
        refused = error
    assert refused is None or str(refused).startswith("column ")


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("dog", "query"),
        ({}, "exactly one"),
        ({"text": "a", "item": 1}, "exactly one"),
        ({"text": ""}, "query.text"),
        ({"text": "a", "crop": [0, 0, 1, 1]}, "query.crop"),
        ({"item": True}, "query.item"),
        ({"item": -1}, "query.item"),
        ({"file": "/a", "crop": [0, 0, 0, 1]}, "query.file.crop"),
        ({"file": "/a", "slice_s": [2, float("nan")]}, "slice_s"),
        ({"sum": [[0, {"text": "a"}]]}, r"sum\[0\]\[0\]"),
        ({"sum": [[1, {"or": [{"text": "a"}]}]]}, r"sum\[0\]\[1\]"),
        ({"and": []}, "query.and"),
        ({"and": [{"text": "a"}] * 65}, "64"),
    ],
)
def test_a_bad_json_query_names_its_field(value: object, field: str) -> None:
    with pytest.raises(UsageError, match=field) as caught:
        read_expression(value)
    assert caught.value.code == "bad_query"


def test_json_nested_too_deep_is_refused() -> None:
    deep: object = {"text": "a"}
    for _ in range(5000):
        deep = {"and": [deep]}
    with pytest.raises(UsageError, match="deep"):
        read_expression(deep)


def test_refining_adds_the_weights_of_rocchio() -> None:
    moved = refine(Term("sea"), more=[1, 2], less=[9])
    assert moved == Sum(
        ((1.0, Term("sea")), (0.375, Term("1", kind="item")), (0.375, Term("2", kind="item")),
         (-0.15, Term("9", kind="item")))
    )  # fmt: skip
    assert stored_ids(moved) == {1, 2, 9}
    assert refine(Term("sea")) == Term("sea")
    for expression in (None, Every((Term("a"), Term("b")))):
        with pytest.raises(UsageError):
            refine(expression, less=[1])


def test_a_composed_query_has_a_value_that_says_it() -> None:
    expression = parse('"2:beach" - people')
    query = make_query(expression, k=3, modality=None)
    assert query.kind == "composed"
    assert parse(query.value) == query.expression == expression


@pytest.mark.parametrize("name", ["./~nobody.jpg", "./~\x0f", "./~a~b/c.png", "./~root/a.png"])
def test_a_tilde_in_a_files_name_is_no_home(name: str) -> None:
    expression = parse(f"{name} + x")
    assert isinstance(expression, Sum)
    assert expression.parts[0][1] == Term(str(Path.cwd() / name[2:]), kind="file")


@pytest.mark.parametrize(
    "name", ["Artist - Song.mp3", "a + b.jpg", "x AND y.png", "photo (1).jpg", "live[3s:8s]"]
)
def test_the_path_of_a_file_that_is_there_is_that_file(tmp_path: Path, name: str) -> None:
    typed = f"{tmp_path}/{name}"
    before = read_typed(typed)
    (tmp_path / name).write_bytes(b"")
    assert read_typed(typed) == tmp_path / name
    assert before == read_query(typed)
    assert read_typed(typed, syntax="text") == typed
