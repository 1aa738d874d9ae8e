"""`twotower cold-start`: what it makes of CSV files. tests/coldstart serves what it writes."""

import dataclasses

import pytest

from tfrs_twotower.cli import cold_start
from tfrs_twotower.cli.main import build_parser, main
from tfrs_twotower.data import Columns, Files


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "items.csv").write_text("sku,sold,sold_in,open\n10,5,DE|FR,8\n11,7,DE,9|20\n12,,,\n")
    (tmp_path / "hours.csv").write_text("sku,hour\n12,8\n10,8\n11,20\n10,\n")
    return tmp_path


def test_texts_are_split_and_rows_make_lists(shop):
    source = Files("", items_path=str(shop / "items.csv"), columns=Columns(item_id="sku"))
    items = cold_start._table(source)
    assert cold_start._split(items, "country", "sold_in")["sold_in"].to_pylist() == [["DE", "FR"], ["DE"], None]
    assert cold_start._split(items, "hour", "open")["open"].to_pylist() == [[8], [9, 20], None]
    assert cold_start._split(items, "country", "sold") is items
    lists = cold_start._lists(dataclasses.replace(source, items_path=str(shop / "hours.csv")), "hour")
    assert lists == {8: ["12", "10"], 20: ["11"]}


def test_rules_keep_the_order_of_the_command():
    args = build_parser().parse_args(["cold-start", "i.csv", "--by", "a=b", "--list", "c=d", "--by", "e=f=g"])
    assert args.rules == [("by", "a", "b"), ("list", "c", "d"), ("by", "e", "f=g")]


@pytest.mark.parametrize("wrong", [["--by", "country"], ["--list", "=x"], ["--input", "age=float"]])
def test_arguments_that_do_not_fit_are_wrong_usage(wrong, capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["cold-start", "items.csv", *wrong])
    assert "must" in capsys.readouterr().err


def test_a_column_that_is_not_there_is_named(shop, capsys):
    files = [str(shop / "items.csv"), "--item-id", "sku", "--runs", str(shop / "runs")]
    for wrong, message in (
        (["--by", "country=sold_on"], "no column `sold_on`. Did you mean `sold_in`"),
        (["--list", f"weekday={shop}/hours.csv"], "no column `weekday`"),
        (["--by", "hour=sold_in"], "must hold whole numbers for `hour`"),
        (["--order", "sald"], "Did you mean `sold`"),
    ):
        for verb in ("cold-start", "cold"):  # the second is its name of 0.1.0
            assert main([verb, *files, *wrong]) == 1
            assert message in capsys.readouterr().err
    assert not (shop / "runs").exists()
