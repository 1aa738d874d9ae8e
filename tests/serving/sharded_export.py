"""The export of `shop_export` with an index in two shards: items a, b and c, and items d, e and f."""

import shutil

from tests.serving import shop_export
from tfrs_twotower.configuration import to_dict
from tfrs_twotower.exporting import manifest
from tfrs_twotower.index import ExactKind, IndexConfig, ShardedKind


def write(root):
    """Writes `root`/1."""
    path, kind = shop_export.write(root, 1), ShardedKind(ExactKind(), 2)
    (path / "index").mkdir()
    kind.save(kind.build(shop_export.VECTORS, IndexConfig()), path / "index")
    _describe(path, 1, "s", kind)


def copy(root, to, version, said="s"):
    """Writes `to`/`version`, a copy of version 1. said: makes another manifest of the same version."""
    aside = to / f".{version}"
    shutil.copytree(root / "1", aside)
    _describe(aside, version, said, ShardedKind(ExactKind(), 2))
    aside.rename(to / str(version))


def _describe(path, version, said, kind):
    manifest.write(path, {
        "model": "shop", "custom_op_library": None, "embedding_space": said, "schema": shop_export.SCHEMA,
        "version": version, "index_kind": to_dict(kind), "catalogue": {"items": 6, "dim": 2},
    })
