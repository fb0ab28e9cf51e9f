"""An index in Milvus as a store knows it: a small file in `derived/` that tells where it is.

The file is published and named by hash like any index file, so that a commit, a backup and the
collection of garbage treat it alike. It holds no secret. A connection is made only to the address
in the settings, whatever the file says: a store from elsewhere cannot have this computer call
somebody.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from index.storage import hash_file, publish
from index.types import Ids
from retrieval.errors import DamagedError, UnreachableError
from retrieval.store import Store

if TYPE_CHECKING:
    from index.remote import MilvusIndex
    from index.remote_server import FieldKind, MilvusServer
    from index.row_blocks import RowBlock

SUFFIX = ".milvus.json"
MILVUS_KIND = "milvus"
LITE = "milvus-lite"
"""Address of Milvus Lite inside the store."""
_LITE_NAME = "milvus.db"


@dataclass(frozen=True, slots=True)
class Remote:
    """Where Milvus is.

    Attributes:
        address: `milvus://HOST:PORT`, a file of Milvus Lite, or `milvus-lite`.
        token: what it asks for; empty for nothing.
    """

    address: str
    token: str = ""

    @property
    def is_lite(self) -> bool:
        """Tell whether it is Milvus Lite."""
        return "://" not in self.address

    def connect(self, store: Store) -> MilvusServer:
        """Open a connection.

        Raises:
            InputError, BackendMissingError, UnreachableError: see `MilvusServer`.
        """
        from index.remote_server import MilvusServer

        inside = str(store.derived / _LITE_NAME)
        return MilvusServer(inside if self.address == LITE else self.address, token=self.token)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """What the file in `derived/` says.

    Attributes:
        address: where the collection was made.
        collection: its name.
        algorithm, parameters: of the index, the settled effort among them.
        partitions: names, in the order of their numbers.
        labels: by segment, int8 numbers of its vectors' partitions, packed by `pack_labels`.
        n_rows: that the collection had when it was complete.
        fields: name -> kind, of its rows.
        pushes: it was measured to find with filters what it finds without.
    """

    address: str
    collection: str
    algorithm: str
    parameters: dict[str, int]
    partitions: list[str]
    labels: dict[str, str]
    n_rows: int
    fields: dict[str, FieldKind] = field(default_factory=dict)  # older builds had none
    pushes: bool = False


def pack_labels(labels: npt.NDArray[np.int8]) -> str:
    """Write labels as text: most follow their like, so that little is left of them.

    Example:
        >>> unpack_labels(pack_labels(np.array([0, 0, -1], np.int8))).tolist()
        [0, 0, -1]
    """
    return base64.b64encode(zlib.compress(labels.tobytes(), 6)).decode("ascii")


def unpack_labels(text: str) -> npt.NDArray[np.int8]:
    """Read what `pack_labels` wrote."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.int8)


def collection_prefix(store: Store) -> str:
    """Begin the names of all collections of a store; several stores may share a Milvus."""
    return f"crossfind_{store.uuid.replace('-', '')}_"


def write_remote_file(content: RemoteFile, path: Path, *, tmp: Path) -> str:
    """Publish the file; return its SHA-256."""

    def write(sink: BinaryIO) -> None:
        sink.write(json.dumps(asdict(content)).encode())

    return publish(path, tmp=tmp, write=write)


def read_remote_file(path: Path, *, sha256: str = "") -> RemoteFile:
    """Read the file back.

    Args:
        path: of the file.
        sha256: of its bytes; empty where nobody knows it.

    Raises:
        DamagedError: it is gone, or not what was written.
    """
    try:
        if sha256 and hash_file(path) != sha256:
            raise DamagedError(f"{path} is not what was written")
        raw: dict[str, Any] = json.loads(path.read_bytes())
        return RemoteFile(**raw)
    except (OSError, ValueError, TypeError) as error:
        raise DamagedError(f"{path} cannot be read: {error}") from error


def open_remote(
    path: Path,
    *,
    sha256: str,
    remote: Remote,
    store: Store,
    dim: int,
    segments: Sequence[tuple[RowBlock, Ids]],
) -> MilvusIndex:
    """Open the index that a file tells of.

    Args:
        path, sha256: of the file.
        remote: the address to connect to; must be the one in the file.
        store: whose index it is.
        dim: length of a vector.
        segments: rows and ids of the segments that were there when it was built.

    Raises:
        DamagedError: the file or the collection is not what was written.
        UnreachableError: Milvus does not answer, or the settings name another one.
    """
    from index.remote import MilvusIndex

    known = read_remote_file(path, sha256=sha256)
    if known.address != remote.address:
        raise UnreachableError(
            f"the index is in Milvus at {known.address} and the settings name "
            f"{remote.address or 'none'}; set CROSSFIND_INDEX={known.address} if you trust it"
        )
    server = remote.connect(store)
    ix = MilvusIndex(
        dim,
        server=server,
        collection=known.collection,
        partitions=known.partitions,
        fields=known.fields,
        algorithm=known.algorithm,
        is_there=True,
        **known.parameters,
    )
    ix.pushes = known.pushes
    n_rows = server.count(known.collection)
    if n_rows < known.n_rows:
        raise DamagedError(
            f"collection {known.collection} has {n_rows} of {known.n_rows} rows; "
            "build it again with: crossfind index rebuild"
        )
    for block, ids in segments:
        labels = unpack_labels(known.labels[block.name])
        ix.add_block(block, ids=ids, labels=labels, is_there=True)
    return ix


def drop_unnamed(server: MilvusServer, *, store: Store) -> int:
    """Delete the collections of a store that no file in `derived/` names; return how many."""
    kept = {read_remote_file(path).collection for path in store.derived.glob(f"*{SUFFIX}")}
    n_dropped = 0
    for name in server.names():
        if name.startswith(collection_prefix(store)) and name not in kept:
            server.drop(name)
            n_dropped += 1
    return n_dropped
