"""What sounds and videos say of their streams, and their tags.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; files added before fill it when they are added again after a change."""
    op.create_table(
        "streams",
        sa.Column("item_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
                  primary_key=True, autoincrement=False),
        sa.Column("sample_rate_hz", sa.Integer),
        sa.Column("n_channels", sa.Integer),
        sa.Column("fps", sa.Double),
        sa.Column("codec", sa.Text),
        sa.Column("title", sa.Text),
        sa.Column("artist", sa.Text),
        sa.Column("album", sa.Text),
        sa.Column("checksum", sa.BigInteger, nullable=False, server_default="0"),
    )  # fmt: skip
