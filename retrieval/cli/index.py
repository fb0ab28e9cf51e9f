"""`crossfind index`: build and look after a store."""

from __future__ import annotations

import click

from retrieval.cli.lazy import LazyGroup

_COMMANDS = {
    "build": ("retrieval.cli.index_build", "Add files and build the index; the usual command."),
    "add": ("retrieval.cli.index_add", "Add files; they are searchable at once."),
    "columns": ("retrieval.cli.index_columns", "Give items columns of your own from a table."),
    "remove": ("retrieval.cli.index_remove", "Remove items; the files stay."),
    "status": ("retrieval.cli.index_status", "Tell what the store holds."),
    "errors": ("retrieval.cli.index_errors", "List the files that cannot be used, and why."),
    "verify": ("retrieval.cli.index_verify", "Check every file and row of the store."),
    "backup": ("retrieval.cli.index_backup", "Save the store in one file while it is used."),
    "restore": ("retrieval.cli.index_restore", "Make a store of a backup."),
    "migrate": ("retrieval.cli.index_migrate", "Change the model while the old one serves."),
    "compact": ("retrieval.cli.index_compact", "Merge what was added, drop what was removed."),
    "tune": ("retrieval.cli.index_tune", "Choose what searches can gain by, with right answers."),
    "rebuild": ("retrieval.cli.index_rebuild", "Build the index again from its segments."),
}


@click.group(cls=LazyGroup, table=_COMMANDS)
def command() -> None:
    """Build and look after a store.

    \b
    crossfind index build ~/Pictures ~/Sounds
    crossfind index status
    """
