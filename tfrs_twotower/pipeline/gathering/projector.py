"""The items' vectors with their titles, for the projector of TensorBoard."""

import csv
from pathlib import Path

import numpy as np

from tfrs_twotower.exporting import unit
from tfrs_twotower.pipeline.assembly import Assembly
from tfrs_twotower.pipeline.gathering.titles import Titles

_ITEMS = 10_000  # more are slow in a browser
_CONFIG = """embeddings {
  tensor_name: "items"
  tensor_path: "items.tsv"
  metadata_path: "titles.tsv"
}
"""


def write_projector(a: Assembly, folder: Path) -> None:
    """Writes the vectors and titles of the 10,000 most popular items into the folder of a run of TensorBoard."""
    popular = np.argsort(-a.train_counts, kind="stable")[:_ITEMS]
    titles = Titles(a.log, a.recipe.title)(a.catalogue[popular])
    vectors = unit(a.item_vectors(popular)).tolist()
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "items.tsv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file, "excel-tab").writerows([f"{x:.5g}" for x in row] for row in vectors)
    one_line = (" ".join(title.split()) or "?" for title in titles)
    (folder / "titles.tsv").write_text("".join(f"{title}\n" for title in one_line), encoding="utf-8")
    (folder / "projector_config.pbtxt").write_text(_CONFIG, encoding="utf-8")
