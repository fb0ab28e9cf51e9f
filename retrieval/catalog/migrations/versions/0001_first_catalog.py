"""First catalog.

Revision ID: 0001
Revises: none
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make every table of format 1."""
    op.create_table(
        "store",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("uuid", sa.Text, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("next_item_id", sa.BigInteger, nullable=False),
        sa.Column("next_part_id", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "spaces",
        sa.Column("pk", sa.Integer, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("dim", sa.Integer, nullable=False),
        sa.Column("modalities", sa.Text, nullable=False),
    )
    op.create_table(
        "files",
        sa.Column("pk", _ID, primary_key=True),
        sa.Column("path_key", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("mtime_ns", sa.BigInteger, nullable=False),
        sa.Column("caption_stamp", sa.Text, nullable=False),
        sa.Column("content_hash", sa.Text),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("loader_version", sa.Integer, nullable=False),
        sa.Column("checksum", sa.BigInteger, nullable=False),
    )
    op.create_index("files_by_hash", "files", ["content_hash"])
    op.create_index("files_by_path", "files", ["path"])
    _create_items_and_parts()
    _create_segments()


def _create_items_and_parts() -> None:
    op.create_table(
        "items",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("record", sa.Integer, nullable=False),
        sa.Column("modality", sa.Text, nullable=False),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("width_px", sa.Integer),
        sa.Column("height_px", sa.Integer),
        sa.Column("duration_s", sa.Double),
        sa.Column("caption", sa.Text),
        sa.Column("flags", sa.Text, nullable=False),
        sa.Column("checksum", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("content_hash", "record"),
    )
    op.create_index("ix_items_modality", "items", ["modality"])
    op.create_index("ix_items_size_bytes", "items", ["size_bytes"])
    op.create_table(
        "parts",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("item_id", _ID, sa.ForeignKey("items.id"), nullable=False),
        sa.Column("modality", sa.Text, nullable=False),
        sa.Column("start_s", sa.Double),
        sa.Column("end_s", sa.Double),
        sa.Column("text", sa.Text),
        sa.Column("checksum", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_parts_item_id", "parts", ["item_id"])


def _create_segments() -> None:
    op.create_table(
        "segments",
        sa.Column("pk", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("space_pk", sa.Integer, sa.ForeignKey("spaces.pk"), nullable=False),
        sa.Column("n_vectors", sa.BigInteger, nullable=False),
        sa.Column("dim", sa.Integer, nullable=False),
        sa.Column("dtype", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("retired_generation", sa.BigInteger),
    )
    op.create_table(
        "tombstones",
        sa.Column("part_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "derived",
        sa.Column("pk", sa.Integer, primary_key=True),
        sa.Column("space_pk", sa.Integer, sa.ForeignKey("spaces.pk"), nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("n_vectors", sa.BigInteger, nullable=False),
        sa.Column("recall", sa.Double),
        sa.Column("recall_queries", sa.Text, nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
    )
