"""The shape of the code: layers, sizes, and what must never be imported or called."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(p for top in ("index", "retrieval") for p in (ROOT / top).rglob("*.py"))

# A unit may import units of a lower number, and itself. Units of one number do not know each other.
LAYERS = {
    "cli": 90,
    "client": 85,
    "mcp": 85,
    "server": 80,
    "doctor": 75,
    "around": 72,
    "demo": 70,
    "exchange": 70,
    "evaluation": 70,
    "explain": 70,
    "visualize": 70,
    "contents": 65,
    "engine": 60,
    "training": 60,
    "status": 55,
    "add": 50,
    "backup": 50,
    "build": 50,
    "columns": 55,
    "query": 50,
    "remove": 50,
    "verify": 50,
    "migrate": 50,
    "asked": 36,
    "garbage": 45,
    "cluster": 45,
    "sources": 45,
    "remote": 45,
    "media": 40,
    "encoders": 40,
    "catalog": 40,
    "store": 35,
    "config": 30,
    "types": 20,
    "errors": 20,
    "index": 10,
}
# `training` is called by the command line alone, and stands on encoders and media.
ONLY_FROM = {"training": {"cli", "training"}}

HEAVY = {
    "torch": {"retrieval/training", "index/torch_exact.py"},
    "open_clip": set(),
    "transformers": set(),
    "faiss": set(),
    "pymilvus": set(),
    "ray": set(),
    "onnxruntime": set(),
    "tokenizers": set(),
    "av": {"retrieval/media/audio", "retrieval/media/video", "retrieval/media/stream"},
    "PIL": {"retrieval/media/image.py"},
    "sqlalchemy": {"retrieval/catalog"},
    "alembic": {"retrieval/catalog/migrations"},
    "rich": set(),
    "fastapi": {"retrieval/server"},
    "starlette": {"retrieval/server"},
    "uvicorn": {"retrieval/server"},
    "pydantic": {"retrieval/server"},
    "prometheus_client": {"retrieval/server"},
    "httpx": {"retrieval/client"},
    "mcp": set(),
}

ALL_CODE = SOURCES + sorted(
    p for top in ("benchmarks", "tests") for p in (ROOT / top).rglob("*.py")
)
FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
    "yaml",
}
FORBIDDEN_CALLS = {"eval", "exec", "extractall", "trust_remote_code", "allow_pickle"}
FORBIDDEN_DOTTED = {"torch.load", "yaml.load", "torch.save", "torch.jit.load"}
# They make what must never be loaded.
MAKE_PAYLOADS = {"tests/bad_inputs/payloads.py", "tests/encoders/test_pretrained.py"}


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def unit(dotted: str) -> str | None:
    """Name the unit a module belongs to: `retrieval.add_batch` -> `add`; None for the root."""
    parts = dotted.split(".")
    if parts[0] == "index":
        return "index"
    if parts[0] != "retrieval" or len(parts) == 1:
        return None
    return parts[1].split("_")[0]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            yield node.module or "", node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_only_from_lower_layers(path: Path) -> None:
    own = unit(module_name(path))
    if own is None:
        return
    for name, line in imports(parse(path)):
        other = unit(name)
        if other is None or other == own or name in ("retrieval", "index"):
            continue
        if other not in LAYERS:
            continue  # a name imported from the package root
        where = f"{path.relative_to(ROOT)}:{line} imports {name}"
        assert LAYERS[other] < LAYERS[own], f"{where}: {other} is not below {own}"
        assert own in ONLY_FROM.get(other, {own}), f"{where}: {other} is for {ONLY_FROM[other]}"


def test_every_unit_has_a_layer() -> None:
    units = {u for p in SOURCES if (u := unit(module_name(p)))}
    assert units <= set(LAYERS)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") < 400, f"{path.name} has {text.count(chr(10))} lines"
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            n_lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert n_lines < 60, f"{path.name}:{node.lineno} {node.name} has {n_lines} lines"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_heavy_packages_are_imported_only_where_they_are_owned(path: Path) -> None:
    place = str(path.relative_to(ROOT))
    for node in parse(path).body:
        for name, line in imports(node) if isinstance(node, ast.Import | ast.ImportFrom) else ():
            top = name.split(".")[0]
            owners = HEAVY.get(top)
            if owners is not None:
                owned = any(place.startswith(owner) for owner in owners)
                assert owned, f"{place}:{line} imports {top} at module level"


def is_off(node: ast.keyword) -> bool:
    return isinstance(node.value, ast.Constant) and node.value.value is False


@pytest.mark.parametrize("path", ALL_CODE, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_loads_code_from_data(path: Path) -> None:
    if str(path.relative_to(ROOT)) in MAKE_PAYLOADS:
        return
    tree = parse(path)
    for name, line in imports(tree):
        assert name.split(".")[0] not in FORBIDDEN_MODULES, f"{path.name}:{line} imports {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword):
            assert node.arg not in FORBIDDEN_CALLS or is_off(node), f"{path.name}: {node.arg}="
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in FORBIDDEN_DOTTED, f"{path.name}:{node.lineno} calls {called}"
            last = called.split(".")[-1]
            torch_eval = last == "eval" and "." in called  # module.eval() of torch
            assert torch_eval or last not in FORBIDDEN_CALLS, f"{path.name}:{node.lineno} {called}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_the_command_line_prints_and_exits(path: Path) -> None:
    if str(path.relative_to(ROOT)).startswith("retrieval/cli"):
        return
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"print", "sys.exit", "click.echo"}, f"{path}:{node.lineno}"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{path}:{node.lineno} bare except"


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import retrieval, index, sys;"
        "print([m for m in ('torch','faiss','PIL','sqlalchemy','av','onnxruntime','open_clip')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
