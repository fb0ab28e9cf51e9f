"""A Milvus server, or Milvus Lite in a file: what an index needs of it, in numpy and our errors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from index.errors import BackendMissingError, InputError, UnreachableError
from index.remote_plan import ALGORITHMS
from index.types import Ids, Vectors

Client = Any  # pymilvus is imported with the first connection

FieldKind = Literal["text", "number", "whole"]
"""What a field holds: a text, a float64, or an int64."""
Values = Mapping[str, Sequence[str | int | float]]
"""Field -> what each row has in it."""

SCHEMES = ("milvus://", "milvus+https://")
MOST_NEAREST = 16_384  # of one search; Milvus's own limit
_BATCH_BYTES = 16 << 20  # of vectors in one request; gRPC takes 64 MiB
_MOST_CHARS = 64  # of a text field
_TIMEOUT_S = 30.0
_NO_FIELDS: Mapping[str, FieldKind] = MappingProxyType({})
_NO_VALUES: Values = MappingProxyType({})


class MilvusServer:
    """A connection; ends with the last index that holds it.

    Args:
        address: `milvus://HOST:PORT`, `milvus+https://HOST:PORT`, or the path of a file that ends
            in `.db`, for Milvus Lite.
        token: `user:password` or an API key; empty where the server asks for none.

    Raises:
        InputError: the address is of another form.
        BackendMissingError: pymilvus is not installed.
        UnreachableError: nothing answers there.
    """

    def __init__(self, address: str, *, token: str = "") -> None:
        self.address = address
        uri = milvus_uri(address)
        self.is_lite = is_lite(address)
        try:
            from pymilvus import DataType, MilvusClient, MilvusException
        except ImportError as error:
            raise BackendMissingError(
                "Milvus needs its client: pip install 'crossfind[cluster]'"
            ) from error
        self._types, self._error = DataType, MilvusException
        with self._speaking("connect to"):
            self._client: Client = MilvusClient(uri, token=token, timeout=_TIMEOUT_S)

    def create(
        self,
        name: str,
        *,
        dim: int,
        algorithm: str,
        parameters: Mapping[str, int],
        partitions: Sequence[str] = (),
        fields: Mapping[str, FieldKind] = _NO_FIELDS,
    ) -> None:
        """Make an empty collection of ids and vectors, compared by inner product.

        Args:
            name: of letters, digits and underscores.
            dim: length of a vector.
            algorithm: one of `ALGORITHMS`.
            parameters: ours, for building.
            partitions: beside the default one.
            fields: by which it can be filtered; a text has at most 64 bytes.
        """
        known = ALGORITHMS[algorithm]
        build = {there: parameters[ours] for ours, there in known.build.items()}
        build_params: dict[str, str | int] = {**build, **known.build_always}
        if self.is_lite:  # reads them from one field, where the client writes a field for each
            build_params["params"] = json.dumps(build_params)
        with self._speaking("make a collection in"):
            schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("id", self._types.INT64, is_primary=True)
            schema.add_field("vector", self._types.FLOAT_VECTOR, dim=dim)
            for field, kind in fields.items():
                self._add_field(schema, field, kind)
            how = self._client.prepare_index_params()
            how.add_index("vector", index_type=algorithm, metric_type="IP", params=build_params)
            self._client.create_collection(
                name, schema=schema, index_params=how, consistency_level="Strong"
            )
            for partition in partitions:
                self._client.create_partition(name, partition)

    def _add_field(self, schema: Any, name: str, kind: FieldKind) -> None:
        # Any: pymilvus has no types.
        if kind == "text":
            schema.add_field(name, self._types.VARCHAR, max_length=_MOST_CHARS)
        else:
            schema.add_field(name, self._types.INT64 if kind == "whole" else self._types.DOUBLE)

    def insert(
        self,
        name: str,
        vectors: Vectors,
        *,
        ids: Ids,
        partition: str = "",
        values: Values = _NO_VALUES,
    ) -> None:
        """Write rows; one whose id is there replaces it, so that a repeated call does no harm."""
        step = max(1, _BATCH_BYTES // max(1, vectors[:1].nbytes))
        for start in range(0, len(ids), step):
            here = slice(start, start + step)
            columns = {"id": ids[here].tolist(), "vector": vectors[here]}
            columns |= {field: column[here] for field, column in values.items()}
            rows = [
                dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
            ]
            with self._speaking("write to"):
                self._client.upsert(name, rows, partition_name=partition)

    def settle(self, name: str) -> None:
        """Have everything written, indexed and ready to be searched."""
        with self._speaking("load a collection of"):
            self._client.flush(name)
            self._client.load_collection(name)

    def count(self, name: str) -> int:
        """Count the rows of a collection, those just written among them."""
        with self._speaking("count the rows of"):
            counted = self._client.query(name, filter="", output_fields=["count(*)"])
            return int(counted[0]["count(*)"])

    def nearest(
        self,
        name: str,
        queries: Vectors,
        *,
        n: int,
        effort: Mapping[str, int],
        partitions: Sequence[str] = (),
        expression: str = "",
    ) -> Ids:
        """Give the ids of the nearest rows.

        Args:
            name: of the collection.
            queries: float32 [Q, D].
            n: at most MOST_NEAREST.
            effort: Milvus's name of an effort -> its value.
            partitions: to look in; none for all.
            expression: only rows that fit it; empty for all.

        Returns:
            int64 [Q, n], best first, -1 for none.
        """
        with self._speaking("search in"):
            answers = self._client.search(
                name,
                data=list(queries),
                limit=n,
                filter=expression,
                partition_names=list(partitions) or None,
                search_params={"params": dict(effort)},
                output_fields=[],
            )
        found = np.full((len(queries), n), -1, np.int64)
        for row, hits in zip(found, answers, strict=True):
            ids = hits.ids
            row[: len(ids)] = ids
        return found

    def names(self) -> list[str]:
        """List the collections."""
        with self._speaking("list the collections of"):
            return sorted(self._client.list_collections())

    def drop(self, name: str) -> None:
        """Delete a collection; one that is not there is no error."""
        with self._speaking("delete a collection of"):
            self._client.drop_collection(name)

    @contextmanager
    def _speaking(self, what: str) -> Iterator[None]:
        """Turn every error of the client into ours."""
        try:
            yield
        except (self._error, OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UnreachableError(
                f"cannot {what} Milvus at {self.address}: {reason}; look whether it runs and "
                "whether CROSSFIND_MILVUS_TOKEN is right"
            ) from error


def is_lite(address: str) -> bool:
    """Tell whether an address is a file of Milvus Lite.

    Example:
        >>> is_lite("/tmp/a.db"), is_lite("milvus://localhost:19530")
        (True, False)
    """
    return not address.startswith(SCHEMES)


def milvus_uri(address: str) -> str:
    """Write an address as Milvus's client wants it.

    Raises:
        InputError: it is of no known form.

    Example:
        >>> milvus_uri("milvus://localhost:19530")
        'http://localhost:19530'
    """
    for scheme, uri in zip(SCHEMES, ("http://", "https://"), strict=True):
        if address.startswith(scheme):
            return uri + address.removeprefix(scheme)
    if "://" in address or not address.endswith(".db"):
        raise InputError(
            f"{address!r} is no address of Milvus; write milvus://HOST:19530, "
            "milvus+https://HOST:19530, or a file that ends in .db for Milvus Lite",
            code="bad_address",
        )
    return str(Path(address).absolute())
