"""Writes one version of a retriever as a SavedModel, checks it, and publishes it in one step."""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import tensorflow as tf
from tf_keras.src.saving.legacy.saved_model.utils import keras_option_scope

from tfrs_twotower import columns as c
from tfrs_twotower import progress
from tfrs_twotower.configuration import to_dict
from tfrs_twotower.errors import ExportError, invalid
from tfrs_twotower.exporting import items, manifest, parity, people, warmup
from tfrs_twotower.exporting.moving import Moving, write_moving
from tfrs_twotower.exporting.publishing import new_version
from tfrs_twotower.exporting.retriever import Retriever
from tfrs_twotower.exporting.signatures import signatures
from tfrs_twotower.exporting.signing import Key
from tfrs_twotower.index import IndexKind, IndexReport, kind_of

SCANN, PORTABLE = "scann", "portable"
INDEX = "index"  # the folder with the files of an index that the SavedModel does not hold


def export(
    retriever: Retriever, root: str | Path, fields: Mapping[str, Any], samples: Sequence[Mapping[str, tf.Tensor]],
    index_report: IndexReport, model_name: str = "twotower", force: bool = False, least_version: int = 1,
    table: pa.Table | None = None, kind: IndexKind | None = None, key: Key | None = None,
    sample: people.People | None = None, statistics: Moving | None = None,
) -> Path:
    """Saves `retriever` under `root` as the next version.

    The version is written to a temporary folder, checked against the model in memory, flushed to disk and renamed.
    A crash at any point leaves the earlier versions as they were.

    Args:
      retriever: a `Retriever`.
      root: the folder of all versions, as TF Serving takes it.
      fields: further fields of the manifest: schema, vocabulary, embedding_space, metrics.
      samples: list of {input name: tensor}: raw query features for the parity check and the warm-up.
      index_report: an `IndexReport`.
      model_name: the model's name in the warm-up requests.
      force: True also exports an index whose measured recall is below its target.
      least_version: the version's number is at least this.
      table: pa.Table with one table row for each catalogue row, in the same order: the attributes that requests can
        filter by (see `exporting.items`). None: no attributes.
      kind: the `IndexKind` of the retriever's index; None: the kind that the report names.
      key: the `Key` that signs the version; None: it is not signed.
      sample: the `People` whose vectors a server asks strangers questions with; None: it cannot.
      statistics: the `Moving` of the catalogue, if candidates have statistics.

    Returns:
      The path of the new version.

    Raises:
      ExportError: the recall is below its target, `root` cannot be written, the saved model does not answer as the
        model in memory, or there are both a reranker and an index outside the SavedModel.
    """
    report = index_report.to_dict()
    if not report["meets_target"] and not force:
        raise ExportError(
            f"The index reaches recall@{report['k']} {index_report.recall_at_k:.3f}, below {report['target_recall']}, "
            "its target. Choose another `index.kind` or other settings, lower `index.target_recall`, or force it."
        )
    kind = kind or kind_of(report["kind"])
    if retriever.searches_outside and retriever.reranking is not None:
        way_out = 'Choose a kind that the SavedModel holds, as "scann", or leave the reranker out.'
        rule = "be inside the SavedModel if there is a reranker"
        raise ExportError(invalid("index.kind", rule, report["kind"], way_out))
    with progress.bar("Exporting", 2) as advance, new_version(root, least_version, key) as (aside, version):
        advance(0, "1 of 2: writing the SavedModel")
        options = tf.saved_model.SaveOptions(namespace_whitelist=list(filter(None, [kind.op_namespace])))
        with keras_option_scope(save_traces=False):  # the signatures are all that is called: no layer alone is
            tf.saved_model.save(retriever, str(aside), signatures=signatures(retriever), options=options)
        if table is not None:
            items.write(aside, table)
        if sample is not None:
            people.write(aside, sample)
        if statistics is not None:
            write_moving(aside, statistics)
        advance(1, "2 of 2: loading it, and comparing its answers")
        worst = parity.check(retriever, aside, samples)
        advance(1, "publishing it")
        requests = warmup.write(aside, model_name, samples[:1], retriever.item_ids[:1])
        manifest.write(aside, {
            **fields,
            **_columns(retriever),
            "version": version,
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            **_outside(retriever, kind, aside),
            "flavour": kind.op_library or PORTABLE,
            "custom_op_library": kind.op_library,
            "catalogue": {"items": retriever.size, "dim": retriever.dim},
            "index": report,
            "parity": {"largest_relative_score_difference": worst},
            "warmup_requests": requests,
            "versions": manifest.versions(),
        })
    return Path(root) / str(version)


def _outside(retriever: Retriever, kind: IndexKind, directory: Path) -> dict[str, Any]:
    """Writes an index that the SavedModel does not hold. Returns its manifest fields; {} if there is no such index."""
    if not retriever.searches_outside:
        return {}
    folder = directory / INDEX
    folder.mkdir()
    kind.save(retriever.index, folder)
    return {"index_kind": to_dict(kind)}


def _columns(retriever: Retriever) -> dict[str, dict[str, str]]:
    """{"columns": {input's name: column}} for columns whose input has another name; {} if there are none."""
    names = [*retriever.query_tower.inputs(), *retriever.candidate_tower.inputs()]
    found = {c.safe(name): name for name in names if c.safe(name) != name and name not in c.OPTIONS}
    return {"columns": found} if found else {}
