"""The items' vectors with their titles, for the projector of TensorBoard."""

import csv
from pathlib import Path

from tfrs_twotower.pipeline.assembly import Assembly
from tfrs_twotower.pipeline.gathering.places import drawn
from tfrs_twotower.pipeline.gathering.titles import Titles

_ITEMS = 10_000  # more are slow in a browser
_CONFIG = """embeddings {
  tensor_name: "items"
  tensor_path: "items.tsv"
  metadata_path: "titles.tsv"
}
"""


def write_projector(a: Assembly, folder: Path) -> None:
    """Writes the vectors and titles of at most 10,000 items into the folder of a run of TensorBoard."""
    found = drawn(a)
    titles = Titles(a.log, a.recipe.title)(a.catalogue[found.positions[:_ITEMS]])
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "items.tsv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file, "excel-tab").writerows([f"{x:.5g}" for x in row] for row in found.vectors[:_ITEMS].tolist())
    one_line = (" ".join(title.split()) or "?" for title in titles)
    (folder / "titles.tsv").write_text("".join(f"{title}\n" for title in one_line), encoding="utf-8")
    (folder / "projector_config.pbtxt").write_text(_CONFIG, encoding="utf-8")
