"""The base of the kinds of index: how each is built, tuned, estimated, kept and searched."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from tfrs_twotower.configuration import to_dict
from tfrs_twotower.errors import ConfigError, invalid, nearest
from tfrs_twotower.index.candidate_index import CandidateIndex
from tfrs_twotower.index.leaves import probes_for
from tfrs_twotower.modules import own_class, subclasses

if TYPE_CHECKING:
    from tfrs_twotower.index.config import IndexConfig

# Where an index is searched: in the graph of a SavedModel, by the process that serves one, or in another server.
SAVED_MODEL, SERVER, REMOTE = "saved_model", "server", "remote"
# One true score of a vector out of order costs about as much as this many codes in order.
_REORDER_COST = 16


class Sweep(NamedTuple):
    """Settings to try, from the cheapest to the most thorough.

    least, most: the whole numbers to try, as probes of leaves. turn: sets one of them, for the searches that follow.
    cost: the cost of a search with it, to compare sweeps of the same index.
    """

    least: int
    most: int
    turn: Callable[[int], None]
    cost: Callable[[int], float]


class IndexKind:
    """A kind of index, as `IndexConfig.kind` names it. A subclass is decorated with `config` and may have fields.

    Attributes:
      name: its name in `IndexConfig.kind`. The name of a class outside of this package is `module.Class`.
      place: SAVED_MODEL: a `tf.Module` that searches in graph code, so that exports hold it. SERVER: NumPy in and
        out, searched by the process that serves. REMOTE: the same, and the vectors lie in another server.
      op_library: the package that registers the custom ops of its graph; None: stock ops only.
      op_namespace: the namespace of these ops.
    """

    name: ClassVar[str] = ""
    place: ClassVar[str] = SAVED_MODEL
    op_library: ClassVar[str | None] = None
    op_namespace: ClassVar[str | None] = None

    def build(self, vectors: np.ndarray, settings: "IndexConfig", seed: int = 0) -> CandidateIndex:
        """An index over float32 [n, dim], checked and finite. Settings that are None are tuned later."""
        raise NotImplementedError(f"`{self.called()}` must define `build(vectors, settings, seed)`.")

    def sweeps(self, index: Any, settings: "IndexConfig") -> Sequence[Sweep]:
        """The sweeps that the tuning tries on an index of `build`; () if there is nothing to tune."""
        return ()

    def memory_bytes(self, shape: tuple[int, int], leaves: int | None = None) -> int:
        """Bytes that a built index of vectors of this shape, (n, dim), takes in this process. Here: the vectors."""
        return 4 * shape[0] * shape[1]

    def save(self, index: Any, folder: Path) -> None:
        """Writes an index that no SavedModel can hold as files in an empty folder."""
        raise NotImplementedError(f"`{self.called()}` must define `save` and `load`, as its place is {self.place!r}.")

    def load(self, folder: Path) -> CandidateIndex:
        """The index that `save` wrote."""
        raise NotImplementedError(f"`{self.called()}` must define `save` and `load`, as its place is {self.place!r}.")

    def reads(self, brought: Mapping[str, Any]) -> bool:
        """Can `load` open the index that an export brings?

        brought: its kind, as `to_dict` writes it; what an earlier version did not write has its default.
        """
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # a subclass is a dataclass
        defaults = {field.name: field.default for field in fields}
        own = to_dict(self).items()
        return brought == {name: value for name, value in own if name in brought or value != defaults.get(name)}

    @classmethod
    def at(cls, address: str) -> "IndexKind":
        """The kind with the text after a colon in `IndexConfig.kind`: an address, or a store."""
        raise ConfigError(invalid("IndexConfig.kind", "have no address", f"{cls.called()}:{address}", "Leave it out."))

    @classmethod
    def called(cls) -> str:
        """The name of this class, or its import path outside of this package."""
        return cls.__dict__.get("name") or f"{cls.__module__}.{cls.__qualname__}"


def kind_of(named: "str | IndexKind") -> IndexKind:
    """The `IndexKind` that a configuration names: "ivf", "milvus:ADDRESS", "module.Class", or an `IndexKind` itself.

    Raises:
      ConfigError: there is no such kind, or its module cannot be imported.
    """
    if isinstance(named, IndexKind):
        return named
    if not isinstance(named, str):
        raise ConfigError(invalid("IndexConfig.kind", "be a name or an `IndexKind`", named, 'Write kind="auto".'))
    known = {cls.called(): cls for cls in subclasses(IndexKind) if not cls.__name__.startswith("_")}
    name, separator, address = named.partition(":")
    cls = known.get(name) or (own_class(name, IndexKind, ConfigError, "The kind of index") if "." in name else None)
    if cls is None:
        raise ConfigError(f"`IndexConfig.kind` cannot be {named!r}." + nearest(name, ["auto", *known]))
    return cls.at(address) if separator else cls()


def op_libraries() -> set[str]:
    """The packages whose ops the graphs of the known kinds need."""
    return {cls.op_library for cls in subclasses(IndexKind) if cls.op_library}


def leaf_sweeps(
    index: Any, settings: "IndexConfig", turn: Callable[[int, int], None], reorders: Sequence[int] = (0,)
) -> list[Sweep]:
    """The sweeps of an index with `leaves` and `size`: the probes, for each number of vectors that are reordered.

    turn: sets (probes, reorder).
    """
    # The least probes of a search for settings.k. With fewer, a smaller k would miss the target.
    least = settings.probes or probes_for(1, index.leaves, index.size, settings.k)
    most = settings.probes or index.leaves

    def sweep(reorder: int) -> Sweep:
        return Sweep(
            least, most, lambda probes: turn(probes, reorder),
            lambda probes: probes * index.size / index.leaves + _REORDER_COST * reorder,
        )

    return [sweep(reorder) for reorder in reorders]
