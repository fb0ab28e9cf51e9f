"""The command line as a user meets it: exit codes, messages, stdout for results only."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli import crossfind, environment
from PIL import Image

from retrieval.cli.main import cli
from retrieval.engine import Engine


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a built store of four items and one bad file."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "media").mkdir()
    for name, colour in {"red": (255, 0, 0), "blue": (0, 0, 255)}.items():
        Image.new("RGB", (20, 20), colour).save(folder / "media" / f"{name}.png")
    (folder / "media" / "notes.csv").write_text("text\na red day\nthe blue sea\n")
    (folder / "media" / "broken.jpg").write_bytes(b"no picture")
    done = crossfind("index", "build", "media", "--model", "fake", cwd=folder)
    assert done.code == 3, done.err
    assert done.out == ""
    assert "4 added" in done.err
    assert "skipped 1 bad file" in done.err
    return folder


def test_search_prints_aligned_lines(home: Path) -> None:
    done = crossfind("search", "red", "-k", "2", cwd=home)
    assert done.code == 0
    assert done.err == ""
    first, second = done.out.splitlines()
    assert first.split() == ["1", "1.000", "image", "media/red.png", "[words", "too]"]
    assert second.startswith("  2   0.9")
    assert second.endswith('text   media/notes.csv#1  "a red day"  [words too]')


def test_search_json_equals_python(home: Path) -> None:
    for query in ("red", "./media/blue.png", "#1"):
        done = crossfind("search", query, "--json", "-k", "4", cwd=home)
        found = json.loads(done.out)
        assert found["query"] == query
        with Engine.open(home / ".crossfind") as engine:
            value = {"red": "red", "#1": 1}.get(query, home / "media" / "blue.png")
            hits = engine.search(value, k=4)
        names = ("rank", "id", "path", "modality", "score", "start_s", "end_s", "by")
        told = [{n: getattr(h, n) for n in names} for h in hits]
        texts = [{"text": h.text} if h.modality == "text" else {} for h in hits]
        assert found["hits"] == [one | text for one, text in zip(told, texts, strict=True)]
        assert {"text": "a red day"} in texts


def test_search_prints_one_object_a_line_or_paths_only(home: Path) -> None:
    rows = [json.loads(r) for r in crossfind("search", "red", "--jsonl", cwd=home).out.splitlines()]
    paths = crossfind("search", "red", "-f", cwd=home).out.splitlines()
    assert [row["path"] for row in rows] == paths
    assert paths[0] == str(home / "media" / "red.png")


def test_search_for_one_modality(home: Path) -> None:
    rows = crossfind("search", "red", "--for", "text", "--jsonl", cwd=home).out.splitlines()
    assert [json.loads(row)["modality"] for row in rows] == ["text", "text"]


def test_a_name_without_a_dot_slash_is_text_and_says_so(home: Path) -> None:
    done = crossfind("search", "media/red.png", cwd=home)
    assert "write ./media/red.png" in done.err


def test_a_text_longer_than_any_file_name_is_searched(home: Path) -> None:
    done = crossfind("search", "red " * 3000, "-k", "1", "-f", cwd=home)
    assert (done.code, done.out) == (0, f"{home}/media/red.png\n"), done.err


def test_similar_leaves_the_item_out(home: Path) -> None:
    paths = crossfind("similar", "media/red.png", "-f", cwd=home).out.splitlines()
    assert len(paths) == 3
    assert str(home / "media" / "red.png") not in paths


def test_status_and_errors(home: Path) -> None:
    status = json.loads(crossfind("index", "status", "--json", cwd=home).out)
    assert status["n_items"] == {"image": 2, "audio": 0, "text": 2, "video": 0}
    errors = json.loads(crossfind("index", "errors", "--json", cwd=home).out)["errors"]
    assert [(Path(e["path"]).name, e["code"]) for e in errors] == [("broken.jpg", "not_an_image")]
    (line,) = crossfind("index", "errors", cwd=home).out.splitlines()
    assert line.split()[:2] == ["not_an_image", "media/broken.jpg"]
    assert line.count("broken.jpg") == 1


def test_damage_is_told_once_in_a_line(home: Path, tmp_path: Path) -> None:
    store = shutil.copytree(home / ".crossfind", tmp_path / "store")
    (segment,) = (store / "segments").iterdir()
    segment.write_bytes(b"")
    for command in (["search", "red"], ["index", "status"], ["similar", "#1"]):
        done = crossfind(*command, "--json", "--store", store, cwd=tmp_path)
        told = [line for line in done.err.splitlines() if segment.name in line]
        assert len(told) == 1, done.err
        assert told[0].startswith("warning: segment ")
        assert json.loads(done.out or "{}") is not None


def test_verify_and_rebuild(home: Path) -> None:
    done = crossfind("index", "verify", cwd=home)
    assert (done.code, done.out) == (0, "")
    assert "nothing damaged" in done.err
    assert crossfind("index", "rebuild", cwd=home).code == 0


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (["search"], 2, "Missing argument"),
        (["search", "red", "-k", "0"], 2, "1<=x<=1000"),
        (["search", "red", "-k", "ten"], 2, "integer"),
        (["search", "red", "--topk", "3"], 2, "No such option"),
        (["search", "red", "--for", "smell"], 2, "'smell'"),
        (["search", " "], 2, "empty_query"),
        (["search", "#99"], 2, "no_such_item"),
        (["search", "./nothing.jpg"], 2, "path_missing"),
        (["search", "red", "--store", "nowhere"], 2, "no_store"),
        (["serch", "red"], 2, "search"),
        (["index", "build", "nowhere"], 2, "path_missing"),
        (["index", "build", "media", "--workers", "-1"], 2, "bad_setting"),
        (["index", "build", "media", "--model", "starter"], 7, "space_mismatch"),
        (["index", "remove", "nowhere"], 2, "not_in_store"),
        (["models", "show", "stater"], 7, "did you mean 'starter'"),
        (["serach", "red"], 2, "did you mean 'search'"),
        (["build", "media"], 2, "did you mean 'index build'"),
        (["heads"], 2, "did you mean 'train heads'"),
    ],
)
def test_a_wrong_command_ends_in_one_line_and_its_code(
    home: Path, args: list[str], code: int, told: str
) -> None:
    done = crossfind(*args, cwd=home)
    assert done.code == code, done.err
    assert done.out == ""
    assert len(done.err.splitlines()) == 1, done.err
    assert told in done.err


def test_a_root_that_is_not_there_leaves_no_store(tmp_path: Path) -> None:
    for command in ("build", "add"):
        assert crossfind("index", command, "nowhere", cwd=tmp_path).code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("group", [(), ("index",), ("models",), ("train",)])
def test_a_group_alone_shows_its_help(home: Path, group: tuple[str, ...]) -> None:
    done = crossfind(*group, cwd=home)
    assert (done.code, done.out) == (2, "")
    assert done.err == crossfind(*group, "--help", cwd=home).out


def test_closed_standard_files_are_no_descriptors_of_the_store(home: Path) -> None:
    version = "import os; from retrieval.cli import main; main()"
    opened = version.replace("main()", "main.__globals__['_hold_standard_files']()")
    for code, more in ((version, "--version"), (opened + "; assert os.open('.', 0) > 2", "")):
        for closed in ("<&- >&- 2>&-", ">&-"):
            done = subprocess.run(
                f'exec {sys.executable} -c "$CODE" {more} {closed}',
                shell=True, cwd=home, env=environment(CODE=code), check=False, timeout=60,
            )  # fmt: skip
            assert done.returncode == 0, (closed, more)


def test_a_bad_setting_in_the_file_names_it(home: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("wrkers = 3\n")
    done = crossfind("search", "red", cwd=home, CROSSFIND_CONFIG=str(config))
    assert (done.code, "did you mean 'workers'" in done.err) == (2, True)
    config.write_text("workers = = 3\n")
    done = crossfind("search", "red", cwd=home, CROSSFIND_CONFIG=str(config))
    assert (done.code, "line" in done.err) == (2, True)


def test_every_command_has_help_and_an_example(home: Path) -> None:
    def walk(*command: str) -> None:
        done = crossfind(*command, "--help", cwd=home)
        assert done.code == 0, (command, done.err)
        name = " ".join(("crossfind", *command))
        assert name in done.out.split("Options:")[0].split("\n", 1)[1], f"{name}: no example"
        if "Commands:" in done.out:
            for line in done.out.split("Commands:")[1].splitlines():
                if line.startswith("  ") and line[2] != " ":
                    walk(*command, line.split()[0])

    walk()


def test_every_command_that_a_message_names_exists() -> None:
    named = re.compile(r"(?:[`']|run: |see: |with: )crossfind ([a-z]+)(?: ([a-z]+))?")
    root = Path(__file__).parents[2]
    sources = [p for d in ("index", "retrieval", "docs") for p in (root / d).rglob("*.[pmjh]*")]
    texts = {p: p.read_text() for p in sources if p.suffix in {".py", ".md", ".js", ".html"}}
    found = [(path, found) for path, text in texts.items() for found in named.findall(text)]
    assert len(found) > 50
    context = click.Context(cli)
    for path, (first, second) in found:
        command = cli.get_command(context, first)
        assert command is not None, (path, first)
        if isinstance(command, click.Group) and second:
            assert second in command.list_commands(context), (path, first, second)


def test_help_is_quick_and_imports_nothing_heavy(home: Path) -> None:
    code = (
        "import sys; sys.argv=['crossfind','--help']\n"
        "from retrieval.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch','faiss','PIL','sqlalchemy','rich') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=home, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_closed_pipe_ends_quietly(home: Path) -> None:
    command = (
        f"{sys.executable} -c 'from retrieval.cli import main; main()' search red --jsonl | true"
    )
    done = subprocess.run(
        ["bash", "-c", f"{command}; echo ${{PIPESTATUS[0]}}"],
        cwd=home,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout.split()[-1] in {"0", "141"}


def test_hostile_names_do_not_reach_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    name = "\x1b[31mred\u202e\n.png"
    Image.new("RGB", (9, 9), (255, 0, 0)).save(tmp_path / "m" / name, "png")
    (tmp_path / "m" / "\x1b]0;x.jpg").write_bytes(b"bad")
    crossfind("index", "build", "m", "--model", "fake", cwd=tmp_path)
    for args in (["search", "red"], ["index", "errors"]):
        done = crossfind(*args, cwd=tmp_path)
        assert done.out.count("\n") == 1
        assert not {"\x1b", "\u202e"} & set(done.out)
    found = json.loads(crossfind("search", "red", "--json", cwd=tmp_path).out)["hits"][0]["path"]
    assert os.path.basename(found) == name


def test_version(home: Path) -> None:
    assert crossfind("--version", cwd=home).out.startswith("crossfind, version ")
