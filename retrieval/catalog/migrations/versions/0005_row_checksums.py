"""A checksum in every row whose change would change an answer, not only in files, items and parts.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from retrieval.catalog import fulltext
from retrieval.catalog.chunks import chunks
from retrieval.catalog.schema import (
    Base,
    ColumnRow,
    ColumnValueRow,
    DerivedRow,
    DetailRow,
    SegmentRow,
    SpaceRow,
    StoreRow,
    TagRow,
    TextRow,
    TombstoneRow,
)
from retrieval.catalog.seal import digest

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TABLES: tuple[type[Base], ...] = (
    StoreRow, SpaceRow, SegmentRow, TombstoneRow, DerivedRow, DetailRow, TagRow, ColumnRow,
    ColumnValueRow, TextRow,
)  # fmt: skip


def upgrade() -> None:
    """Add the columns, and take the rows as they stand for what was written."""
    connection = op.get_bind()
    for table in _TABLES:
        column = sa.Column("checksum", sa.BigInteger, nullable=False, server_default="0")
        op.add_column(table.__tablename__, column)
    for table in _TABLES[:-1]:
        _seal(connection, table)
    if connection.execute(sa.select(sa.func.count()).select_from(TextRow)).scalar():
        fulltext.seal(connection)
    else:  # a catalog from before there were texts
        fulltext.fill(connection)


def _seal(connection: sa.Connection, table: type[Base]) -> None:
    keys = list(sa.inspect(table).primary_key)
    own = sa.and_(*(key == sa.bindparam(f"_{key.name}") for key in keys))
    statement = sa.update(table).where(own).values(checksum=sa.bindparam("_checksum"))
    rows = connection.execute(sa.select(table)).mappings().all()
    for chunk in chunks(rows):
        values = [
            {"_checksum": digest(table, dict(row)), **{f"_{k.name}": row[k.name] for k in keys}}
            for row in chunk
        ]
        connection.execute(statement, values)
