"""Ids: of which type they are, and what stands where there is none.

An id is text or a whole number of 64 bits. No id is text that means a missing one, such as "-1" or "NULL": ingestion
leaves it out of logs and tables, and a server refuses it. Where there is none, an Arrow column has null, and a tensor,
a request or an answer has "" or −1. `features/tensors.py` makes tensors of Arrow columns, by these rules.
"""

import math
import re
from typing import TYPE_CHECKING

from tfrs_twotower.columns import MISSING_INT_ID, MISSING_STRING_ID

if TYPE_CHECKING:
    import tensorflow as tf

_MISSING: dict[str, str | int | float] = {"string": MISSING_STRING_ID, "int64": MISSING_INT_ID, "float32": math.nan}
MISSING_TEXTS = ("", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "None", "\\N", "n/a", "<NA>")  # of any column
NO_IDS = (*MISSING_TEXTS, "-1", "-1.0")
_WHOLE = re.compile(r"\s*-?[0-9]+\s*")
_BEYOND = 2**63


def missing_value(dtype: "tf.DType") -> str | int | float | None:
    """What a raw tensor of this type has where nothing is there: "", −1 or NaN; None for a type that features lack."""
    return _MISSING.get(dtype.name)


def missing_id(kind: "tf.DType | type[str] | type[int]") -> str | int:
    """The missing id, "" or −1, where ids are of this type: of a tensor, or `str` or `int`."""
    return MISSING_STRING_ID if kind is str or kind == "string" else MISSING_INT_ID


def is_missing_id(value: object) -> bool:
    """Is a Python value no id? None, −1 and the texts of `NO_IDS` are none, with spaces around them too."""
    return value.strip() in NO_IDS if isinstance(value, str) else value is None or value == MISSING_INT_ID


def id_type(dtype: "tf.DType") -> type[str] | type[int]:
    """`str` or `int`: what the ids of a tensor are in Python."""
    return str if dtype == "string" else int


def as_number(value: object) -> int:
    """7 for "007" and 7: an id that is a whole number to a model, and text to stores and clients.

    `int` alone reads "1_0" as 10, which is somebody else's id. Raises `ValueError` for what is no whole number of 64
    bits.
    """
    text = str(value)
    number = int(text) if _WHOLE.fullmatch(text) else _BEYOND
    if not -_BEYOND <= number < _BEYOND:
        raise ValueError(f"{text[:40]!r} is no whole number of 64 bits")
    return number
