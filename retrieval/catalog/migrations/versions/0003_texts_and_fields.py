"""Full text over names, captions and texts; what files say of themselves; columns of the user.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from retrieval.catalog import fulltext

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables; 0005 fills the full-text index, once its rows have all their columns."""
    op.create_table(
        "texts",
        sa.Column("pk", _ID, primary_key=True),
        sa.Column("item_id", _ID),
        sa.Column("part_id", _ID),
        sa.Column("path_key", sa.LargeBinary),
        sa.Column("name", sa.Text),
        sa.Column("stem", sa.Text),
    )
    for column in ("item_id", "path_key", "name", "stem"):
        op.create_index(f"ix_texts_{column}", "texts", [column])
    _create_fields()
    fulltext.create(op.get_bind())


def _create_fields() -> None:
    op.create_table(
        "details",
        sa.Column("item_id", _ID, primary_key=True, autoincrement=False),
        sa.Column("taken_ns", sa.BigInteger),
        sa.Column("lat", sa.Double),
        sa.Column("lon", sa.Double),
        sa.Column("camera", sa.Text),
    )
    op.create_index("ix_details_taken_ns", "details", ["taken_ns"])
    op.create_table(
        "tags",
        sa.Column("item_id", _ID, primary_key=True, autoincrement=False),
        sa.Column("tag", sa.Text, primary_key=True),
        sa.Column("source", sa.Text, primary_key=True),
    )
    op.create_table(
        "columns",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
    )
    op.create_table(
        "column_values",
        sa.Column("item_id", _ID, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, sa.ForeignKey("columns.name"), primary_key=True),
        sa.Column("text", sa.Text),
        sa.Column("number", sa.Double),
    )
