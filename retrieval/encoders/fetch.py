"""Bringing a model into the models folder: from a hub, or from a folder of the user's own.

What is kept is configuration, tokenizer and one safetensors file, at one commit, each with its
SHA-256. It appears whole or not at all: files arrive in a hidden folder that no encoder opens.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from index.storage import fsync_dir
from retrieval.encoders.clap import PREFIX as CLAP
from retrieval.encoders.clip import CONFIG, TEXT_TOWER
from retrieval.encoders.clip import PREFIX as OPEN_CLIP
from retrieval.encoders.hub import Hub, RemoteFile, RemoteModel
from retrieval.encoders.model_folder import (
    UNSAFE_SUFFIXES,
    FileEntry,
    Manifest,
    entry_of,
    folder_name,
    refuse_remote_code,
    refuse_unsafe,
    write_manifest,
)
from retrieval.errors import ModelError, StorageError

# In this order: the first one there is taken.
_WEIGHTS = {
    OPEN_CLIP: ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors"),
    CLAP: ("model.safetensors",),
}
_NEEDED = {OPEN_CLIP: (CONFIG,), CLAP: ("config.json", "preprocessor_config.json")}
_SUFFIXES = (".json", ".txt", ".model")
_MOST_SMALL_BYTES = 64 << 20
_HUB = "hf-hub:"

OnFile = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """What a fetch will bring.

    Attributes:
        name: of the model.
        remote: its repository at one commit.
        weights: the safetensors file.
        files: all files wanted.
    """

    name: str
    remote: RemoteModel
    weights: str
    files: tuple[RemoteFile, ...]

    @property
    def size_bytes(self) -> int:
        """Count the bytes to come."""
        return sum(file.size_bytes for file in self.files)


def repository_of(name: str) -> str:
    """Name the hub repository of a model.

    Args:
        name: `open_clip:NAME/TAG`, `open_clip:hf-hub:ORG/REPO` or `clap:ORG/REPO`.

    Raises:
        ModelError: no such model (`unknown_model`), or open_clip knows no repository of it
            (`model_unavailable`).

    Example:
        >>> repository_of("clap:laion/clap-htsat-unfused")
        'laion/clap-htsat-unfused'
    """
    if name.startswith(CLAP):
        return name.removeprefix(CLAP)
    if not name.startswith(OPEN_CLIP):
        raise ModelError(
            f"'{name}' is no model that can be fetched; it must begin with {OPEN_CLIP} or {CLAP}",
            code="unknown_model",
        )
    bare = name.removeprefix(OPEN_CLIP)
    if bare.startswith(_HUB):
        return bare.removeprefix(_HUB)
    return _open_clip_repository(bare, name=name)


def plan_fetch(name: str, *, hub: Hub, revision: str = "") -> FetchPlan:
    """Look at a model's repository and choose what to bring; nothing is downloaded.

    Args:
        name: of the model.
        hub: where it lies.
        revision: branch, tag or commit; the newest commit when empty.

    Raises:
        ModelError: see `repository_of`; no safetensors there (`unsafe_weights`), or files missing
            (`model_not_supported`); the hub is out of reach (`model_unavailable`).
    """
    prefix = OPEN_CLIP if name.startswith(OPEN_CLIP) else CLAP
    remote = hub.describe(repository_of(name), revision=revision)
    names = {file.name: file for file in remote.files}
    weights = next((w for w in _WEIGHTS[prefix] if w in names), "")
    where = f"{remote.repo} at {remote.revision[:12]}"
    if not weights:
        found = [n for n in names if n.endswith(UNSAFE_SUFFIXES)]
        raise ModelError(
            f"{where} has no {' or '.join(_WEIGHTS[prefix])}"
            + (f", only {', '.join(found[:3])}, which can run code" if found else "")
            + "; name a --revision that has one",
            code="unsafe_weights" if found else "model_not_supported",
        )
    lacking = [n for n in _NEEDED[prefix] if n not in names]
    if lacking:
        raise ModelError(
            f"{where} has no {', '.join(lacking)}; it is not a model that {prefix}... can open",
            code="model_not_supported",
        )
    small = [
        file
        for file in remote.files
        if file.name.rpartition("/")[0] in ("", TEXT_TOWER)
        and file.name.endswith(_SUFFIXES)
        and file.size_bytes <= _MOST_SMALL_BYTES
    ]
    return FetchPlan(name, remote, weights, (*small, names[weights]))


def fetch(plan: FetchPlan, *, hub: Hub, models_dir: Path, on_file: OnFile | None = None) -> Path:
    """Bring a model into the models folder.

    Args:
        plan: from `plan_fetch`.
        hub: where it lies.
        models_dir: where it shall lie.
        on_file: told each file's name and size before it comes.

    Returns:
        The model's folder.

    Raises:
        ModelError: a file is not what the hub promised (`model_hash_mismatch`), is not safetensors
            (`unsafe_weights`) or wants code of its own (`remote_code_refused`).
        StorageError: the disk refused.
    """
    partial = _partial(plan.name, models_dir=models_dir)
    for file in plan.files:
        if on_file is not None:
            on_file(file.name, file.size_bytes)
        path = hub.download(plan.remote, name=file.name, folder=partial)
        _check_download(file, path)
    _fetch_text_tower(partial, hub=hub)
    # The client's own notes about an interrupted download are no part of the model.
    shutil.rmtree(partial / ".cache", ignore_errors=True)
    manifest = _manifest(plan, partial)
    return _install(partial, manifest=manifest, models_dir=models_dir)


def adopt(name: str, *, source: Path, models_dir: Path, licence: str = "unknown") -> Path:
    """Bring a model from a folder that was downloaded by other means.

    Args:
        name: what the model is called from now on.
        source: folder with the hub's files.
        models_dir: where it shall lie.
        licence: what the user knows of it.

    Returns:
        The model's folder.

    Raises:
        ModelError: as `plan_fetch` and `fetch`.
    """
    hub = FolderHub(source, licence=licence)
    return fetch(plan_fetch(name, hub=hub), hub=hub, models_dir=models_dir)


class FolderHub:
    """A folder in the place of a hub.

    Args:
        folder: with the files of one repository, directly in it.
        licence: what to say of it.
    """

    def __init__(self, folder: Path, *, licence: str) -> None:
        self._folder = folder
        self._licence = licence
        self._repo = ""

    def describe(self, repo: str, *, revision: str) -> RemoteModel:
        """List the folder's files."""
        if not self._folder.is_dir():
            raise ModelError(f"no folder at {self._folder}; name one with the model's files",
                             code="model_unavailable")  # fmt: skip
        self._repo = self._repo or repo
        if repo != self._repo:
            raise ModelError(
                f"the model also needs config.json of {repo}; put it into "
                f"{self._folder / TEXT_TOWER}",
                code="model_not_supported",
            )
        files = [
            RemoteFile(str(p.relative_to(self._folder)), p.stat().st_size, "")
            for p in sorted(self._folder.rglob("*"))
            if p.is_file()
        ]
        return RemoteModel(repo, revision, self._licence, tuple(files))

    def download(self, remote: RemoteModel, *, name: str, folder: Path) -> Path:  # noqa: ARG002
        """Copy one file."""
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(self._folder / name, target)
        except OSError as error:
            raise StorageError(f"cannot copy {self._folder / name} to {target}: {error}") from error
        return target


def _open_clip_repository(bare: str, *, name: str) -> str:
    from retrieval.encoders.torch_cure import cure_torchvision

    cure_torchvision()
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    model, _, tag = bare.partition("/")
    known = dict.fromkeys(open_clip.list_pretrained_tags_by_model(model))
    if model not in open_clip.list_models() or tag not in known:
        hint = f"its tags: {', '.join(known)}" if known else "see: crossfind models list --known"
        raise ModelError(f"open_clip knows no '{bare}'; {hint}", code="unknown_model")
    place = str(get_pretrained_cfg(model, tag).get("hf_hub", ""))
    repo = "/".join(place.split("/")[:2])
    if repo.count("/") != 1:
        raise ModelError(
            f"open_clip has only a download without safetensors for '{name}'; choose another tag "
            f"of {', '.join(known)}",
            code="model_unavailable",
        )
    return repo


def _fetch_text_tower(partial: Path, *, hub: Hub) -> None:
    """Bring the configuration of a text tower that transformers builds, from its own repository."""
    path = partial / CONFIG
    if not path.is_file():
        return
    text = json.loads(path.read_text(encoding="utf-8")).get("model_cfg", {}).get("text_cfg", {})
    repo = text.get("hf_model_name")
    if not repo or (partial / TEXT_TOWER / "config.json").is_file():
        return
    remote = hub.describe(str(repo), revision="")
    hub.download(remote, name="config.json", folder=partial / TEXT_TOWER)


def _partial(name: str, *, models_dir: Path) -> Path:
    partial = models_dir / f".partial-{folder_name(name)}"
    try:
        partial.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {partial}: {error}; name another --models-dir",
                           code="disk_read_only") from error  # fmt: skip
    return partial


def _check_download(file: RemoteFile, path: Path) -> None:
    entry = entry_of(path)
    if file.sha256 and entry != FileEntry(file.sha256, file.size_bytes):
        path.unlink()
        raise ModelError(
            f"{file.name} arrived as sha256 {entry.sha256[:12]}, the hub promised "
            f"{file.sha256[:12]}; it was deleted; run the same command again",
            code="model_hash_mismatch",
        )
    if file.name.endswith(".safetensors"):
        refuse_unsafe(path)


def _manifest(plan: FetchPlan, partial: Path) -> Manifest:
    files: dict[str, FileEntry] = {}
    wanted = {file.name for file in plan.files}
    for path in sorted(partial.rglob("*")):
        name = str(path.relative_to(partial))
        if path.is_file() and (name in wanted or name.startswith(f"{TEXT_TOWER}/")):
            files[name] = entry_of(path)
            if path.suffix == ".json" and path.name.endswith("config.json"):
                refuse_remote_code(json.loads(path.read_text(encoding="utf-8")), where=path)
    return Manifest(
        name=plan.name,
        source=plan.remote.repo,
        revision=plan.remote.revision,
        licence=plan.remote.licence,
        weights=plan.weights,
        files=files,
    )


def _install(partial: Path, *, manifest: Manifest, models_dir: Path) -> Path:
    """Give the folder its name; an older version of the model makes room."""
    target = models_dir / folder_name(manifest.name)
    for stray in set(partial.rglob("*")):
        if stray.is_file() and str(stray.relative_to(partial)) not in manifest.files:
            stray.unlink()
    write_manifest(partial, manifest=manifest)
    try:
        if target.exists():
            old = models_dir / f".old-{target.name}"
            shutil.rmtree(old, ignore_errors=True)
            os.rename(target, old)
            os.rename(partial, target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(partial, target)
        fsync_dir(models_dir)
    except OSError as error:
        raise StorageError(f"cannot put the model at {target}: {error}") from error
    return target
