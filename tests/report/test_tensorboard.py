"""What TensorBoard reads of a run: all metrics by epoch, and the items' vectors with their titles."""

import numpy as np
from google.protobuf import text_format
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.projector import ProjectorConfig

from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.gathering import write_projector
from tfrs_twotower.training import TENSORBOARD


def test_each_metric_has_a_curve(trained):
    folder = trained.directory / runs.CHECKPOINT / TENSORBOARD
    curves = EventAccumulator(str(folder / "validation"), size_guidance={"tensors": 0}).Reload()
    known = set(curves.Tags()["tensors"])
    assert {"epoch_ndcg@10", "epoch_hit_rate@10", "epoch_mrr", "epoch_coverage@10"} <= known
    epochs = trained._fit_report.epochs
    assert [event.step for event in curves.Tensors("epoch_ndcg@10")] == list(range(epochs))


def test_the_projector_has_a_vector_and_a_title_for_each_item(trained, tmp_path):
    write_projector(trained.assembly, tmp_path)
    config = text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), ProjectorConfig())
    (items,) = config.embeddings
    vectors = np.loadtxt(tmp_path / items.tensor_path, delimiter="\t")
    titles = (tmp_path / items.metadata_path).read_text().splitlines()
    a = trained.assembly
    most = int(np.argmax(a.train_counts))
    assert vectors.shape == (len(a.catalogue), a.item_vectors().shape[1]) and len(titles) == len(vectors)
    assert titles[0] == str(a.log.items["item_id"][int(a.catalogue[most])])
    expected = a.item_vectors(np.array([most]))[0]
    np.testing.assert_allclose(vectors[0], expected / np.linalg.norm(expected), atol=1e-4)
