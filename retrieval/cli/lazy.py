"""A Click group whose commands are imported only when they are used."""

from __future__ import annotations

import difflib
import importlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence

import click


class LazyGroup(click.Group):
    """List commands from a table, and import the one that is called.

    Args:
        table: name to (module, one line of help); the module's `command` is the command.
        groups: names of commands that are groups, whose commands somebody may look for here.
    """

    def __init__(
        self,
        *args: object,
        table: Mapping[str, tuple[str, str]],
        groups: Sequence[str] = (),
        **kwargs: object,
    ) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._table = table
        self._groups = groups

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """List the names in the order of the table."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        if cmd_name not in self._table:
            return None
        command = importlib.import_module(self._table[cmd_name][0]).command
        assert isinstance(command, click.Command)
        if "retrieval.engine" in sys.modules:
            from retrieval.cli.output import say_warnings

            say_warnings()
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest one."""
        if args and args[0] not in self._table and not args[0].startswith("-"):
            raise click.UsageError(f"No such command '{args[0]}'; {self._hint(ctx, args[0])}", ctx)
        return super().resolve_command(ctx, args)

    def _hint(self, ctx: click.Context, name: str) -> str:
        for group in self._groups:
            inner = self.get_command(ctx, group)
            assert isinstance(inner, click.Group)
            if name in inner.list_commands(ctx):
                return f"did you mean '{group} {name}'?"
        near = difflib.get_close_matches(name, self._table, n=1)
        return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(self._table)}"

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; a reader that has gone (`| head -1`) ends it quietly."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            # Python would flush into the broken pipe once more at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(128 + signal.SIGPIPE) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, row[1]) for name, row in self._table.items()])
