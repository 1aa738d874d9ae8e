"""Reads the rows of a version's user table that were published since its export."""

from tfrs_twotower.errors import ExportError
from tfrs_twotower.exporting import Key, Seal, user_deltas
from tfrs_twotower.serving.model import LoadedModel


class PublishedRows:
    """Reads them again and again, and refuses to go back to an earlier signed list.

    Args:
      key: the `exporting.Key` that has to have signed them; None: no signature is needed.
    """

    def __init__(self, key: Key | None) -> None:
        self._key = key
        self._counts: dict[str, int] = {}  # {a version's identity: the number of the signed list that was read last}

    def read(self, root: str, version: int, model: LoadedModel, identity: str | None) -> list[user_deltas.UserDelta]:
        """The updates of a version's rows, oldest first.

        Args:
          root: the folder of all versions.
          version: its number.
          model: it, loaded.
          identity: of its files.

        Raises:
          ExportError: an update is damaged, is not signed, or the signed list is an earlier one than the last.
        """
        identity = identity or ""
        seal = None if self._key is None else Seal(self._key, identity)
        rows, count = user_deltas.read_counted(root, version, model.manifest.get("embedding_space"), seal)
        if count < (last := self._counts.get(identity, 0)):
            raise ExportError(f"the signed list of version {version} is an earlier one: number {count} after {last}. "
                              "Publish the users' update again.")
        self._counts[identity] = count
        return rows
