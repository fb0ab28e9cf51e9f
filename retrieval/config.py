"""Settings: one table, one order of precedence (flag > environment > file > default)."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from retrieval.errors import UsageError

Value = str | int | float


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table.

    Attributes:
        name: as in the configuration file; the environment variable is CROSSFIND_NAME.
        default: also fixes the type.
        help: one line for people.
        low, high: limits of a number, inclusive.
        short_variable: a second, shorter name of the environment variable, or empty.
    """

    name: str
    default: Value
    help: str
    low: float = float("-inf")
    high: float = float("inf")
    short_variable: str = ""

    @property
    def variable(self) -> str:
        """Name the environment variable.

        Example:
            >>> Setting("workers", 2, "").variable
            'CROSSFIND_WORKERS'
        """
        return f"CROSSFIND_{self.name.upper()}"


def expand_home(path: str | os.PathLike[str]) -> Path:
    """Put the home folder in the place of a leading `~`.

    Args:
        path: `~name` stays as it is where nobody is called so: a file may have any name.

    Example:
        >>> expand_home("~no such user/a.png").as_posix()
        '~no such user/a.png'
    """
    return Path(path if "\0" in os.fspath(path) else os.path.expanduser(path))


def _cores() -> int:
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)


SETTINGS: tuple[Setting, ...] = (
    Setting("store", "", "store directory; empty: found from the working directory upwards"),
    Setting("model", "starter", "model that encodes a new store"),
    Setting(
        "models_dir",
        "",
        "folder with model files that are not in the package",
        short_variable="CROSSFIND_MODELS",
    ),
    Setting("device", "auto", "where pretrained models run: auto, cpu, cuda or cuda:N"),
    Setting("precision", "auto", "of pretrained models: auto, fp32, bf16 or fp16"),
    Setting("compile", 0, "1: compile pretrained models (half a minute at first use)", 0, 1),
    Setting("catalog", "", "SQLAlchemy URL of the catalog; empty: SQLite inside the store"),
    Setting(
        "index",
        "",
        "where vectors are searched: files (of the store), milvus-lite, or milvus://HOST:PORT",
    ),
    Setting("milvus_token", "", "user:password or key of the Milvus that `index` names"),
    Setting("workers", 0, "decode processes; 0: one per core, at most 8", 0, 64),
    Setting("threads", 0, "threads of the encoder; 0: one per core", 0, 256),
    Setting("decode_timeout_s", 30.0, "a file that takes longer is skipped", 0.1, 3600),
    Setting("decode_memory_mb", 2048, "a decoder that wants more is stopped", 128, 1 << 20),
    Setting("speech", "", "who writes down what is said: pocketsphinx, or whisper:FOLDER"),
    Setting("speech_s", 120.0, "seconds that may take for one file", 1, 86_400),
    Setting("token", "", "secret that every request to `crossfind serve` must carry"),
    Setting("keep_queries", 1, "0: keep no directions of text searches to tune indexes", 0, 1),
    Setting("commit_s", 10.0, "work lost at most when the process is killed", 0, 600),
    Setting("network_store", 0, "1: also write to a store on NFS or SMB, at your own risk", 0, 1),
)


@dataclass(frozen=True)
class Settings:
    """Resolved settings; see `SETTINGS` for their meaning.

    Example:
        >>> load_settings({"workers": 3}, environment={}, file=None).workers
        3
    """

    values: Mapping[str, Value] = field(default_factory=dict, repr=False)

    def _get(self, name: str) -> Value:
        return self.values[name]

    @property
    def store(self) -> str:
        """Store directory, or empty."""
        return str(self._get("store"))

    @property
    def model(self) -> str:
        """Model name for a new store."""
        return str(self._get("model"))

    @property
    def models_dir(self) -> str:
        """Folder with further model files, or empty."""
        return str(self._get("models_dir"))

    @property
    def device(self) -> str:
        """Where pretrained models run."""
        return str(self._get("device"))

    @property
    def precision(self) -> str:
        """Number format of pretrained models."""
        return str(self._get("precision"))

    @property
    def compile(self) -> bool:
        """Tell whether pretrained models are compiled."""
        return bool(self._get("compile"))

    @property
    def catalog(self) -> str:
        """SQLAlchemy URL of the catalog, or empty."""
        return str(self._get("catalog"))

    @property
    def index(self) -> str:
        """Address of the Milvus that searches; empty for files of the store."""
        address = str(self._get("index"))
        return "" if address == "files" else address

    @property
    def milvus_token(self) -> str:
        """Secret of Milvus, or empty."""
        return str(self._get("milvus_token"))

    @property
    def workers(self) -> int:
        """Number of decode processes, at least 1."""
        return int(self._get("workers")) or min(8, _cores())

    @property
    def threads(self) -> int:
        """Number of encoder threads, at least 1."""
        return int(self._get("threads")) or _cores()

    @property
    def decode_timeout_s(self) -> float:
        """Seconds one file may take to decode."""
        return float(self._get("decode_timeout_s"))

    @property
    def decode_memory_bytes(self) -> int:
        """Bytes a decoder may allocate."""
        return int(self._get("decode_memory_mb")) << 20

    @property
    def speech(self) -> str:
        """Name of the engine that writes down what is said, or empty."""
        return str(self._get("speech"))

    @property
    def speech_s(self) -> float:
        """Seconds it may take for one file."""
        return float(self._get("speech_s"))

    @property
    def network_store(self) -> bool:
        """Whether a store on a network file system may be written to."""
        return bool(self._get("network_store"))

    @property
    def keep_queries(self) -> bool:
        """Whether directions of text searches are kept to tune indexes with."""
        return bool(self._get("keep_queries"))

    @property
    def token(self) -> str:
        """Secret of the server, or empty."""
        return str(self._get("token"))

    @property
    def commit_s(self) -> float:
        """Seconds of work between two commits at most."""
        return float(self._get("commit_s"))


def config_path(environment: Mapping[str, str]) -> Path:
    """Name the configuration file: CROSSFIND_CONFIG, or `crossfind/config.toml` of the user.

    Example:
        >>> str(config_path({"CROSSFIND_CONFIG": "/etc/c.toml"}))
        '/etc/c.toml'
    """
    if environment.get("CROSSFIND_CONFIG"):
        return Path(environment["CROSSFIND_CONFIG"])
    base = environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "crossfind" / "config.toml"


def load_settings(
    flags: Mapping[str, Value | None] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """Resolve every setting: flag > environment > file > default.

    Args:
        flags: from the command line or a call; None values are absent.
        environment: usually `os.environ`, which it is when left out.
        file: configuration file; found by `config_path` when left out.

    Returns:
        The resolved settings.

    Raises:
        UsageError: unknown name (`unknown_setting`), wrong type or limit (`bad_setting`),
            or a file that is not TOML (`bad_config`).

    Example:
        >>> load_settings({}, environment={"CROSSFIND_WORKERS": "5"}).workers
        5
    """
    env = os.environ if environment is None else environment
    rows = {row.name: row for row in SETTINGS}
    from_file = _read_file(file or config_path(env))
    given = {**from_file, **{k: v for k, v in (flags or {}).items() if v is not None}}
    for name in given:
        if name not in rows:
            near = difflib.get_close_matches(name, rows, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(rows)}"
            raise UsageError(f"unknown setting '{name}'{hint}", code="unknown_setting")
    values: dict[str, Value] = {}
    for row in SETTINGS:
        value: Value = row.default
        if row.name in from_file:
            value = from_file[row.name]
        for variable in (row.short_variable, row.variable):
            if variable and env.get(variable):
                value = env[variable]
        flag = (flags or {}).get(row.name)
        values[row.name] = _convert(row, value if flag is None else flag)
    return Settings(values)


def _read_file(path: Path) -> dict[str, Value]:
    """Read the configuration file; a missing one is empty."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}", code="bad_config") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}", code="bad_config") from error


def _convert(row: Setting, value: object) -> Value:
    """Bring a value to the setting's type and check its limits."""
    kind = type(row.default)
    if kind is str:
        if not isinstance(value, str):
            raise UsageError(
                f"setting '{row.name}' is {value!r}; expected text", code="bad_setting"
            )
        return value
    try:
        number = kind(str(value))
    except ValueError as error:
        expected = "a whole number" if kind is int else "a number"
        raise UsageError(
            f"setting '{row.name}' is {value!r}; expected {expected}", code="bad_setting"
        ) from error
    if not row.low <= float(number) <= row.high:
        raise UsageError(
            f"setting '{row.name}' is {value}; expected {row.low:g} to {row.high:g}",
            code="bad_setting",
        )
    return number
