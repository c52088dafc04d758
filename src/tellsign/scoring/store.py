"""Where rows go: JSON lines, CSV or Parquet, in a way that a killed run loses nothing.

While a run goes on its rows lie in `OUTPUT.partial`, an SQLite file that survives a kill at any moment.
When it ends, or is interrupted, they are written to the output in one step. A resumed run reads both.
"""

from __future__ import annotations

import csv
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tellsign.lock import lock, release
from tellsign.scoring.names import printable
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from types import TracebackType

    from tellsign.scoring.looks import Row

SUFFIXES = {".jsonl": "jsonl", ".json": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
# The columns of CSV and Parquet. What is nested in a row (timeline, vote, tracks, parts) is JSON text there.
COLUMNS = {
    "path": str,
    "sha256": str,
    "kind": str,
    "label": str,
    "reason": str,
    "probability": float,
    "prior": float,
    "score": float,
    "threshold": float,
    "fpr": float,
    "detector": str,
    "region": str,
    "faces": int,
    "warnings": list,
    "error": str,
    "duration": float,
    "n_frames": int,
    "vote": dict,
    "timeline": list,
    "tracks": list,
    "engine": str,
    "parts": dict,
}
# Keys of videos, of runs on faces, and of networks. A file without these columns is read as well.
OPTIONAL = ("duration", "n_frames", "vote", "timeline", "tracks", "engine", "parts")
COMMIT_SECONDS = 0.5


def format_of(path: Path) -> str:
    """jsonl, csv or parquet, by the suffix. Raises ConfigError for another one."""
    try:
        return SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise ConfigError(f"the output {str(path)!a} must end in {', '.join(SUFFIXES)}") from None


def json_line(row: Row) -> str:
    """One row as a line of JSON, safe to show on a terminal."""
    text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def csv_line(row: Row | None = None) -> str:
    """One row as a line of CSV, safe to open in a spreadsheet; without a row, the header."""
    if row is None:
        return ",".join(COLUMNS)
    cells = ((row.get(name), kind) for name, kind in COLUMNS.items())
    return ",".join("" if value is None else _quoted(_csv_text(value, kind)) for value, kind in cells)


def _quoted(cell: str) -> str:
    # Python's own writer leaves a lone carriage return bare, and readers take that for the end of a row.
    return '"' + cell.replace('"', '""') + '"' if any(c in cell for c in ',"\r\n') else cell


def _csv_text(value: Any, kind: type) -> str:
    if kind in (float, int):
        return repr(value)
    text = value if kind is str else json.dumps(value, ensure_ascii=False)
    # A spreadsheet would run a cell that begins like a formula.
    return f"'{text}" if text.startswith(("'", "=", "+", "-", "@", "\t", "\r", "\n")) else text


class Store:
    """The rows of one output. A context manager that holds its lock."""

    def __init__(self, path: Path, *, settings: dict[str, Any], resume: bool, overwrite: bool) -> None:
        """Open an output.

        Args:    path: of the output; the suffix chooses the format.
                 settings: what rows depend on beside the files; a resumed run must have the same.
                 resume: keep the rows that are there.
                 overwrite: replace them.
        Raises:  ConfigError: another run writes it, it exists already, or it was made with other settings.
        """
        self.path = path
        self.format = format_of(path)
        self.partial = path.with_name(path.name + ".partial")
        if path.is_dir():
            raise ConfigError(f"{path} is a folder; give the name of a file")
        self._lock = lock(path)
        fresh = not self.partial.exists()
        try:
            if not resume and not overwrite and (path.exists() or not fresh):
                raise ConfigError(f"{path} exists; --resume continues it, --overwrite replaces it")
            if overwrite:
                self._discard()
            self._open(settings, import_rows=resume)
        except sqlite3.Error as error:
            self._release()
            raise ConfigError(f"{self.partial} cannot be used ({error}); remove it to start anew") from error
        except BaseException:
            self._release()
            if fresh:
                self._discard()
            raise
        self._position = 0
        self._committed = time.monotonic()

    def _open(self, settings: dict[str, Any], *, import_rows: bool) -> None:
        self._rows = sqlite3.connect(self.partial, isolation_level=None)
        # Survives a kill of this process; only a power cut could lose the last half second.
        self._rows.execute("PRAGMA journal_mode=WAL")
        self._rows.execute("PRAGMA synchronous=NORMAL")
        self._rows.execute("CREATE TABLE IF NOT EXISTS settings (text TEXT)")
        self._rows.execute(
            "CREATE TABLE IF NOT EXISTS rows (path TEXT PRIMARY KEY, position INTEGER, row TEXT)"
        )
        # One transaction from the settings to the first rows: where they stand, the import is complete.
        self._rows.execute("BEGIN")
        text = json.dumps(settings, sort_keys=True)
        stored = self._rows.execute("SELECT text FROM settings").fetchone()
        if stored is None:
            self._rows.execute("INSERT INTO settings VALUES (?)", (text,))
            if import_rows and self.path.exists():
                self._import(settings)
        elif stored[0] != text:
            raise ConfigError(_difference(json.loads(stored[0]), settings, self.path))
        # Rows of an earlier run lose their place: they get a new one when their file turns up again.
        self._rows.execute("UPDATE rows SET position = NULL")
        self._commit()

    def _import(self, settings: dict[str, Any]) -> None:
        for row in read_rows(self.path):
            # A row states what it depends on; the number of frames only where there were any.
            found = {name: row[name] for name in settings if row.get(name) is not None}
            asked = {name: settings[name] for name in found}
            if found != asked:
                raise ConfigError(_difference(found, asked, self.path))
            self._put(row, position=None)

    def known(self, path: str) -> Row | None:
        """The row of a path from an earlier run, unless this run has had it."""
        query = "SELECT row FROM rows WHERE path = ? AND position IS NULL"
        found = self._rows.execute(query, (path,)).fetchone()
        return None if found is None else json.loads(found[0])

    def seen(self, path: str) -> bool:
        """Whether this run has had the path already."""
        query = "SELECT 1 FROM rows WHERE path = ? AND position IS NOT NULL"
        return self._rows.execute(query, (path,)).fetchone() is not None

    def put(self, row: Row) -> None:
        """Add the next row; it replaces an earlier run's row of the same path.

        Raises: ConfigError: there is no room for it.
        """
        try:
            self._put(row, position=self._position)
            self._position += 1
            if time.monotonic() - self._committed > COMMIT_SECONDS:
                self._commit()
        except sqlite3.Error as error:
            raise self._cannot_write(error) from error

    def _commit(self) -> None:
        self._rows.execute("COMMIT")
        self._rows.execute("BEGIN")
        self._committed = time.monotonic()

    def _cannot_write(self, error: Exception) -> ConfigError:
        return ConfigError(
            f"cannot write {self.path} ({error}); the rows so far are kept in {self.partial}: "
            "make room and run again with --resume"
        )

    def _put(self, row: Row, *, position: int | None) -> None:
        self._rows.execute(
            "INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", (row["path"], position, json_line(row))
        )

    def _ordered(self) -> Iterator[Row]:
        query = "SELECT row FROM rows ORDER BY position IS NULL, position, path"
        for (text,) in self._rows.execute(query):
            yield json.loads(text)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Write the output. Kept aside for --resume as well unless the run came to its end."""
        try:
            if self._rows.in_transaction:  # a full disk has ended it
                self._rows.execute("COMMIT")
            if kind is None:
                self._rows.execute("DELETE FROM rows WHERE position IS NULL")
            n_rows = self._rows.execute("SELECT COUNT(*) FROM rows").fetchone()[0]
            if n_rows or kind is None:
                self._write()
            self._rows.close()
            if kind is None or not n_rows:
                self._discard()
        except (OSError, sqlite3.Error) as error:
            raise self._cannot_write(error) from error
        finally:
            self._release()

    def _write(self) -> None:
        draft = self.path.with_name(f".{self.path.name}.draft")
        try:
            write_rows(self._ordered(), draft, self.format)
            draft.replace(self.path)
        finally:
            draft.unlink(missing_ok=True)

    def _discard(self) -> None:
        for ending in ("", "-wal", "-shm"):
            self.partial.with_name(self.partial.name + ending).unlink(missing_ok=True)

    def _release(self) -> None:
        if hasattr(self, "_rows"):
            self._rows.close()
        release(self._lock)


def _difference(found: dict[str, Any], asked: dict[str, Any], path: Path) -> str:
    names = [name for name in sorted({*found, *asked}) if found.get(name) != asked.get(name)]
    listed = "; ".join(f"{name} was {found.get(name)!r} and is {asked.get(name)!r}" for name in names)
    return (
        f"{path} was made with other settings ({listed}); resume it with the same ones, "
        "or start anew with --overwrite"
    )


def write_rows(rows: Iterable[Row], path: Path, format_: str) -> None:
    """Write rows to a file of a format, as a stream.

    Args:    rows: in the order of the output.
             path: to write to.
             format_: jsonl, csv or parquet.
    """
    if format_ == "jsonl":
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json_line(row) + "\n" for row in rows)
    elif format_ == "csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(csv_line() + "\n")
            file.writelines(csv_line(row) + "\n" for row in rows)
    else:
        _write_parquet(rows, path)


def _write_parquet(rows: Iterable[Row], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow = {str: pa.string(), float: pa.float64(), int: pa.int64()}
    schema = pa.schema([(name, arrow.get(kind, pa.string())) for name, kind in COLUMNS.items()])

    def cell(value: Any, kind: type) -> Any:
        return value if value is None or kind in arrow else json.dumps(value, ensure_ascii=False)

    with pq.ParquetWriter(path, schema) as writer:
        rows = iter(rows)
        while chunk := list(islice(rows, 10_000)):
            columns = {name: [cell(row.get(name), kind) for row in chunk] for name, kind in COLUMNS.items()}
            writer.write_table(pa.table(columns, schema=schema))


def read_rows(path: Path) -> Iterator[Row]:
    """Read rows back from any of the formats.

    Args:    path: an output of `scan`.
    Returns: the rows, as a stream.
    Raises:  ConfigError: the file is not such an output.
    """
    reader = {"jsonl": _read_jsonl, "csv": _read_csv, "parquet": _read_parquet}[format_of(path)]
    try:
        for row in reader(path):
            if not isinstance(row, dict) or any(name not in row for name in COLUMNS if name not in OPTIONAL):
                raise ValueError("a row lacks columns")
            if row["path"] is None or row["detector"] is None:
                raise ValueError("a row has no path or no detector")
            yield row
    except (OSError, ValueError, KeyError, csv.Error) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} is not an output of `tellsign scan`: {printable(str(error))}") from error


def _read_jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as file:
        yield from (json.loads(line) for line in file)


def _read_csv(path: Path) -> Iterator[Row]:
    csv.field_size_limit(1 << 30)
    missing = dict.fromkeys(OPTIONAL, "")
    with path.open(encoding="utf-8", newline="") as file:
        for found in csv.DictReader(file, restval=""):
            cells = missing | found
            yield _row({name: _unquoted(cells[name], kind) for name, kind in COLUMNS.items()})


def _unquoted(text: str, kind: type) -> Any:
    if text == "":
        return None
    text = text.removeprefix("'")
    return text if kind is str else json.loads(text)


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path).iter_batches(10_000):
        for cells in batch.to_pylist():
            nested = {n for n, kind in COLUMNS.items() if kind in (list, dict) and cells.get(n) is not None}
            yield _row({n: json.loads(v) if n in nested else v for n, v in cells.items()})


def _row(cells: Row) -> Row:
    """A row without the columns that only some have, where it has nothing in them."""
    return {name: value for name, value in cells.items() if value is not None or name not in OPTIONAL}
