"""The root of the command line, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import os
import signal
import sys

import click

import retrieval
from retrieval.cli.lazy import LazyGroup
from retrieval.errors import CrossfindError

_COMMANDS = {
    "index": ("retrieval.cli.index", "Build and look after a store."),
    "search": ("retrieval.cli.search", "Find items by a text, a file or a stored item."),
    "similar": ("retrieval.cli.similar", "Find items like a given one."),
    "classify": ("retrieval.cli.classify", "Say of files which of some classes they show."),
    "duplicates": ("retrieval.cli.duplicates", "Find copies, bursts and near copies."),
    "cluster": ("retrieval.cli.cluster", "Group items by what they show, with keywords."),
    "outliers": ("retrieval.cli.outliers", "Find items that are like no other."),
    "explain": ("retrieval.cli.explain", "Say why an item is a hit."),
    "map": ("retrieval.cli.map", "Draw the store as a map in one HTML file."),
    "analyze": ("retrieval.cli.analyze", "Measure how the store's vectors lie."),
    "moments": ("retrieval.cli.moments", "Say when in a sound or video a query is answered."),
    "clip": ("retrieval.cli.clip", "Cut a moment out of a sound or video."),
    "export": ("retrieval.cli.export", "Write the store's vectors as npy, jsonl, faiss."),
    "import": ("retrieval.cli.import_", "Make a store of vectors that exist."),
    "train": ("retrieval.cli.train", "Train on your own pairs."),
    "evaluate": ("retrieval.cli.evaluate", "Measure how well searches find what they should."),
    "compare": ("retrieval.cli.compare", "Compare models side by side."),
    "models": ("retrieval.cli.models", "List and describe models."),
    "serve": ("retrieval.cli.serve", "Serve the store over HTTP, with a page."),
    "mcp": ("retrieval.cli.mcp", "Let assistants use the store (MCP)."),
    "doctor": ("retrieval.cli.doctor", "Check the installation, the store and the model."),
    "demo": ("retrieval.cli.demo", "Try everything on a small set that comes along."),
}


@click.group(
    cls=LazyGroup,
    table=_COMMANDS,
    groups=("index", "models", "train"),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(retrieval.__version__, prog_name="crossfind")
@click.option("--debug", is_flag=True, help="Show tracebacks and the log.")
def cli(debug: bool) -> None:
    """Find pictures, sounds and texts by each other.

    \b
    crossfind index build ~/Pictures ~/Sounds
    crossfind search "a red parrot" --for image
    crossfind search ./bark.ogg
    """
    if debug:
        import logging

        logging.basicConfig(level=logging.INFO, stream=sys.stderr)


def main() -> None:
    """Run the command line; every error of ours is one line on stderr and an exit code."""
    # Two spinning OpenMP threads on busy cores are up to 40 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _hold_standard_files()
    debug = "--debug" in sys.argv
    try:
        code = cli.main(prog_name="crossfind", standalone_mode=False)
        if sys.stdout is not None:  # closed by who started us (`>&-`)
            sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)  # the help, with its lines
        sys.exit(2)
    except click.ClickException as error:
        _tell(_usage(error))
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        _tell("stopped; run the same command again to go on")
        sys.exit(130)
    except BrokenPipeError:
        # The reader has gone (`| head -1`); Python would complain about it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except CrossfindError as error:
        if debug:
            raise
        _tell(f"error: {error} [{error.code}]")
        sys.exit(error.exit_code)
    except Exception as error:
        if debug:
            raise
        what = f"{type(error).__name__}: {error}"
        _tell(f"internal error: {what}; run again as 'crossfind --debug ...' [internal_error]")
        sys.exit(1)


def _hold_standard_files() -> None:
    """Keep a file of the store from becoming descriptor 1 or 2, where C libraries write notes."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)


def _usage(error: click.ClickException) -> str:
    hint = ""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f" (see: {error.ctx.command_path} --help)"
    return f"error: {error.format_message()}{hint}"


def _tell(message: str) -> None:
    """Write one line to stderr, whatever control characters a file name brings along."""
    line = " ".join(message.splitlines())
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    if sys.stderr is None:
        return
    sys.stderr.write(safe.encode("utf-8", "backslashreplace").decode() + "\n")
