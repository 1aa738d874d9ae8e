"""Source → a prepared dataset, without the log in memory: what `ingest` gives, on disk."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_twotower.columns import EVENT
from tfrs_twotower.data.appending import append
from tfrs_twotower.data.checking import IngestReport, Reader, Rules, begun
from tfrs_twotower.data.counted import counted
from tfrs_twotower.data.entities import Entities
from tfrs_twotower.data.kept import empty_array, keep_log
from tfrs_twotower.data.log import InteractionLog
from tfrs_twotower.data.preparing import statements
from tfrs_twotower.data.preparing.dataset import is_prepared, read_dataset, read_manifest, write_manifest
from tfrs_twotower.data.preparing.duckdb_engine import DuckDB
from tfrs_twotower.data.preparing.engine import Engine, Session
from tfrs_twotower.data.preparing.shards import Spilled, agreed, context_fields
from tfrs_twotower.data.rejects import Rejects
from tfrs_twotower.data.source import Source
from tfrs_twotower.data.sources.joined import joined
from tfrs_twotower.data.sources.prepared import Prepared
from tfrs_twotower.data.unchosen import Searched, Shown, dropped
from tfrs_twotower.durable import lock
from tfrs_twotower.errors import ConfigError, DataError, invalid
from tfrs_twotower.progress import bar

_WORK, _FIRST, _REJECTED = "work", "1", "rejected.parquet"
_LOCK = "prepare.lock"  # by this name a folder is known as one of `prepare`: it may be emptied
_EVENTS = {"user": np.int32, "item": np.int32, "timestamp": np.int64, "weight": np.float32, "part": np.uint16}
_SHOWN = {"user": np.int32, "item": np.int32, "timestamp": np.int64, "part": np.uint16}
_DROPPED = "dropped"
_IN_SQL = {"user": "user_code", "item": "item_code", "timestamp": "seconds"}  # others have their own names


def prepare(
    source: Source, folder: str | os.PathLike[str], engine: Engine = DuckDB(), rules: Rules = Rules(),
) -> IngestReport:
    """Writes a source as a prepared dataset: the log that `ingest` would give, as files that are mapped to be read.

    The rows of the source are checked batch by batch and written to disk; the engine codes and sorts them there. Memory
    has to hold the tables of users and items, and what the engine is given. If the process is killed, the folder is no
    dataset, and the same call makes it one.

    Args:
      source: a Source
      folder: of the dataset, made here; it also holds the files at work, about as much as the dataset
      engine: `DuckDB`, or `Spark`
      rules: what the rows have to fulfil

    Returns:
      The report of `ingest`. Bad rows are in FOLDER/1/rejected.parquet.

    Raises:
      DataError: as in `ingest`; or the folder holds a dataset, or another process is preparing it.
      MissingExtraError: the engine is not installed.
    """
    folder = Path(folder).absolute()  # executors work in folders of their own
    _check_new(folder)  # before anything in it is removed
    with _writing(folder) as work:
        _check_new(folder)  # another process may have made one meanwhile
        target = _empty(folder / _FIRST)
        rejects = Rejects(target / _REJECTED)
        try:
            reader, batches = begun(source, rules, rejects)
            log = _prepared(source, reader, batches, engine, work)
        finally:
            rejects.close()
        with bar("Writing the dataset"):
            report = reader.report(log)
            keep_log(log, report, target)
            write_manifest(folder, _FIRST, log, report, source, rules, [])
    return report


def append_prepared(folder: str | os.PathLike[str], source: Source, rules: Rules | None = None) -> IngestReport:
    """Appends the events of a newer source to a prepared dataset. The earlier sources are not read again.

    Args:
      folder: of the dataset
      source: a Source of new events, with the same types of columns
      rules: what the new rows have to fulfil; None: those of the last source

    Returns:
      The report of the new source; without new events nothing is written.

    Raises:
      DataError: as in `append`; or the folder holds no dataset.
      ConfigError: the dataset has these files, or all of these events, already.
    """
    folder = Path(folder)
    read_manifest(folder)  # before the folder is made
    with _writing(folder) as work:
        manifest = read_manifest(folder)
        joined(Prepared(str(folder)), source)  # refuses files that it has
        rules = rules or Rules(**manifest.sources[-1]["rules"])
        name = str(int(manifest.log) + 1)
        target = _empty(folder / name)
        past, _ = read_dataset(folder)
        log, report = append(past, source, rules, target / _REJECTED, work=work)
        if len(log) == len(past) and len(log.shown) == len(past.shown):
            shutil.rmtree(target)
            return report
        # Events without times may repeat.
        if log.timed and len(log) > len(past) and not log.new_in(int(log.part.max())).any():
            shutil.rmtree(target)
            rule = "have events that the dataset lacks"
            raise ConfigError(invalid("interactions", rule, source.name, "All of them are there already. Name others."))
        keep_log(log, report, target)
        write_manifest(folder, name, log, report, source, rules, manifest.sources)
        for other in folder.iterdir():  # also what a killed process left
            if other.name.isdigit() and other.name != name:
                shutil.rmtree(other)
    return report


def _check_new(folder: Path) -> None:
    """Raises `DataError` if the folder holds a dataset, or files that are not of `prepare`."""
    if is_prepared(folder):
        raise DataError(f"{folder} holds a prepared dataset already. Name another folder, or append to it: "
                        f"`twotower prepare {folder} --append --interactions PATH`.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _LOCK).exists():
        raise DataError(f"{folder} holds files that are no prepared dataset. Name a new folder.")


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[Path]:
    """Gives an empty folder for files at work. No other process writes the dataset meanwhile."""
    try:
        held = lock(folder, _LOCK)
    except BlockingIOError:
        raise DataError(f"{folder}: another process is writing this dataset. Wait for it, or name another "
                        "folder.") from None
    except OSError as error:
        rule = "be a folder that can be written"
        raise DataError(invalid("folder", rule, f"{folder}", f"The system says: {error}.")) from error
    with held:
        work = _empty(folder / _WORK)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _empty(folder: Path) -> Path:
    """The folder without what a killed process left there."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    return folder


def _prepared(
    source: Source, reader: Reader, batches: Iterator[pa.RecordBatch], engine: Engine, work: Path
) -> InteractionLog:
    """The log of the source, mapped from files in the folder `work`."""
    shards = _empty(work / "shards")
    with engine.session(work) as session:
        with counted(source, batches) as taken:
            spilled = session.spill(source, reader, taken, shards)
        reader.check()
        rows, liked = sum(s.rows for s in spilled), sum(s.liked for s in spilled)
        reader.check_labels(rows, liked, min(s.least for s in spilled), max(s.most for s in spilled))
        files, schema = agreed(shards, source.name)
        session.table("events", files)
        with bar("Finding the users and items"):
            tables = {side: _coded(session, side, entities, schema.field(statements.ID_COLUMNS[side]).type, work)
                      for side, entities in (("user", reader.users), ("item", reader.items))}
        if not reader.times.there:
            session.table("turns", [_parquet(work / "turns.parquet", _turns(spilled, rows))])
        fields = context_fields(schema)
        query = statements.events([field.name for field in fields], bool(reader.times.there))
        with bar("Sorting the log", rows, "rows") as advance:
            events, shown, context = _sorted(session, query, pa.schema(fields), liked, rows - liked, work, advance)
        part, left = shown.pop("part"), shown.pop(_DROPPED)
    return InteractionLog(
        **events, context=context, users=tables["user"], items=tables["item"],
        shown=Shown(**shown, dropped=left if left.any() else None).once(part),
        searched=Searched.none(),  # a prepared dataset has events alone
    )


def _coded(session: Session, side: str, entities: Entities, kind: pa.DataType, work: Path) -> pa.Table:
    """The table of users or items, also of those that only the events have; the engine gets the codes of their ids."""
    known = entities.ids.cast(kind)
    session.table(f"known_{side}", [_parquet(work / f"known_{side}.parquet", {"id": known})])
    batches = session.rows(statements.new_ids(side))
    new = pa.chunked_array([batch.column("id").cast(kind) for batch in batches], kind)
    ids = pa.chunked_array([known, *new.chunks], kind)
    codes = np.arange(len(ids), dtype=np.int32)
    session.table(f"coded_{side}", [_parquet(work / f"coded_{side}.parquet", {"id": ids, "code": codes})])
    return entities.table(new)


def _parquet(path: Path, columns: dict[str, pa.ChunkedArray | np.ndarray]) -> str:
    pq.write_table(pa.table(columns), path)
    return str(path)


def _turns(spilled: list[Spilled], rows: int) -> dict[str, np.ndarray]:
    """The random order of a log without times, as `ingest` draws it."""
    turns = np.empty(rows, np.int64)
    turns[np.random.default_rng(0).permutation(rows)] = np.arange(rows)
    return {"place": np.concatenate([s.first + np.arange(s.rows) for s in spilled]), "turn": turns}


def _sorted(
    session: Session, query: str, schema: pa.Schema, liked: int, disliked: int, work: Path,
    advance: Callable[..., None],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], pa.Table]:
    """The rows of the query in files: (events, shown: {name: array}; the events' context, of the schema)."""
    events = {name: empty_array(work, f"events-{name}", kind, liked) for name, kind in _EVENTS.items()}
    shown = {name: empty_array(work, f"shown-{name}", kind, disliked) for name, kind in _SHOWN.items()}
    shown[_DROPPED] = empty_array(work, f"shown-{_DROPPED}", bool, disliked)
    done = [0, 0]
    path = work / "context.arrow"
    with pa.ipc.new_file(str(path), schema) as writer:
        for batch in session.rows(query):
            like = batch.column("liked").to_numpy(zero_copy_only=False)
            for i, (arrays, chosen) in enumerate(((events, like), (shown, ~like))):
                end = done[i] + np.count_nonzero(chosen)
                if arrays is shown:
                    first = batch.num_columns - len(schema)
                    kinds = batch.column(first + schema.names.index(EVENT)) if EVENT in schema.names else None
                    left = None if kinds is None else dropped(kinds)
                    shown[_DROPPED][done[i]:end] = False if left is None else left[chosen]
                for name, array in ((name, array) for name, array in arrays.items() if name != _DROPPED):
                    array[done[i]:end] = batch.column(_IN_SQL.get(name, name)).to_numpy()[chosen]
                done[i] = end
            if len(schema):
                first = batch.num_columns - len(schema)
                columns = [batch.column(first + i).filter(pa.array(like)).cast(field.type)
                           for i, field in enumerate(schema)]
                writer.write(pa.record_batch(columns, schema=schema))
            advance(len(batch))
    if done != [liked, disliked]:  # zeros would stand for the rows that a faulty engine loses
        raise DataError(f"The engine gave {sum(done):,} of {liked + disliked:,} rows. Prepare the log again.")
    with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
        return events, shown, reader.read_all() if len(schema) else pa.table({})
