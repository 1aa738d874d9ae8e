"""Several sources as one log, such as the days of a log one after the other."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.columns import ITEM_ID, USER_ID
from tfrs_twotower.configuration import config
from tfrs_twotower.data import wide
from tfrs_twotower.data.source import PART, Source, bad_lines, notes_of, with_said
from tfrs_twotower.errors import ConfigError, DataError, invalid
from tfrs_twotower.ranges import MinLength


@config
class Joined(Source):
    """The events of all parts. If several parts describe a user or item, the last description counts.

    A column that the last part's table lacks keeps the value of an earlier part.

    Attributes:
      parts: source configurations, the oldest first. They must agree in the types of their columns.
    """

    parts: Annotated[tuple[Source, ...], MinLength(1), "Write for example (Files(…), TFRecords(…))."]

    @property
    def name(self) -> str:
        """The parts' names."""
        return " + ".join(part.name for part in self.parts)

    def interactions(self) -> Iterator[pa.RecordBatch]:
        """Yields pa.RecordBatch, part after part."""
        for number, part in enumerate(self.parts):
            yield from _numbered(part.interactions(), number)

    def expected_rows(self) -> int | None:
        """Those of all parts."""
        rows = [part.expected_rows() for part in self.parts]
        return None if None in rows else sum(rows)  # type: ignore[arg-type]  # none of them is None

    def shards(self) -> int:
        """Those of all parts."""
        return sum(part.shards() for part in self.parts)

    def shard(self, number: int) -> Iterator[pa.RecordBatch]:
        """Yields pa.RecordBatch."""
        for i, part in enumerate(self.parts):
            if number < (there := part.shards()):
                return _numbered(part.shard(number), i)
            number -= there
        raise IndexError(number)

    def sources(self) -> list[Source]:
        """Those of all parts."""
        return [of for part in self.parts for of in part.sources()]

    def users(self) -> pa.Table | None:
        """pa.Table or None."""
        return newest([part.users() for part in self.parts], USER_ID)

    def items(self) -> pa.Table | None:
        """pa.Table or None."""
        return newest([part.items() for part in self.parts], ITEM_ID)


def _numbered(batches: Iterable[pa.RecordBatch], part: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch.replace_schema_metadata({**(batch.schema.metadata or {}), PART: str(part)})


def parts_of(source: Source | None) -> tuple[Source | None, ...]:
    """The parts of a `Joined`, also of one inside another source (`TextVectors`); any other source alone."""
    inner = getattr(source, "source", source)
    return inner.parts if isinstance(inner, Joined) else (inner,)


def last_part(source: Any) -> Source:
    """The newest part of a `Joined`, wrapped as the source wraps it if the part describes items."""
    part: Any = parts_of(source)[-1]
    wrapped = hasattr(source, "source") and part.items() is not None
    return dataclasses.replace(source, source=part) if wrapped else part


# Any: a `Source` that is a dataclass as well. No annotation can say both.
def joined(source: Any, new: Any) -> Any:
    """A source and a newer one as one; the source itself if `new` is None.

    If a source wraps another (`TextVectors`), the new events join the inner one, so new rows get its column too.

    Raises:
      ConfigError: a part already has files of `new`, or there is no source: the run was trained on data frames.
    """
    if source is None:
        rule, way_out = "have a source, whose log the update continues", (
            "It was trained on data frames. Write them to files and train on these, for example with "
            "source=Files('log.parquet')."
        )
        raise ConfigError(invalid("recipe", rule, source, way_out))
    if new is None:
        return source
    had = [_events(of) for part in parts_of(source) if part is not None for of in part.sources()]
    if any(_events(of) in had for of in new.sources()):
        rule = "be new events in a place of their own"
        raise ConfigError(invalid("interactions", rule, new.name, (
            "The log has these already: they would count twice. If the file was overwritten, earlier events would be "
            "missing. Name each file by its time. If the log's own files have grown, name none."
        )))
    grown = Joined((*parts_of(source), new))  # type: ignore[arg-type]  # `Joined` refuses a part that is None
    return dataclasses.replace(source, source=grown) if hasattr(source, "source") else grown


def _events(part: Any) -> Any:
    """The source without its tables of users and items; one without a configuration, such as `Frames`, as it is."""
    tables = {name: None for name in ("users_path", "items_path") if hasattr(part, name)}
    return dataclasses.replace(part, **tables) if tables else part


def newest(tables: Sequence[pa.Table | None], id_name: str) -> pa.Table | None:
    """One row per id, in order of first appearance. A cell is from the last table with the id and the column.

    Raises:
      DataError: a column has two types that cannot be one.
    """
    tables = [table for table in tables if table is not None]
    if len(tables) < 2:
        return tables[0] if tables else None
    columns = {}  # names by the tables that have them
    for name in dict.fromkeys(name for table in tables for name in table.column_names):
        columns.setdefault(tuple(name in table.column_names for table in tables), [id_name]).append(name)
    ids = _together(tables, [id_name])[id_name].unique()
    found = pa.table({id_name: ids})
    for having, names in columns.items():
        names = list(dict.fromkeys(names))
        part = _together([table for table, has in zip(tables, having) if has], names)
        rows = part.append_column("_row", pa.array(range(len(part)), pa.int64())).select([id_name, "_row"])
        rows = rows.group_by(id_name).aggregate([("_row", "max")])
        rows = rows["_row_max"].take(pc.index_in(ids, value_set=rows[id_name]))
        for name in names[1:]:
            found = found.append_column(name, part[name].take(rows))
    notes, bad = ([said for table in tables for said in find(table.schema)] for find in (notes_of, bad_lines))
    return with_said(found, notes, bad)  # type: ignore[arg-type]  # the comprehension takes both for one type


def _together(tables: Iterable[pa.Table], names: Sequence[str]) -> pa.Table:
    try:
        return wide.whole(pa.concat_tables([t.select(names) for t in tables], promote_options="permissive"))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        what = "users" if USER_ID in names else "items"
        rule = f"A column of the {what} changes its type between files: {error}. Store it as one type."
        raise DataError(rule) from error
