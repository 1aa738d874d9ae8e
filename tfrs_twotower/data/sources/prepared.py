"""A prepared dataset as a source."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from tfrs_twotower.columns import ITEM_ID, LABEL, TIMESTAMP, USER_ID, WEIGHT
from tfrs_twotower.configuration import config
from tfrs_twotower.data import wide
from tfrs_twotower.data.checking import IngestReport, Rules
from tfrs_twotower.data.log import InteractionLog
from tfrs_twotower.data.preparing.dataset import Manifest, is_prepared, mapped_dataset, read_dataset, read_manifest
from tfrs_twotower.data.source import Source

_BATCH = 1 << 16


@config
class Prepared(Source):
    """A folder that `twotower prepare` wrote. A run maps its files, and neither reads nor copies what they came from.

    Attributes:
      folder: of the dataset
    """

    folder: str

    def __getstate__(self) -> dict[str, str]:
        return {"folder": self.folder}  # a task of a cluster maps the log itself

    @property
    def name(self) -> str:
        """The folder."""
        return self.folder

    @property
    def manifest(self) -> Manifest:
        """What the dataset says of itself. Raises `DataError` if it is none."""
        return read_manifest(self.folder)

    def sources(self) -> list[Source]:
        """What it was made of. It stands itself for what has no configuration, or if the dataset is gone."""
        own = Prepared(os.path.realpath(self.folder))
        if not is_prepared(self.folder):
            return [own]
        manifest = self.manifest
        return list(dict.fromkeys(manifest.source(i) or own for i in range(len(manifest.sources))))

    def rules(self) -> Rules:
        """The rules that its newest events fulfil."""
        return Rules(**self.manifest.sources[-1]["rules"])

    def read(self) -> tuple[InteractionLog, IngestReport]:
        """The log, mapped, and its report. Raises `DataError` if a file is damaged."""
        return read_dataset(self.folder)

    def link(self, folder: str | os.PathLike[str], fingerprint: str) -> bool:
        """Puts the files of the log into a folder, made here, where `read_log` finds them: as links, or as copies where
        the file system has no links. A file of a dataset is never changed, so they stay whole.

        Returns:
          False if the log has another fingerprint by now, as events were appended; the folder then has no whole log.
        """
        manifest, folder = self.manifest, Path(folder)
        if manifest.fingerprint != fingerprint:
            return False
        folder.mkdir(parents=True, exist_ok=True)
        for name in sorted(manifest.files, key=lambda name: name.endswith(".json")):  # the report last
            own = Path(self.folder) / manifest.log / name
            (folder / name).unlink(missing_ok=True)
            try:
                os.link(own, folder / name)
            except FileNotFoundError:
                return False
            except OSError:
                shutil.copyfile(own, folder / name)
        return True

    def interactions(self) -> Iterator[pa.RecordBatch]:
        """Yields the events in time order, and then what was shown, as pa.RecordBatch.

        From then on the tables are those of these events, whatever is appended.
        """
        log = self._log(anew=True)
        shown = {LABEL: np.zeros(len(log.shown), np.int64)}
        for part, context in ((log, log.context), (log.shown, pa.table(shown))):
            columns = {USER_ID: wide.take(log.users[USER_ID], part.user),
                       ITEM_ID: wide.take(log.items[ITEM_ID], part.item)}
            if log.timed:
                columns[TIMESTAMP] = pa.array(part.timestamp)
            if part is log:
                columns[WEIGHT] = pa.array(log.weight)
            for name in log.context.column_names:
                kind = log.context.schema.field(name).type
                there = name in context.column_names
                columns[name] = context[name].cast(kind) if there else pa.nulls(len(part), kind)
            yield from pa.table(columns).to_batches(_BATCH)

    def expected_rows(self) -> int | None:
        """Its events, and what was shown."""
        log = self._log()
        return len(log) + len(log.shown)

    def users(self) -> pa.Table | None:
        """pa.Table: all users of the log."""
        return self._log().users

    def items(self) -> pa.Table | None:
        """pa.Table: all items of the log."""
        return self._log().items

    def _log(self, anew: bool = False) -> InteractionLog:
        """The log that was mapped last."""
        if anew or "_mapped" not in vars(self):
            vars(self)["_mapped"] = mapped_dataset(self.folder)[0]
        log: InteractionLog = vars(self)["_mapped"]
        return log
