from pathlib import Path

import numpy as np
import pyarrow as pa

from tfrs_twotower.data import Columns, Files, Temporal, ingest

RETAIL = Path(__file__).parents[2] / "data" / "retail"


def test_the_sample_is_small_complete_and_worth_training_on():
    assert sum(path.stat().st_size for path in RETAIL.iterdir()) <= 5_000_000
    log, report = ingest(
        Files(
            str(RETAIL / "transactions.parquet"),
            users_path=str(RETAIL / "households.parquet"),
            items_path=str(RETAIL / "products.parquet"),
            columns=Columns(
                "household_id",
                "product_id",
                session="basket_id",
                context=("quantity", "price", "sales_value"),
            ),
        ),
        limit=0,
        require_items=True,
    )
    assert report.rejected == {} and len(log) >= 100_000
    # Every product was sold and every household bought.
    assert log.item_counts().min() >= 1 and len(np.unique(log.user)) == len(log.users)
    assert {"department", "brand", "product_category", "product_type", "manufacturer_id"} <= set(
        log.items.column_names
    )
    assert log.users["age"].null_count == 0 and log.users["user_id"].type == pa.int64()
    quantity, price, value = (log.context[name].to_numpy() for name in ("quantity", "price", "sales_value"))
    # The price of one piece is rounded to a cent.
    assert quantity.min() >= 1 and np.all(np.abs(quantity * price - value) <= 0.006 * quantity)
    split = Temporal().split(log)
    assert len(split.test) > 500
    queries = split.test
    again = [np.isin(queries.targets.row(i), queries.seen.row(i)).mean() for i in range(len(queries))]
    # Groceries are bought again: a history says a lot about the next weeks.
    assert np.mean(again) > 0.3
