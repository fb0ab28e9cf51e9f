"""Several Spaces in one store: which of them serve, which are being filled, which can come back.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the state and the licence of a Space; every Space of format 0001 serves."""
    op.add_column("spaces", sa.Column("state", sa.Text, nullable=False, server_default="active"))
    op.add_column("spaces", sa.Column("licence", sa.Text, nullable=False, server_default=""))
