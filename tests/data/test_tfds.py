import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower.data import Columns, Tfds, ingest
from tfrs_twotower.errors import DataError

COLUMNS = Columns("data/customer", "product", "date", label="stars", context=("verified",))


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A data set of one's own, prepared: nested features, class labels, a list, dates as text."""
    import tensorflow_datasets as tfds

    class TwotowerShop(tfds.core.GeneratorBasedBuilder):
        """Three reviews."""

        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = tmp_path_factory.mktemp("package")

        def _info(self):
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict({
                "data": {"customer": np.str_, "country": np.str_},
                "product": np.int64,
                "kind": tfds.features.ClassLabel(names=["book", "film"]),
                "tags": tfds.features.Sequence(tfds.features.ClassLabel(names=["new", "used"])),
                "date": np.str_,
                "stars": np.float32,
                "verified": np.bool_,
                "picture": tfds.features.Image(shape=(2, 2, 1)),
            }))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            rows = [
                ("ann", "DE", 7, 1, [0, 1], "1970-01-01T00:00:03"),
                ("bob", "FR", 8, 0, [], "1970-01-01T00:00:01"),
                ("ann", "DE", 8, 0, [], "1970-01-01T00:00:02"),
            ]
            for i, (customer, country, product, kind, tags, date) in enumerate(rows):
                yield i, {
                    "data": {"customer": customer, "country": country}, "product": product, "kind": kind,
                    "tags": tags, "date": date, "stars": i, "verified": i == 0,
                    "picture": np.zeros((2, 2, 1), np.uint8),
                }

    folder = tmp_path_factory.mktemp("tfds")
    TwotowerShop(data_dir=str(folder)).download_and_prepare()
    return str(folder)


def test_any_builder_by_its_mapping(shop):
    log, _ = ingest(Tfds(
        "twotower_shop",
        COLUMNS,
        user_features=("data/country",),
        item_features=("kind", "tags"),
        data_dir=shop,
    ))
    users, items = log.users.to_pylist(), log.items.to_pylist()
    assert sorted(map(str, users)) == sorted(map(str, [
        {"user_id": "ann", "data/country": "DE"}, {"user_id": "bob", "data/country": "FR"},
    ]))
    assert {row["item_id"]: (row["kind"], row["tags"]) for row in items} == {
        7: ("film", ["new", "used"]), 8: ("book", []),
    }
    events = [(users[u]["user_id"], items[i]["item_id"]) for u, i in zip(log.user, log.item)]
    assert events == [("bob", 8), ("ann", 8)] and log.timestamp.tolist() == [1, 2]
    (user,), (item,), when = log.shown.user, log.shown.item, log.shown.timestamp.tolist()  # of 0 stars
    assert (users[user]["user_id"], items[item]["item_id"], when) == ("ann", 7, [3])
    assert log.context.to_pydict() == {"label": [1, 2], "verified": [False, False]}
    assert log.items["item_id"].type == pa.int64()


def test_messages(shop):
    with pytest.raises(DataError, match="no builder `no_such_data`"):
        ingest(Tfds("no_such_data", data_dir=shop))
    with pytest.raises(DataError, match=r"twotower_shop: there is no column `customer`.*`data/customer`"):
        ingest(Tfds("twotower_shop", Columns("customer", "product", "date"), data_dir=shop))
    with pytest.raises(DataError, match="`picture` holds bytes that are no UTF-8 text"):
        ingest(Tfds("twotower_shop", COLUMNS, item_features=("picture",), data_dir=shop))
