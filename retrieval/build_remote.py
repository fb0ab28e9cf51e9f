"""Filling a collection of Milvus from segments: all of them, or those that came since."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from index.build import Source
from index.types import Ids, Plan
from retrieval.catalog.records import DerivedEntry, PartScalars
from retrieval.errors import DamagedError
from retrieval.remote import (
    SUFFIX,
    Remote,
    RemoteFile,
    collection_prefix,
    pack_labels,
    read_remote_file,
    unpack_labels,
    write_remote_file,
)
from retrieval.remote_fields import FIELDS, NO_SCALARS, field_values
from retrieval.store import Store
from retrieval.types import Space

if TYPE_CHECKING:
    from index.remote import MilvusIndex
    from index.remote_server import MilvusServer, Values

LookUp = Callable[[Sequence[int]], Mapping[int, PartScalars]]


@dataclass(frozen=True, slots=True)
class RemoteBuild:
    """An index in Milvus that is not published yet.

    Attributes:
        ix: the index, searchable.
        labels: by segment, as `RemoteFile` has them.
    """

    ix: MilvusIndex
    labels: dict[str, str]


def build_remote(
    plan: Plan,
    space: Space,
    sources: Sequence[Source],
    *,
    remote: Remote,
    store: Store,
    ids: Mapping[str, Ids],
    scalars: LookUp,
    before: DerivedEntry | None,
) -> RemoteBuild:
    """Bring a collection to hold every live vector.

    Rows are written under their ids, so a build that was broken off is simply run again.

    Args:
        plan: from `choose_remote`.
        space: whose vectors.
        sources: segments, named.
        remote: where.
        store: whose they are.
        ids: part ids by modality: a partition each.
        scalars: finds what parts can be filtered by.
        before: the index before, whose collection is filled further; None for a new one.

    Raises:
        UnreachableError: Milvus does not answer.
    """
    from index.remote import MilvusIndex

    server = remote.connect(store)
    known = None
    if before is not None:
        known = _known(before, remote=remote, server=server, store=store, plan=plan)
    partitions = known.partitions if known else list(ids)
    parameters = {name: int(v) for name, v in plan.parameters.items() if name != "algorithm"}
    ix = MilvusIndex(
        space.dim,
        server=server,
        collection=known.collection if known else _new_name(space, store),
        partitions=partitions,
        fields=FIELDS,
        algorithm=plan.factory,
        is_there=known is not None,
        **(known.parameters if known else parameters),
    )
    held = known.labels if known else {}
    labels: dict[str, str] = {}
    for source in sources:
        name = source.block.name
        there = name in held
        of = unpack_labels(held[name]) if there else _labels(source.ids, ids, partitions)
        labels[name] = pack_labels(of)
        values = None if there else _values(source, scalars)
        ix.add_block(
            source.block, ids=source.ids, labels=of, values=values, live=source.live,
            is_there=there,
        )  # fmt: skip
    return RemoteBuild(ix, labels)


def publish_remote(
    made: RemoteBuild, space: Space, *, remote: Remote, store: Store
) -> tuple[str, str]:
    """Publish the file that tells of a collection; return its name and SHA-256."""
    ix = made.ix
    content = RemoteFile(
        address=remote.address,
        collection=ix.collection,
        algorithm=ix.algorithm,
        parameters=dict(ix.parameters),
        partitions=list(ix.partitions),
        labels=made.labels,
        n_rows=ix.server.count(ix.collection),
        fields=ix.fields,
        pushes=ix.pushes,
    )
    name = f"{space.id.replace('/', '-')}-{os.urandom(8).hex()}{SUFFIX}"
    return name, write_remote_file(content, store.derived / name, tmp=store.tmp)


def _known(
    before: DerivedEntry, *, remote: Remote, server: MilvusServer, store: Store, plan: Plan
) -> RemoteFile | None:
    """Read where the index before is; None where another one must be made."""
    if before.kind != plan.kind:
        return None
    try:
        known = read_remote_file(store.derived / before.name, sha256=before.sha256)
    except DamagedError:
        return None
    fits = known.address == remote.address and known.algorithm == plan.factory
    fits = fits and known.fields == FIELDS
    there = fits and known.collection in server.names()
    return known if there else None


def _values(source: Source, scalars: LookUp) -> Values:
    """Read the fields of a segment's rows; the catalog knows the living ones alone."""
    known = scalars(source.ids[source.live].tolist())
    return field_values([known.get(id_, NO_SCALARS) for id_ in source.ids.tolist()])


def _new_name(space: Space, store: Store) -> str:
    words = "".join(c if c.isalnum() and c.isascii() else "_" for c in space.id)
    return f"{collection_prefix(store)}{words[:80]}_{os.urandom(6).hex()}"


def _labels(
    ids: Ids, by_name: Mapping[str, Ids], partitions: Sequence[str]
) -> npt.NDArray[np.int8]:
    labels = np.full(len(ids), -1, np.int8)
    for number, name in enumerate(partitions):
        labels[np.isin(ids, by_name.get(name, ids[:0]))] = number
    return labels
