"""Fetching, checking and exporting models; a folder stands in for the hub."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from click.testing import CliRunner

from retrieval.cli.models import command as models_command
from retrieval.encoders import fetch as fetching
from retrieval.encoders.fetch import FolderHub, fetch, plan_fetch, repository_of
from retrieval.encoders.hub import HuggingFaceHub, RemoteModel
from retrieval.encoders.model_folder import folder_name, installed, open_model_folder
from retrieval.encoders.onnx_towers import LEAST_COSINE, read_reports
from retrieval.encoders.registry import open_encoder
from retrieval.errors import ModelError

CLIP = "open_clip:hf-hub:test/tiny"


class StubHub(FolderHub):
    """A folder that answers like the hub: with a commit, a licence, and hashes of large files."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, licence="mit")
        self.place = folder
        self.downloads: list[str] = []

    def describe(self, repo: str, *, revision: str) -> RemoteModel:
        plain = super().describe(repo, revision=revision)
        files = [
            replace(f, sha256=hashlib.sha256((self.place / f.name).read_bytes()).hexdigest())
            if f.name.endswith(".safetensors")
            else f
            for f in plain.files
        ]
        return replace(plain, revision=tiny_models.REVISION, files=tuple(files))

    def download(self, remote: RemoteModel, *, name: str, folder: Path) -> Path:
        self.downloads.append(name)
        return super().download(remote, name=name, folder=folder)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository as the hub has it, with files that no encoder wants."""
    folder = tiny_models.make_clip(tmp_path_factory.mktemp("hub"), name=CLIP)
    (folder / "crossfind.json").unlink()
    (folder / "README.md").write_text("# a model")
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"pickled")
    (folder / "modeling_tiny.py").write_text("raise SystemExit('ran')")
    (folder / "tokenizer_config.json").write_text("{}")
    return folder


def test_a_fetched_model_is_pinned_hashed_and_opens(published: Path, tmp_path: Path) -> None:
    hub = StubHub(published)
    plan = plan_fetch(CLIP, hub=hub)
    assert hub.downloads == [], "planning downloaded something"
    path = fetch(plan, hub=hub, models_dir=tmp_path)
    wanted = {"open_clip_config.json", "tokenizer_config.json", "open_clip_model.safetensors"}
    assert set(hub.downloads) == wanted
    assert {p.name for p in path.iterdir()} == wanted | {"crossfind.json"}
    [manifest] = installed(tmp_path)
    assert manifest.revision == tiny_models.REVISION
    assert manifest.licence == "mit"
    raw = (published / manifest.weights).read_bytes()
    assert manifest.files[manifest.weights].sha256 == hashlib.sha256(raw).hexdigest()
    assert manifest.files[manifest.weights].size_bytes == len(raw)
    encoder = open_encoder(CLIP, threads=1, models_dir=tmp_path)
    assert encoder.encode(["a dog"], modality="text").shape == (1, 24)
    assert encoder.spaces[0].licence == "mit"


def test_an_interrupted_fetch_leaves_no_model_and_a_second_one_finishes(
    published: Path, tmp_path: Path
) -> None:
    class Falls(StubHub):
        def download(self, remote: RemoteModel, *, name: str, folder: Path) -> Path:
            if name.endswith(".safetensors"):
                (folder / name).write_bytes((self.place / name).read_bytes()[:1000])
                raise ModelError("the network is gone", code="model_unavailable")
            return super().download(remote, name=name, folder=folder)

    hub = Falls(published)
    with pytest.raises(ModelError):
        fetch(plan_fetch(CLIP, hub=hub), hub=hub, models_dir=tmp_path)
    assert installed(tmp_path) == []
    with pytest.raises(ModelError) as caught:
        open_model_folder(CLIP, models_dir=tmp_path)
    assert caught.value.code == "model_unavailable"
    whole = StubHub(published)
    fetch(plan_fetch(CLIP, hub=whole), hub=whole, models_dir=tmp_path)
    assert len(installed(tmp_path)) == 1
    assert [p.name for p in tmp_path.iterdir()] == [folder_name(CLIP)]


def test_a_download_that_is_not_what_the_hub_promised_is_deleted(
    published: Path, tmp_path: Path
) -> None:
    class Lies(StubHub):
        def download(self, remote: RemoteModel, *, name: str, folder: Path) -> Path:
            path = super().download(remote, name=name, folder=folder)
            if name.endswith(".safetensors"):
                path.write_bytes(path.read_bytes()[:-1] + b"x")
            return path

    hub = Lies(published)
    with pytest.raises(ModelError) as caught:
        fetch(plan_fetch(CLIP, hub=hub), hub=hub, models_dir=tmp_path)
    assert caught.value.code == "model_hash_mismatch"
    assert not list(tmp_path.rglob("*.safetensors"))


def test_repositories_without_safetensors_or_with_code_are_refused(
    published: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "hub"
    shutil.copytree(published, copy)
    (copy / "open_clip_model.safetensors").rename(copy / "kept")
    with pytest.raises(ModelError, match="can run code") as caught:
        plan_fetch(CLIP, hub=StubHub(copy))
    assert caught.value.code == "unsafe_weights"
    (copy / "open_clip_model.safetensors").write_bytes(b"\x80\x04 a pickle, renamed")
    with pytest.raises(ModelError) as caught:
        fetch(plan_fetch(CLIP, hub=StubHub(copy)), hub=StubHub(copy), models_dir=tmp_path / "m")
    assert caught.value.code == "unsafe_weights"
    (copy / "kept").rename(copy / "open_clip_model.safetensors")
    (copy / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": "x.Y"}}))
    with pytest.raises(ModelError) as caught:
        fetch(plan_fetch(CLIP, hub=StubHub(copy)), hub=StubHub(copy), models_dir=tmp_path / "m")
    assert caught.value.code == "remote_code_refused"
    assert installed(tmp_path / "m") == []


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
        ("open_clip:hf-hub:a/b", "a/b"),
        ("clap:laion/clap-htsat-unfused", "laion/clap-htsat-unfused"),
    ],
)
def test_names_lead_to_repositories(name: str, repository: str) -> None:
    assert repository_of(name) == repository


def test_names_that_open_clip_does_not_know_list_its_tags() -> None:
    with pytest.raises(ModelError, match="laion2b_s34b_b79k") as caught:
        repository_of("open_clip:ViT-B-32/nothing")
    assert caught.value.code == "unknown_model"
    with pytest.raises(ModelError) as caught:
        repository_of("gpt")
    assert caught.value.code == "unknown_model"


def test_without_a_network_the_real_hub_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSFIND_OFFLINE", "1")
    with pytest.raises(ModelError, match="--models-dir") as caught:
        HuggingFaceHub().describe("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", revision="")
    assert caught.value.code == "model_unavailable"


def test_the_real_hub_client_is_asked_for_the_pinned_commit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    asked: dict[str, object] = {}

    def answer(_self: object, repo: str, **options: object) -> object:
        asked["describe"] = (repo, options["revision"], options["files_metadata"])
        return huggingface_hub.hf_api.ModelInfo(
            id=repo, sha="f" * 40, tags=["license:mit"], private=False, downloads=0,
            siblings=[{"rfilename": "w.safetensors", "size": 7,
                       "lfs": {"size": 7, "sha256": "aa", "pointerSize": 1}},
                      {"rfilename": "c.json", "size": 3}],
        )  # fmt: skip

    def download(repo: str, **options: object) -> str:
        asked["download"] = (repo, options["filename"], options["revision"])
        return str(tmp_path / "c.json")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", answer)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    remote = HuggingFaceHub().describe("a/b", revision="")
    assert (remote.revision, remote.licence) == ("f" * 40, "mit")
    assert [(f.name, f.size_bytes, f.sha256) for f in remote.files] == [
        ("w.safetensors", 7, "aa"), ("c.json", 3, "")]  # fmt: skip
    HuggingFaceHub().download(remote, name="c.json", folder=tmp_path)
    assert asked == {"describe": ("a/b", None, True), "download": ("a/b", "c.json", "f" * 40)}


# --- the commands ------------------------------------------------------------------------------


def run(*args: str | Path, models_dir: Path) -> tuple[int, str, str]:
    runner = CliRunner(env={"CROSSFIND_MODELS_DIR": str(models_dir)})
    done = runner.invoke(models_command, [str(a) for a in args])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def test_fetch_shows_the_licence_before_the_first_byte(published: Path, tmp_path: Path) -> None:
    code, out, err = run("fetch", CLIP, "--from", published, "--licence", "cc-by-4.0", "--json",
                         models_dir=tmp_path)  # fmt: skip
    assert code == 0
    assert json.loads(out)["name"] == CLIP
    assert err.index("licence: cc-by-4.0") < err.index("open_clip_model.safetensors (")
    code, out, _ = run("list", models_dir=tmp_path)
    assert CLIP in out
    assert "starter" in out
    code, out, _ = run("show", CLIP, "--json", models_dir=tmp_path)
    shown = json.loads(out)
    assert shown["source"]["licence"] == "cc-by-4.0"
    assert shown["spaces"][0]["dim"] == 24


def test_fetch_by_name_goes_to_the_hub(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = StubHub(published)
    monkeypatch.setattr("retrieval.cli.models_fetch.HuggingFaceHub", lambda: hub)
    code, _, err = run("fetch", CLIP, models_dir=tmp_path)
    assert code == 0
    assert tiny_models.REVISION in err
    assert open_encoder(CLIP, threads=1, models_dir=tmp_path).spaces[0].dim == 24


def test_check_judges_an_untrained_model_as_broken_and_an_altered_one_by_its_hash(
    published: Path, tmp_path: Path
) -> None:
    path = fetching.adopt(CLIP, source=published, models_dir=tmp_path)
    code, out, _ = run("check", CLIP, "--json", models_dir=tmp_path)
    checks = {(c["name"], c["subject"]): c["passed"] for c in json.loads(out)["checks"]}
    assert checks["alignment", "image-text"] is False, "random towers cannot be aligned"
    assert code == 7
    with (path / "open_clip_model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    with pytest.raises(ModelError) as caught:
        run("check", CLIP, models_dir=tmp_path)
    assert caught.value.code == "model_hash_mismatch"


@pytest.mark.parametrize("int8", [False, True])
def test_an_exported_tower_is_used_only_if_it_is_faster_and_as_good(
    published: Path, tmp_path: Path, int8: bool
) -> None:
    pytest.importorskip("onnx", reason="pip install 'crossfind[export]'")
    path = fetching.adopt(CLIP, source=published, models_dir=tmp_path)
    original = open_encoder(CLIP, threads=1, models_dir=tmp_path)
    pictures = [np.random.default_rng(3).integers(0, 256, (32, 32, 3), dtype=np.uint8)] * 3
    before = {"image": original.encode(pictures, modality="image"),
              "text": original.encode(["a dog", "a cat"], modality="text")}  # fmt: skip
    flags = ["--int8"] if int8 else []
    code, _, _ = run("export", CLIP, "--threads", "1", *flags, models_dir=tmp_path)
    assert code == 0
    reports = {r.modality: r for r in read_reports(path)}
    assert set(reports) == {"image", "text"}
    for report in reports.values():
        assert report.used == (report.cosine >= LEAST_COSINE and report.speedup > 1)
        if not int8:
            assert report.cosine > 0.9999
    # Opened again, the copies that won serve; here they are made to win, to see that they do.
    raw = json.loads((path / "onnx.json").read_text())
    for row in raw["towers"]:
        row["used"] = True
    (path / "onnx.json").write_text(json.dumps(raw))
    again = open_encoder(CLIP, threads=1, models_dir=tmp_path)
    least = 0.9 if int8 else 0.9999
    for modality, inputs in (("image", pictures), ("text", ["a dog", "a cat"])):
        made = again.encode(inputs, modality=modality)
        assert float((made * before[modality]).sum(axis=1).min()) > least
    assert again._host is None, "torch was used although a copy serves"
    exported = path / raw["towers"][0]["file"]
    exported.write_bytes(exported.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError) as caught:
        open_encoder(CLIP, threads=1, models_dir=tmp_path).encode(pictures, modality="image")
    assert caught.value.code == "model_hash_mismatch"


def test_show_remote_tells_licence_and_size_and_brings_nothing(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = StubHub(published)
    monkeypatch.setattr("retrieval.cli.models_show.HuggingFaceHub", lambda: hub)
    code, out, _ = run("show", CLIP, "--remote", "--json", models_dir=tmp_path)
    shown = json.loads(out)
    assert code == 0
    assert shown["licence"] == "mit"
    assert shown["source"] == f"test/tiny at {tiny_models.REVISION}"
    assert shown["size_bytes"] > (published / "open_clip_model.safetensors").stat().st_size
    assert (hub.downloads, list(tmp_path.iterdir())) == ([], [])
    assert run("show", "starter", "--revision", "main", models_dir=tmp_path)[0] == 2
