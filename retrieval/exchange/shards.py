"""Shards of webdataset and img2dataset: media inside tar files, read member by member.

Nothing is unpacked: a member's own name never becomes a path on disk, links, devices and folders
are passed over, and the bytes go to the guarded decoders under names made here.
"""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from retrieval.add_batch import Collector
from retrieval.catalog.store import Catalog
from retrieval.encoders.base import Encoder
from retrieval.errors import InputError, UsageError
from retrieval.exchange.new_store import Imported
from retrieval.media import Loader, find_file
from retrieval.media.kinds import AUDIO_SUFFIXES, IMAGE_SUFFIXES, VIDEO_SUFFIXES
from retrieval.store import Store, create_store
from retrieval.types import Failure

__all__ = ["find_shards", "import_shards"]

MAX_MEMBER_BYTES = 256 << 20
_MAX_TEXT_BYTES = 1 << 20
_BATCH = 128
_MEDIA = IMAGE_SUFFIXES | AUDIO_SUFFIXES | VIDEO_SUFFIXES


@dataclass
class _Sample:
    """Members of one key: a picture or sound, and its caption.

    Attributes:
        name: path of the shard and, behind a slash, the member's name.
        suffix: of the media, lower case; empty where there is none.
        data: of the media.
        caption: from `.txt`, or `caption` of `.json`.
        refused: why it cannot be used, or empty.
    """

    name: str = ""
    suffix: str = ""
    data: bytes = field(default=b"", repr=False)
    caption: str = ""
    refused: str = ""


def find_shards(path: Path) -> list[Path]:
    """List the .tar files of a folder in order of their names; a .tar file is itself its list."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".tar" else []
    return sorted(path.glob("*.tar"))


def import_shards(
    path: Path, *, store: Path, encoder: Encoder, loader: Loader, catalog_url: str = ""
) -> Imported:
    """Encode the media of shards into a new store; their paths are `SHARD.tar/MEMBER`.

    Members of one key (the name up to its first dot) belong together: a picture, sound or video
    with its `.txt`, or the `caption` of its `.json`, as caption.

    Args:
        path: a folder of .tar files, or one.
        store: the new store's directory.
        encoder: of the model; everything is encoded.
        loader: decodes as the encoder wants.
        catalog_url: of a catalog that is not the store's own SQLite file.

    Returns:
        What was brought in; bad members are counted, and named by `crossfind index errors`.

    Raises:
        UsageError: no shard there (`not_an_export`), or the store is not new (`store_in_use`).
        InputError: a shard is no tar file or ends in the middle (`bad_export`).
    """
    shards = find_shards(path)
    if not shards:
        raise UsageError(f"{path} holds no .tar file", code="not_an_export")
    made = create_store(store)
    with made.lock():
        new = not made.catalog_path.exists()
        catalog = Catalog.open(made.catalog_path, uuid=made.uuid, url=catalog_url, create=new)
        try:
            with catalog.reading() as reader:
                if reader.spaces() or reader.segments():
                    raise UsageError(
                        f"{store} holds something already; import into a new store",
                        code="store_in_use",
                    )
            return _take_all(shards, made, catalog, encoder=encoder, loader=loader)
        finally:
            catalog.close()


def _take_all(
    shards: list[Path], store: Store, catalog: Catalog, *, encoder: Encoder, loader: Loader
) -> Imported:
    collector = Collector(catalog=catalog, store=store, encoder=encoder)
    n_items = n_parts = n_bad = 0
    samples = (sample for shard in shards for sample in read_shard(shard))
    while batch := list(islice(samples, _BATCH)):
        with tempfile.TemporaryDirectory(prefix="crossfind-shard-") as folder:
            _take(batch, Path(folder), collector, loader)
        done = collector.commit()
        n_items, n_parts, n_bad = (
            n_items + done.n_added, n_parts + done.n_parts, n_bad + done.n_bad
        )  # fmt: skip
    if not n_items:
        raise InputError(
            f"no picture, sound or video of {shards[0].parent} could be used; {n_bad} are bad",
            code="bad_export",
        )
    return Imported(str(store.root), encoder.spaces[0], n_parts, n_items, n_bad)


def _take(batch: list[_Sample], folder: Path, collector: Collector, loader: Loader) -> None:
    names: dict[str, str] = {}
    for number, sample in enumerate(batch):
        if sample.refused:
            failure = Failure(sample.name, "too_many_bytes", sample.refused)
            collector.take_failure(failure, size_bytes=-1, mtime_ns=-1, stamp="")
            continue
        place = folder / f"{number:04}{sample.suffix}"
        place.write_bytes(sample.data)
        if sample.caption:
            place.with_suffix(".txt").write_text(sample.caption, encoding="utf-8")
        names[os.path.realpath(place)] = sample.name
    jobs = (find_file(Path(place)) for place in names)
    for found, outcome in loader.load_many(jobs):
        name = names[os.path.realpath(found.path)]
        if isinstance(outcome, Failure):
            reason = outcome.reason.replace(outcome.path, name)
            failure = replace(outcome, path=name, reason=reason)
            collector.take_failure(failure, size_bytes=found.size_bytes, mtime_ns=-1, stamp="")
        else:
            collector.take(replace(found, path=name), outcome)


def read_shard(shard: Path) -> Iterator[_Sample]:
    """Read a shard's samples in order.

    Args:
        shard: an uncompressed tar file.

    Yields:
        Each sample that has media.

    Raises:
        InputError: it is no tar file, or ends in the middle (`bad_export`).
    """
    try:
        with tarfile.open(shard, mode="r:") as tar:
            key, sample = "", _Sample()
            for member in tar:
                if not member.isreg():
                    continue
                folder, _, base = member.name.rpartition("/")
                own = f"{folder}/{base.partition('.')[0]}"
                if own != key:
                    if sample.suffix:
                        yield sample
                    key, sample = own, _Sample()
                _add(sample, member, tar, shard)
            if sample.suffix:
                yield sample
    except FileNotFoundError as error:
        raise UsageError(f"{shard} is missing", code="not_an_export") from error
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError(f"{shard} cannot be read: {error}", code="bad_export") from error


def _add(sample: _Sample, member: tarfile.TarInfo, tar: tarfile.TarFile, shard: Path) -> None:
    suffix = os.path.splitext(member.name)[1].lower()
    if suffix in _MEDIA and not sample.suffix:
        sample.name = f"{shard.absolute()}/{member.name.lstrip('/')}"
        sample.suffix = suffix
        if member.size > MAX_MEMBER_BYTES:
            sample.refused = (
                f"{member.name} has {member.size} bytes; at most {MAX_MEMBER_BYTES} are read"
            )
        else:
            sample.data = _bytes(tar, member)
    elif suffix == ".txt" and member.size <= _MAX_TEXT_BYTES:
        sample.caption = _bytes(tar, member).decode("utf-8", "replace").strip()
    elif suffix == ".json" and member.size <= _MAX_TEXT_BYTES and not sample.caption:
        sample.caption = _json_caption(_bytes(tar, member))


def _bytes(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)
    data = stream.read() if stream is not None else b""
    if len(data) != member.size:
        raise EOFError(f"{member.name} ends in the middle")
    return data


def _json_caption(data: bytes) -> str:
    try:
        value = json.loads(data)
    except ValueError:
        return ""
    caption = value.get("caption") if isinstance(value, dict) else None
    return caption.strip() if isinstance(caption, str) else ""
