"""An export in Python: its signatures, called by name, with their defaults."""

import os
from pathlib import Path

from tfrs_twotower.exporting import Key, Seal, integrity, user_deltas
from tfrs_twotower.exporting.publishing import versions_under
from tfrs_twotower.serving.loading import load, with_user_rows
from tfrs_twotower.serving.model import LoadedModel


def load_export(directory: str | Path, key: Key | None = None) -> LoadedModel:
    """Loads a version of an export as a server has it: with the rows of users that were published since, and with an
    index outside of its SavedModel if it brings one.

        export = tt.load_export("runs/retail/latest/export")
        export(user_id=[1, 2], k=5)["ids"]
        export("similar_items", item_id=["50"])

    `tf.saved_model.load` gives the same signatures without defaults: each call then has to name all inputs.

    Args:
      directory: of a version, or of all versions: the newest.
      key: the `Key` that has to have signed it, and the rows; None: no signature is needed.

    Raises:
      ExportError: it is no export, it or a row is damaged, or a signature is wrong.
      VersionRefused, IndexingError, MissingExtraError, ConfigError: what it needs is not there.
    """
    folder = os.path.realpath(directory)
    found = versions_under(folder)
    if found:
        folder = os.path.join(folder, str(found[-1]))
    name = os.path.basename(folder)
    version = int(name) if name.isdecimal() else 0
    with integrity.checked(folder, version, key) as (files, manifest):
        identity = integrity.identity(files) or ""
        model = load(files, version, manifest, identity)
    deltas = user_deltas.read(
        os.path.dirname(folder), version, manifest.get("embedding_space"), None if key is None else Seal(key, identity)
    )
    return with_user_rows(model, deltas, model.identity) if deltas else model
