"""An index with a folder, for the tests of its log."""

from flat_index import Flat

from tfrs_twotower.index.mutable import MutableIndex

DIM = 2
SPACE = "space-1"


def opened(folder, id_type=str, **kwargs):
    return MutableIndex(Flat, DIM, id_type, folder=folder, **{"space": SPACE, **kwargs})


def held(index):
    """{id: vector} of all that is in the index."""
    ids, vectors = index.items()
    return dict(zip(ids.tolist(), vectors.tolist()))
