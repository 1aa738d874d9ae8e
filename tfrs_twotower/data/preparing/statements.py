"""The SQL of `prepare`. DuckDB and Spark run the same text.

The tables: `events` (the shards), `known_user` and `known_item` (`id`: rows of the source's tables), `coded_user` and
`coded_item` (`id`, `code`: row in the log's table), `turns` (`place`, `turn`: the random order of a log without times).
"""

from collections.abc import Sequence

from tfrs_twotower.data.preparing.shards import plain_name

# Ids that the table lacks, in the order in which the log has them.
_NEW_IDS = """\
SELECT e.{column} AS id, MIN(e.place) AS first_place
FROM events e LEFT JOIN known_{side} k ON e.{column} = k.id
WHERE k.id IS NULL
GROUP BY e.{column}
ORDER BY first_place
"""

_EVENTS = """\
SELECT u.code AS user_code, i.code AS item_code, e.seconds, e.weight, e.part, e.liked{context}
FROM events e
JOIN coded_user u ON e.uid = u.id
JOIN coded_item i ON e.iid = i.id
{order}
"""
_BY_TIME = "ORDER BY e.seconds, e.place"
_BY_TURN = "JOIN turns t ON e.place = t.place\nORDER BY t.turn"

ID_COLUMNS = {"user": "uid", "item": "iid"}


def new_ids(side: str) -> str:
    """The query for the ids of "user" or "item" that the source's table lacks: `id`, in order of first sight."""
    return _NEW_IDS.format(side=side, column=ID_COLUMNS[side])


def events(context: Sequence[str], timed: bool) -> str:
    """The query for the rows of the log, in their order."""
    names = "".join(f", e.{plain_name(name)}" for name in context)
    return _EVENTS.format(context=names, order=_BY_TIME if timed else _BY_TURN)
