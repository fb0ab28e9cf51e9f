"""A folder of pretrained weights: where it lies, what its manifest promises, and what is refused.

    <models folder>/<name with -- for what a file name cannot hold>/
        crossfind.json      name, source, revision, licence, SHA-256 and size of every file
        ...                 the files as the hub has them: configuration, tokenizer, safetensors

Only safetensors are ever read as weights. Nothing that could run is fetched, kept or opened.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from index.storage import hash_file, publish
from retrieval.config import expand_home, load_settings
from retrieval.errors import ModelError
from retrieval.types import Modality, Space

MANIFEST = "crossfind.json"
FORMAT = "crossfind-weights"
FORMAT_VERSION = 1
# What loads by running code, whatever it is called.
UNSAFE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".npz", ".h5", ".msgpack")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file as the manifest knows it."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `crossfind.json` says.

    Attributes:
        name: of the model, as a user writes it.
        source: where it came from, e.g. `laion/CLIP-ViT-B-32-laion2B-s34B-b79K`.
        revision: commit of the source, 40 hex digits; empty for a folder of the user's own.
        licence: as the source names it.
        weights: name of the safetensors file.
        files: name -> hash and size, of every file that counts.
    """

    name: str
    source: str
    revision: str
    licence: str
    weights: str
    files: Mapping[str, FileEntry]


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """An installed model.

    Attributes:
        path: the folder.
        manifest: what it must hold.
    """

    path: Path
    manifest: Manifest

    @property
    def fingerprint(self) -> str:
        """Digest every file by its recorded hash: weights, configuration and tokenizer."""
        digest = hashlib.sha256(b"crossfind weights 1\0")
        for name in sorted(self.manifest.files):
            digest.update(f"{name}\0{self.manifest.files[name].sha256}\0".encode())
        return digest.hexdigest()

    def json(self, name: str) -> dict[str, Any]:  # Any: another library's configuration
        """Read a configuration file that the manifest vouches for.

        Raises:
            ModelError: absent (`model_unavailable`), altered (`model_hash_mismatch`), or it asks
                for code of its own (`remote_code_refused`).
        """
        data = self._checked(name).read_bytes()
        try:
            found = json.loads(data)
        except ValueError as error:
            raise ModelError(f"{self.path / name} is not JSON ({error}); fetch the model again",
                             code="model_hash_mismatch") from error  # fmt: skip
        refuse_remote_code(found, where=self.path / name)
        return dict(found)

    def check_files(self) -> None:
        """Check every small file; the weights are checked when they are read.

        Raises:
            ModelError: a file is gone or altered (`model_hash_mismatch`).
        """
        for name in self.manifest.files:
            if name != self.manifest.weights:
                self._checked(name)

    def weights(self) -> Path:
        """Name the weights file, checked.

        Raises:
            ModelError: not safetensors (`unsafe_weights`), gone or altered
                (`model_hash_mismatch`).
        """
        path = self.path / self.manifest.weights
        if path.is_file():
            refuse_unsafe(path)
        return self._checked(self.manifest.weights)

    @contextmanager
    def filling(self) -> Iterator[Path]:
        """Name the weights file, checked, to a block that puts it into a model.

        Raises:
            ModelError: see `weights`; the block found no whole safetensors file
                (`unsafe_weights`) or tensors that do not fit its model (`model_shape`).
        """
        from safetensors import SafetensorError

        path = self.weights()
        try:
            yield path
        except SafetensorError as error:
            raise ModelError(
                f"{path} is no whole safetensors file ({error}); fetch it again",
                code="unsafe_weights",
            ) from error
        except (RuntimeError, OSError, ValueError, KeyError) as error:
            raise ModelError(
                f"{path} does not fit the model that its configuration describes: "
                f"{' '.join(str(error).split())[:300]}; fetch the model again",
                code="model_shape",
            ) from error

    def space(
        self,
        adapter: str,
        *,
        dim: int,
        modalities: tuple[Modality, ...],
        preprocessing: object = "",
    ) -> Space:
        """Describe the one Space of the model.

        Args:
            adapter: name and version of the code that makes its vectors.
            dim: length of a vector.
            modalities: what is encoded.
            preprocessing: what decides a vector beside the files and the code; JSON.
        """
        digest = hashlib.sha256(f"crossfind {adapter}\0{self.fingerprint}".encode())
        digest.update(json.dumps(preprocessing).encode() if preprocessing else b"")
        return Space(
            id=self.path.name,
            model=self.manifest.name,
            fingerprint=digest.hexdigest(),
            dim=dim,
            modalities=modalities,
            licence=self.manifest.licence,
        )

    def _checked(self, name: str) -> Path:
        entry = self.manifest.files.get(name)
        path = self.path / name
        fetch = f"crossfind models fetch {self.manifest.name}"
        if entry is None or not path.is_file():
            raise ModelError(
                f"model {self.manifest.name} needs {path}, which is not there; run: {fetch}",
                code="model_unavailable",
            )
        size_bytes = path.stat().st_size
        if size_bytes != entry.size_bytes or hash_file(path) != entry.sha256:
            raise ModelError(
                f"{path} is not the file that was fetched ({size_bytes:,} bytes, expected "
                f"{entry.size_bytes:,} with sha256 {entry.sha256[:12]}); delete the folder and "
                f"run: {fetch}",
                code="model_hash_mismatch",
            )
        return path


def models_folder(explicit: str | os.PathLike[str] | None = None) -> Path:
    """Name the folder with models: given, or the setting `models_dir`, or the user's data folder.

    Example:
        >>> models_folder("/models").name
        'models'
    """
    named = os.fspath(explicit) if explicit else load_settings().models_dir
    if named:
        return expand_home(named).absolute()
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "crossfind" / "models"


def folder_name(name: str) -> str:
    """Write a model's name as a folder's.

    Example:
        >>> folder_name("open_clip:ViT-B-32/laion2b_s34b_b79k")
        'open_clip--ViT-B-32--laion2b_s34b_b79k'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "--", name).lstrip(".")


def open_model_folder(name: str, *, models_dir: Path) -> ModelFolder:
    """Open an installed model's folder; no weights are read yet.

    Args:
        name: of the model.
        models_dir: see `models_folder`.

    Raises:
        ModelError: not installed, or only in part (`model_unavailable`, with the command that
            fetches it); unsafe weights (`unsafe_weights`); a manifest of another model, or not a
            manifest (`model_hash_mismatch`), or newer (`model_too_new`).
    """
    path = models_dir / folder_name(name)
    if not (path / MANIFEST).is_file():
        raise _not_installed(name, path=path, models_dir=models_dir)
    manifest = read_manifest(path / MANIFEST)
    if manifest.name != name:
        raise ModelError(
            f"{path} holds model {manifest.name}, not {name}; rename the folder to "
            f"{folder_name(manifest.name)}",
            code="model_hash_mismatch",
        )
    if not manifest.weights.endswith(".safetensors"):
        raise _unsafe(path / manifest.weights)
    return ModelFolder(path, manifest)


def installed(models_dir: Path) -> list[Manifest]:
    """List the models in a folder, by name; what is not a model is passed over."""
    if not models_dir.is_dir():
        return []
    paths = sorted(p for p in models_dir.glob(f"*/{MANIFEST}") if not p.parent.name.startswith("."))
    return [read_manifest(path) for path in paths]


def read_manifest(path: Path) -> Manifest:
    """Read a manifest; see `open_model_folder` for what is refused."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        version = int(raw["version"]) if raw["format"] == FORMAT else 0
        files = {str(n): FileEntry(str(e["sha256"]), int(e["size_bytes"]))
                 for n, e in raw["files"].items()}  # fmt: skip
        name, source, revision = str(raw["name"]), str(raw["source"]), str(raw["revision"])
        licence, weights = str(raw["licence"]), str(raw["weights"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path} is not a manifest of crossfind ({error!r}); fetch the model again",
            code="model_hash_mismatch",
        ) from error
    if version > FORMAT_VERSION:
        raise ModelError(
            f"{path} has format {version}; this crossfind knows up to {FORMAT_VERSION}; "
            "upgrade crossfind",
            code="model_too_new",
        )
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in files):
        raise ModelError(f"{path} names files outside its folder; fetch the model again",
                         code="model_hash_mismatch")  # fmt: skip
    return Manifest(name, source, revision, licence=licence, weights=weights, files=files)


def write_manifest(folder: Path, *, manifest: Manifest) -> None:
    """Write `crossfind.json`, whole or not at all: from then on the model is installed."""
    raw = {"format": FORMAT, "version": FORMAT_VERSION, **asdict(manifest)}
    text = json.dumps(raw, indent=1, sort_keys=True) + "\n"

    def write(sink: BinaryIO) -> None:
        sink.write(text.encode("utf-8"))

    publish(folder / MANIFEST, tmp=folder, write=write)


def entry_of(path: Path) -> FileEntry:
    """Hash a file for the manifest."""
    return FileEntry(hash_file(path), path.stat().st_size)


def refuse_unsafe(path: Path) -> None:
    """Refuse weights that are not safetensors, by name and by their first bytes.

    Raises:
        ModelError: `unsafe_weights`; nothing was unpickled.
    """
    with path.open("rb") as file:
        head = file.read(9)
    # A safetensors file begins with the length of a JSON header and the header's brace.
    n_header = int.from_bytes(head[:8], "little")
    fits = len(head) == 9 and 2 <= n_header <= path.stat().st_size - 8
    if not path.name.endswith(".safetensors") or not fits or head[8:] != b"{":
        raise _unsafe(path)


def refuse_remote_code(config: object, *, where: Path) -> None:
    """Refuse a configuration that names code to run.

    Raises:
        ModelError: `remote_code_refused`.

    Example:
        >>> refuse_remote_code({"dim": 4}, where=Path("config.json"))
    """
    if isinstance(config, dict):
        for key, value in config.items():
            if key in ("auto_map", "trust_remote_code", "custom_pipelines") and value:
                raise ModelError(
                    f"{where} asks for code of its own ('{key}'); crossfind never runs code that "
                    "comes with a model; choose a model that open_clip or transformers knows",
                    code="remote_code_refused",
                )
            refuse_remote_code(value, where=where)


def _unsafe(path: Path) -> ModelError:
    return ModelError(
        f"{path} is no safetensors file: such weights can run code, so not a byte of it was "
        "loaded; fetch a revision with .safetensors, or convert it elsewhere",
        code="unsafe_weights",
    )


def _not_installed(name: str, *, path: Path, models_dir: Path) -> ModelError:
    if path.is_dir():
        for child in sorted(path.iterdir()):
            if child.suffix in UNSAFE_SUFFIXES:
                return _unsafe(child)
    return ModelError(
        f"model {name} is not in {models_dir}; run: crossfind models fetch {name} - or, where a "
        f"machine has no network, run that elsewhere with --models-dir DIR and copy "
        f"DIR/{folder_name(name)} to {path}",
        code="model_unavailable",
    )
