"""Ids that an engine may read as part of its query language, or change on the way."""

HOSTILE = [
    "it's", "a\nb", "C:\\new", "a\\b", "a\\\\b", "x','b", "b", '"', "'", "\\", "\\\\", "\\n", "\t", "a\rb", "a\x00b",
    "{ids}", "'; drop table items", "%s", "é", "\\u00e9", "e\u0301", " ", " a", "a ", "//", "--", "a\\", "\\'", '\\"',
    "[]", "null", "0", "00", "\u2028", "\U0001f600", '"] or item_id != "',
]
