"""What was measured of an index: recall and latency by modality of queries and items.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; an index built before has nothing in it."""
    op.add_column("derived", sa.Column("measured", sa.Text, nullable=False, server_default=""))
