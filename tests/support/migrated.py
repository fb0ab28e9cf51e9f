"""Catalogs of schemas that were."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from retrieval.catalog import migrations


def migrate_to(engine: sa.Engine, revision: str) -> None:
    """Bring an empty database to a schema by the numbered migrations, one after the other."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
