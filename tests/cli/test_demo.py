"""The first thing a newcomer runs: the demo, from an empty directory, with the shipped model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli import Done, crossfind

from retrieval.demo.run import load_demo
from retrieval.engine import Engine


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    folder = tmp_path_factory.mktemp("newcomer")
    return folder, crossfind("demo", "--json", cwd=folder)


def test_the_demo_finds_what_it_should(demo: tuple[Path, Done]) -> None:
    folder, done = demo
    report = json.loads(done.out)
    assert done.code == 0, [s["query"] for s in report["searches"] if not s["passed"]]
    assert len(report["searches"]) >= 12
    assert {(len(s["hits"]) >= 3) for s in report["searches"]} == {True}
    page = folder / "crossfind-demo" / "demo.html"
    assert report["page"] == str(page)
    assert page.stat().st_size > 100_000


def test_the_demos_searches_give_the_same_through_the_command_line_and_python(
    demo: tuple[Path, Done],
) -> None:
    folder, _ = demo
    demo_set = load_demo()
    texts = [s for s in demo_set.searches if s.kind == "text"][:2]
    files = [s for s in demo_set.searches if s.kind == "file"][:2]
    store = folder / "crossfind-demo"
    with Engine.open(store) as engine:
        for search in (*texts, *files):
            path = demo_set.path(search.query) if search.kind == "file" else None
            hits = engine.search(path or search.query, k=10, modality=search.modality)
            args = ["search", str(path or search.query), "--for", search.modality, "--json"]
            found = json.loads(crossfind(*args, "--store", store, cwd=folder).out)["hits"]
            assert [row["id"] for row in found] == [hit.id for hit in hits]
            assert [row["score"] for row in found] == [hit.score for hit in hits]


def test_a_search_imports_neither_torch_nor_open_clip(demo: tuple[Path, Done]) -> None:
    folder, _ = demo
    code = (
        "import sys; sys.argv = ['crossfind', 'search', 'a dog', '--json']\n"
        "from retrieval.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'open_clip', 'torchvision') if m in sys.modules])"
    )
    import subprocess
    import sys

    store = folder / "crossfind-demo"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=store, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert '"hits"' in done.stdout


def test_the_doctor_finds_the_installation_and_the_store_sound(demo: tuple[Path, Done]) -> None:
    folder, _ = demo
    done = crossfind("doctor", "--json", cwd=folder / "crossfind-demo")
    report = json.loads(done.out)
    assert done.code == 0, report["checks"]
    assert report["store_is_sound"]
    assert report["model"] == "starter"
    assert report["versions"]["linked SQLite"]
    assert {c["subject"] for c in report["checks"]} >= {"image", "audio", "text"}
