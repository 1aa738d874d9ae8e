import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfrs_twotower.config import from_dict, to_dict
from tfrs_twotower.data import Columns, Files, ingest
from tfrs_twotower.data.sources.csv_lines import read_lines
from tfrs_twotower.errors import DataError


def events(source, **kwargs):
    log, report = ingest(source, **kwargs)
    users, items = log.users["user_id"].to_pylist(), log.items["item_id"].to_pylist()
    return [(users[u], items[i], t) for u, i, t in zip(log.user, log.item, log.timestamp.tolist())], report


def write_csv(path, text):
    path.write_text(text)
    return str(path)


def test_a_csv_and_its_tables(tmp_path):
    source = Files(
        write_csv(tmp_path / "log.csv", "who;what;when;price\n007;x;2;1.5\nb;007;1970-01-01T00:00:01;\n"),
        users_path=write_csv(tmp_path / "users.csv", "who;age\n007;30\nb;\n"),
        items_path=write_csv(tmp_path / "items.csv", 'what;title\nx;"two\nlines"\n'),
        columns=Columns("who", "what", "when", context=("price",)),
        delimiter=";",
    )
    got, _ = events(source)
    assert got == [("b", "007", 1), ("007", "x", 2)]
    log, _ = ingest(source)
    assert log.context.to_pydict() == {"price": [None, 1.5]}
    assert log.users.to_pydict() == {"user_id": ["007", "b"], "age": [30, None]}
    assert log.items.to_pydict() == {"item_id": ["x", "007"], "title": ["two\nlines", None]}


def test_lines_that_cannot_be_parsed_are_counted_with_their_place(tmp_path):
    path = write_csv(
        tmp_path / "log.csv",
        "user_id,item_id,timestamp\na,x,1\na,x\nb,y,2\nb,y,2,3\nc,z,soon\nd,w,4\n",
    )
    rejected = tmp_path / "rejected.parquet"
    got, report = events(Files(path), limit=0.5, rejected_to=rejected)
    assert got == [("a", "x", 1), ("b", "y", 2), ("d", "w", 4)]
    assert report.rows == 6
    assert report.rejected == {"line: cannot be parsed": 2, "timestamp: not a time": 1}
    rows = {r["row"]: (r["value"], r["file"]) for r in pq.read_table(rejected).to_pylist()}
    assert rows == {1: ("a,x", path), 3: ("b,y,2,3", path), 4: ("soon", path)}


def test_an_unclosed_quote_costs_every_line_it_swallows(tmp_path):
    lines = [f"u{i},i{i},{i}" for i in range(10)]
    text = "\n".join(["user_id,item_id,timestamp", *lines, 'v,"w,1', *lines, ""])
    path = write_csv(tmp_path / "log.csv", text)
    got, report = events(Files(path), limit=1)
    assert len(got) == 10 and report.rejected == {"line: cannot be parsed": 11}


def test_row_numbers_hold_across_blocks(tmp_path):
    lines = [f"u{i},i{i},{i}" if i % 7 else "broken" for i in range(500)]
    path = write_csv(tmp_path / "log.csv", "\n".join(["user_id,item_id,timestamp", *lines]) + "\n")
    batches = list(read_lines(path, ["timestamp"], ",", block=256))
    assert len(batches) > 10
    rows = [(r["_row"], r["timestamp"], r["_invalid"]) for batch in batches for r in batch.to_pylist()]
    assert sorted(rows, key=lambda r: r[0]) == [
        (i, str(i), None) if i % 7 else (i, None, "broken") for i in range(500)
    ]


def test_bytes_that_are_no_text_are_a_bad_row(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(b"user_id,item_id,timestamp\na,x,1\nb,\xff\xfe,2\nc,z,3\n")
    got, report = events(Files(str(path)), limit=0.5)
    assert got == [("a", "x", 1), ("c", "z", 3)] and report.rejected == {"line: cannot be parsed": 1}


def test_context_of_a_csv_has_the_type_that_it_shows_or_is_given(tmp_path):
    path = write_csv(
        tmp_path / "log.csv",
        "user_id,item_id,timestamp,n,p,s\na,x,1,3,1.5,007a\nb,y,2,NA,2,b\nc,z,3,4,none,\n",
    )
    columns = Columns(context=("n", "p", "s"))
    log, _ = ingest(Files(path, columns=columns))
    # One value of p is no number, so the column is text.
    assert log.context.to_pydict() == {"n": [3, None, 4], "p": ["1.5", "2", "none"], "s": ["007a", "b", None]}
    log, report = ingest(Files(path, columns=columns, types=(("p", "double"), ("n", "string"))), limit=0.5)
    assert log.context.to_pydict() == {"n": ["3", "NA"], "p": [1.5, 2.0], "s": ["007a", "b"]}
    assert report.rejected == {"p: not a finite number or a time": 1}


def write_parquet(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def test_a_folder_of_parquet_with_days_in_its_names(tmp_path):
    write_parquet(tmp_path / "day=1" / "b.parquet", user_id=[1], item_id=["x"], timestamp=[10])
    write_parquet(tmp_path / "day=2" / "a.parquet", user_id=[2, 1], item_id=["x", "y"], timestamp=[20, 15])
    log, _ = ingest(Files(str(tmp_path), columns=Columns(context=("day",))))
    assert log.timestamp.tolist() == [10, 15, 20] and log.users["user_id"].to_pylist() == [1, 2]
    assert [int(day) for day in log.context["day"].to_pylist()] == [1, 2, 2]
    log, _ = ingest(Files(f"{tmp_path}/*/a.parquet"))
    assert log.timestamp.tolist() == [15, 20]


def test_rejected_rows_name_the_parquet_file_and_its_row(tmp_path):
    write_parquet(tmp_path / "1.parquet", user_id=[1, 2], item_id=["x", "y"], timestamp=[10, 11])
    write_parquet(tmp_path / "2.parquet", user_id=[1, None], item_id=["x", "y"], timestamp=[10, 11])
    rejected = tmp_path / "out" / "rejected.parquet"
    ingest(Files(f"{tmp_path}/*.parquet"), limit=0.5, rejected_to=rejected)
    assert pq.read_table(rejected).to_pylist() == [
        {"reason": "user_id: missing", "file": str(tmp_path / "2.parquet"), "row": 1, "value": None}
    ]


def test_where_leaves_rows_out_uncounted_and_keeps_row_numbers(tmp_path):
    columns = {"user_id": [1.0, None, 3.0, 4.0], "item_id": ["x", "x", "y", None], "timestamp": [1, 2, 3, 4],
               "quantity": [1, 1, -1, 2]}
    write_parquet(tmp_path / "log.parquet", **columns)
    where = (("user_id", "!=", None), ("quantity", ">", 0))
    rejected = tmp_path / "rejected"
    got, report = events(Files(str(tmp_path / "log.parquet"), where=where), limit=0.5, rejected_to=rejected)
    assert got == [(1, "x", 1)] and report.rows == 2
    assert pq.read_table(rejected)["row"].to_pylist() == [3]
    csv = write_csv(tmp_path / "log.csv", "user_id,item_id,timestamp,quantity\na,x,1,1\n,y,2,1\nb,y,3,-1\n")
    got, report = events(Files(csv, where=where))
    assert got == [("a", "x", 1)] and report.rows == 1
    with pytest.raises(DataError, match="no operator '=>'"):
        ingest(Files(csv, where=(("quantity", "=>", 0),)))


def test_errors_name_the_file_and_the_column(tmp_path):
    write_parquet(tmp_path / "1.parquet", user_id=[1], item_id=["x"], timestamp=[10])
    write_parquet(tmp_path / "2.parquet", user_id=[1], itemid=["x"], timestamp=[10])
    with pytest.raises(DataError, match=r"2\.parquet: there is no column `item_id`.*Did you mean `itemid`"):
        ingest(Files(f"{tmp_path}/*.parquet"))
    write_parquet(tmp_path / "2.parquet", user_id=["a"], item_id=["x"], timestamp=[10])
    with pytest.raises(DataError, match=r"2\.parquet: column `user_id` is string here and int64 elsewhere"):
        ingest(Files(f"{tmp_path}/*.parquet"))
    with pytest.raises(DataError, match="users.*no column `user_id`"):
        write_parquet(tmp_path / "users.parquet", user=[1])
        ingest(Files(str(tmp_path / "1.parquet"), users_path=str(tmp_path / "users.parquet")))
    (tmp_path / "broken.parquet").write_text("this is no parquet")
    with pytest.raises(DataError, match=r"broken\.parquet"):
        ingest(Files(str(tmp_path / "broken.parquet")))
    with pytest.raises(DataError, match="`path` must name files.*nowhere"):
        ingest(Files(str(tmp_path / "nowhere")))
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match=r"empty\.csv"):
        ingest(Files(str(tmp_path / "empty.csv")))
    write_csv(tmp_path / "1.csv", "user_id\n1\n")
    with pytest.raises(DataError, match="Parquet or CSV, not both"):
        ingest(Files(str(tmp_path)))


def test_a_compressed_csv(tmp_path):
    with gzip.open(tmp_path / "log.csv.gz", "wt") as file:
        file.write("user_id,item_id,timestamp\na,x,1\n")
    assert events(Files(str(tmp_path / "log.csv.gz")))[0] == [("a", "x", 1)]


def test_files_survive_json():
    source = Files("a.csv", columns=Columns(context=("p",)), types=(("p", "double"),), where=(("p", ">", 0),))
    assert from_dict(to_dict(source)) == source
