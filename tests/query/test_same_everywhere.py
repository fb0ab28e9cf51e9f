"""One query, one answer: sixty composed queries by command line, Python, and HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import media_files
import pytest
from cli import crossfind
from colour_media import make_media
from composed_queries import COMPOSED
from PIL import Image
from starlette.testclient import TestClient

from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.query.expression import terms
from retrieval.query.json_form import expression_to_json, read_expression
from retrieval.query.parse import looks_composed, parse
from retrieval.server.app import make_app
from retrieval.server.auth import Boundary, make_policy
from retrieval.server.state import Options, State
from retrieval.types import Either, Every, Expression, Hit, Sum, Term

K = 12
Ranked = list[tuple[int, float]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("same")
    make_media(folder / "media", n_files=30)
    ask = folder / "ask"
    ask.mkdir()
    Image.new("RGB", (30, 20), (255, 0, 0)).save(ask / "red.png")
    halves = Image.new("RGB", (300, 100), (255, 0, 0))
    halves.paste((0, 0, 255), (150, 0, 300, 100))
    halves.save(ask / "halves.png")
    media_files.wav(ask / "low.wav", samples=media_files.tone(seconds=2.0, hz=100.0))
    return folder


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Engine]:
    settings = load_settings({"workers": 1}, environment={}, file=folder / "none")
    with Engine.open(folder / ".crossfind", create=True, model="fake", settings=settings) as opened:
        opened.add(folder / "media")
        yield opened


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[TestClient]:
    state = State(engine=engine, settings=load_settings(environment={}), options=Options())
    state.is_ready = True
    guarded = Boundary(make_app(state), policy=make_policy("127.0.0.1"), body_seconds=5.0)
    with TestClient(guarded, base_url="http://127.0.0.1:8765") as made:
        yield made
    state.close()


def ranked(hits: list[Hit]) -> Ranked:
    return [(hit.id, hit.score) for hit in hits]


def rows(answer: dict[str, object]) -> Ranked:
    return [(hit["id"], hit["score"]) for hit in answer["hits"]]  # type: ignore[attr-defined]


def renamed(expression: Expression, name: Callable[[str], str]) -> Expression:
    """Change the names of the files of a query."""
    if isinstance(expression, Term):
        is_file = expression.kind == "file"
        return replace(expression, value=name(expression.value)) if is_file else expression
    if isinstance(expression, Sum):
        return Sum(tuple((w, renamed(p, name)) for w, p in expression.parts))  # type: ignore[misc]
    parts = tuple(renamed(part, name) for part in expression.parts)
    return Every(parts) if isinstance(expression, Every) else Either(parts)


def by_http(client: TestClient, expression: Expression) -> Ranked:
    """Send the JSON form; the files of the query travel as parts of a form."""
    sent = expression_to_json(renamed(expression, lambda path: Path(path).name))
    body = {"query": sent, "k": K}
    paths = {t.value for t in terms(expression) if t.kind == "file"}
    if not paths:
        answer = client.post("/v1/search", json=body)
    else:
        form = {Path(p).name: (Path(p).name, Path(p).read_bytes()) for p in sorted(paths)}
        answer = client.post("/v1/search", files={"body": (None, json.dumps(body)), **form})  # type: ignore[dict-item]
    assert answer.status_code == 200, answer.text
    return rows(answer.json())


@pytest.mark.parametrize("text", COMPOSED)
def test_a_query_finds_the_same_by_command_line_python_and_http(
    engine: Engine, client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(folder)
    assert looks_composed(text)
    expression = parse(text)
    in_python = ranked(engine.search(expression, k=K))
    done = crossfind("search", "-k", str(K), "--json", "--", text, cwd=folder)
    assert done.code == 0, done.err
    assert len(in_python) == K
    assert all(-1.0 <= score <= 1.0 for _, score in in_python)
    assert rows(json.loads(done.out)) == in_python
    assert by_http(client, expression) == in_python
    written = crossfind("search", "--parse", "--", text, cwd=folder)
    assert read_expression(json.loads(written.out)) == expression


def test_text_alone_travels_to_http_as_it_is_typed(engine: Engine, client: TestClient) -> None:
    for text in COMPOSED[:34]:
        answer = client.post("/v1/search", json={"query": text, "k": K})
        assert rows(answer.json()) == ranked(engine.search(parse(text), k=K))


def test_more_and_less_like_and_conditions_are_the_same_everywhere(
    engine: Engine, client: TestClient, folder: Path
) -> None:
    where = "format = 'png'"
    answer = client.post(
        "/v1/search",
        json={"query": "red", "more_like": [3], "less_like": [5], "where": where, "k": K},
    )
    done = crossfind(
        "search", "red", "--more-like", "3", "--less-like", "5", "--where", where,
        "-k", str(K), "--json", cwd=folder,
    )  # fmt: skip
    parsed = crossfind(
        "search", "red", "--more-like", "3", "--less-like", "5", "--parse", cwd=folder
    )
    expression = read_expression(json.loads(parsed.out))
    in_python = ranked(engine.search(expression, k=K, where=where))
    assert len(in_python) == K
    assert rows(answer.json()) == rows(json.loads(done.out)) == in_python


def test_similar_takes_conditions_and_refinements(engine: Engine, folder: Path) -> None:
    path = folder / "media" / "0003.png"
    item = engine.item(path)
    assert item is not None
    plain = [hit.id for hit in engine.similar(path, k=30)]
    texts = [hit.id for hit in engine.similar(path, k=30, where="format = 'txt'")]
    assert texts == [i for i in plain if i in texts]
    assert len(texts) == 3
    done = crossfind(
        "similar", str(path), "--where", "format = 'txt'", "--less-like", "9", "--json", cwd=folder
    )
    assert done.code == 0, done.err
    expected = engine.search(
        parse(f"1:#{item.id} - 0.15:#9"), k=10, where="format = 'txt'", hybrid=False
    )
    assert rows(json.loads(done.out)) == ranked(expected)


def test_parse_prints_plain_queries_too(folder: Path) -> None:
    for typed, form in (
        ("a red parrot", {"text": "a red parrot"}),
        ("#12", {"item": 12}),
        (str(folder / "ask" / "low.wav"), {"file": str(folder / "ask" / "low.wav")}),
    ):
        assert json.loads(crossfind("search", typed, "--parse", cwd=folder).out) == form
    bad = crossfind("search", '"red" AND', "--parse", cwd=folder)
    assert (bad.code, bad.out) == (2, "")
    assert bad.err.startswith("error: column 10:")
