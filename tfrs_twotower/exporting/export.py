"""Writes one version of a retriever as a SavedModel, checks it, and publishes it in one step."""

import datetime
import os
import shutil
from pathlib import Path

import tensorflow as tf

from tfrs_twotower.durable import flush
from tfrs_twotower.errors import ExportError, invalid
from tfrs_twotower.exporting import manifest, parity, warmup
from tfrs_twotower.exporting.signatures import signatures

SCANN, PORTABLE = "scann", "portable"
_CUSTOM_OPS = "Scann"  # the namespace of ScaNN's ops


def next_version(root):
    """One more than the highest version under `root`; 1 where there is none."""
    versions = [int(p.name) for p in Path(root).glob("*") if p.name.isdigit()] if Path(root).is_dir() else []
    return max(versions, default=0) + 1


def export(retriever, root, fields, samples, index_report, model_name="twotower", force=False, least_version=1):
    """Saves `retriever` under `root` as the next version.

    It is written aside, checked against the model in memory, flushed to disk and renamed: a crash at any point
    leaves the versions that were there.

    Args:
      retriever: a `Retriever`.
      root: the folder of all versions, as TF Serving takes it.
      fields: what the manifest is to hold besides: schema, vocabulary, embedding_space, metrics.
      samples: list of {input name: tensor}: raw query features for the parity check and the warm-up.
      index_report: an `IndexReport`.
      model_name: the name that warm-up requests carry.
      force: True exports an index whose measured recall is below its target too.
      least_version: the version's number is at least this.

    Returns:
      The path of the new version.

    Raises:
      ExportError: recall below target, a `root` that cannot be written, or the saved model does not answer as
        the model in memory.
    """
    report = index_report.to_dict()
    if not report["meets_target"] and not force:
        raise ExportError(
            f"The index reaches recall@{report['k']} {index_report.recall_at_k:.3f} where {report['target_recall']} "
            "was asked for. Raise `index.probes` and `index.reorder`, lower `index.target_recall`, or force it."
        )
    flavour = SCANN if report["kind"] == SCANN else PORTABLE
    root = Path(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        _clear_abandoned(root)
        version = max(next_version(root), least_version)
        aside = root / f".writing-{version}-{os.getpid()}"
        aside.mkdir(exist_ok=True)
    except OSError as error:
        rule, way_out = "be a folder that can be written", f"The system says: {error}."
        raise ExportError(invalid("root", rule, str(root), way_out)) from error
    try:
        options = tf.saved_model.SaveOptions(namespace_whitelist=[_CUSTOM_OPS] if flavour == SCANN else [])
        tf.saved_model.save(retriever, str(aside), signatures=signatures(retriever), options=options)
        worst = parity.check(retriever, aside, samples)
        requests = warmup.write(aside, model_name, samples[:1])
        manifest.write(aside, {
            **fields,
            "version": version,
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "flavour": flavour,
            "custom_op_library": SCANN if flavour == SCANN else None,
            "catalogue": {"items": retriever.size, "dim": retriever.dim},
            "index": report,
            "parity": {"largest_relative_score_difference": worst},
            "warmup_requests": requests,
            "versions": manifest.versions(),
        })
        _flush_tree(aside)
        os.rename(aside, root / str(version))
        flush(root)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return root / str(version)


def _clear_abandoned(root):
    """Removes what exports that were killed left behind; one that still runs keeps its folder."""
    for path in root.glob(".writing-*"):
        try:
            os.kill(int(path.name.rpartition("-")[2]), 0)
        except (ProcessLookupError, ValueError):
            shutil.rmtree(path, ignore_errors=True)
        except PermissionError:  # somebody else's, alive
            continue


def _flush_tree(directory):
    for path in [p for p in Path(directory).rglob("*") if p.is_file()]:
        flush(path)
    for path in [directory, *(p for p in Path(directory).rglob("*") if p.is_dir())]:
        flush(path)
