"""The names of the fields of the interaction contract and of the exported signatures. They are written here alone."""

import keyword
import re
from collections.abc import Iterable

USER_ID = "user_id"
ITEM_ID = "item_id"
TIMESTAMP = "timestamp"
EVENT = "event"
WEIGHT = "weight"
LABEL = "label"
SESSION = "session"
EVENT_ID = "event_id"
ANSWER = "answer"  # the id of the server's answer that the event came from
PLACE = "place"  # of the item in that answer
DWELL = "dwell"  # seconds
VALUE = "value"  # an amount, such as money
QUERY = "query"  # search words
# What an event says of itself, which is no feature of its own query.
OF_EVENTS = (EVENT, LABEL, SESSION, ANSWER, PLACE, DWELL, VALUE, QUERY)

# Inputs of a query request with the user's history, oldest first, padded at the end; see `past`.
PAST = "history"
HISTORY_ITEM_ID = "history_item_id"
HISTORY_TIMESTAMP = "history_timestamp"
SEARCHES = "searches"  # the words of the user's last searches, oldest first

# Derived by training for an item: the list of its users, as rows of the user table. Never served.
TAKEN_BY = "taken_by"

# The exported signatures. What each takes and gives is said in ARCHITECTURE.md, "Export".
SERVING_DEFAULT = "serving_default"
RECOMMEND_EXACT = "recommend_exact"
RECOMMEND_BY_VECTOR = "recommend_by_vector"
RECOMMEND_FRESH = "recommend_fresh"
RECOMMEND_FRESH_BY_VECTOR = "recommend_fresh_by_vector"
RECOMMEND_FOUND_BY_VECTOR = "recommend_found_by_vector"
EMBED_QUERY = "embed_query"
EMBED_CANDIDATE = "embed_candidate"
SCORE_PAIRS = "score_pairs"
SIMILAR_ITEMS = "similar_items"
QUERY_PARTS = "query_parts"
UPDATE_USER_ROWS = "update_user_rows"

# Inputs of the exported signatures that are not features.
K = "k"
EXCLUDE_IDS = "exclude_ids"
ALLOW_IDS = "allow_ids"
POPULARITY_BETA = "popularity_beta"
OBJECTIVES = "objectives"
CANDIDATE_IDS = "candidate_ids"
FOUND_IDS = "found_ids"
OVERLAY_IDS = "overlay_ids"
OVERLAY_VECTORS = "overlay_vectors"
WITHDRAWN_IDS = "withdrawn_ids"

# Outputs of the exported signatures.
IDS = "ids"
SCORES = "scores"
EMBEDDING = "embedding"
KEYS = "keys"
ROWS = "rows"
COUNT = "count"

# The id that means "nothing here": padding of a ragged list, an unknown or missing id.
MISSING_STRING_ID = ""
MISSING_INT_ID = -1

OPTIONS = (
    K, EXCLUDE_IDS, ALLOW_IDS, POPULARITY_BETA, CANDIDATE_IDS, FOUND_IDS, OVERLAY_IDS, OVERLAY_VECTORS, WITHDRAWN_IDS,
    OBJECTIVES,
)
_TITLES = ("title", "name")
_UNSAFE = re.compile(r"[^A-Za-z0-9_]")


def safe(column: str) -> str:
    """A column's name in TensorFlow, which allows few characters in layers, and only identifiers in signatures.

    ASCII letters, digits and `_` stay, a space becomes `_`, any other character becomes `u` and its code point in hex.
    A name gets an `x` in front if it does not begin with a letter, is a Python keyword, or an option of the signatures:
    `Product Type` → `Product_Type`, `Größe` → `Gru00f6u00dfe`, `_id` → `x_id`, `class` → `xclass`.
    """
    name = _UNSAFE.sub(lambda found: "_" if found[0] == " " else f"u{ord(found[0]):04x}", column)
    return name if name[:1].isalpha() and not keyword.iskeyword(name) and name not in OPTIONS else f"x{name}"


def past(part: str = "", kinds: Iterable[str] = ()) -> str:
    """The input that has a part of each event of a history: `past("dwell")` → `history_dwell`.

    A history of the events of some kinds has inputs of its own: `past("item_id", ["buy"])` → `history_buy_item_id`.
    Without a part it is the name of the history, which its inputs begin with.
    """
    return "_".join([PAST, *map(safe, kinds), *filter(None, [part])])


def title(names: Iterable[str]) -> str | None:
    """The column with the items' titles, of columns of text: one called `title` or `name`, else one whose name ends in
    `_title`; None if there is none."""
    names = list(names)
    found = [name for name in names if name.casefold() in _TITLES]
    found += [name for name in names if name.casefold().endswith("_title")]
    return next(iter(found), None)
