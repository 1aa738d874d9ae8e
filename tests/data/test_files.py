import csv
import gzip
import shlex
import tempfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzz.values import few
from hypothesis import given
from hypothesis import strategies as st

from tfrs_twotower.configuration import from_dict, override, to_dict
from tfrs_twotower.data import Columns, Files, ingest
from tfrs_twotower.data.sources.csv_lines import read_lines
from tfrs_twotower.data.sources.layout import Layout
from tfrs_twotower.errors import ConfigError, DataError
from tfrs_twotower.recipe import Recipe


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


def test_an_unclosed_quote_costs_its_own_line(tmp_path):
    """To the end of the file, to a quote that comes later, and to one that would close it: a query in inches."""
    before, after = ([f"u{i},i{i},{i},tv" for i in range(start, start + 10)] for start in (0, 20))
    for last in ('w,x,31,tv', 'w,x,31,"a tv"', 'w,x,31,tv 32"', 'w,x,31,"tv'):
        text = "\n".join(["user_id,item_id,timestamp,query", *before, 'v,w,11,"tv 50', *after, last, ""])
        path = write_csv(tmp_path / "log.csv", text)
        got, report = events(Files(path, columns=Columns(context=("query",))), limit=1, rejected_to=tmp_path / "bad")
        bad = [(10, 'v,w,11,"tv 50')] + [(21, 'w,x,31,"tv')] * (last == 'w,x,31,"tv')
        assert [(r["row"], r["value"]) for r in pq.read_table(tmp_path / "bad").to_pylist()] == bad
        assert report.rows == 22 and [t for _, _, t in got] == [*range(10), *range(20, 30)] + [31] * (2 - len(bad))


def test_an_unclosed_quote_of_an_item_is_counted_and_named(tmp_path):
    log = write_csv(tmp_path / "log.csv", "user_id,item_id,timestamp\na,i1,1\n")
    rows = [f"i{i},G{i % 3},Title {i}" for i in range(100)]
    rows[10] = 'i10,G0,"Heroes'
    items = write_csv(tmp_path / "items.csv", "\n".join(["item_id,genre,title", *rows]))
    got, report = ingest(Files(log, items_path=items), rejected_to=tmp_path / "bad")
    assert report.rejected == {f"{items} (items): line cannot be parsed": 1} and len(got.items) == 99
    (bad,) = pq.read_table(tmp_path / "bad").to_pylist()
    assert (bad["file"], bad["row"], bad["value"]) == (items, 10, 'i10,G0,"Heroes')
    with pytest.raises(DataError, match="1 of 100 rows are bad.*line cannot be parsed: 1, such as 'i10,G0,\"Heroes'"):
        ingest(Files(log, items_path=items), limit=0.001)


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 20])
def test_newlines_in_quotes_give_the_same_rows_whatever_the_block(tmp_path, block):
    texts = ["plain", "two\nlines", 'a "quoted",\r\nword', "\n\n\n", "x\n" * 500, "comma, comma", "7,7,7\n8,8,8", ""]
    rows = [(f"u{i}", f"i{i}", str(i), texts[i % len(texts)]) for i in range(40)]
    with open(tmp_path / "log.csv", "w", newline="") as file:
        csv.writer(file).writerows([("user_id", "item_id", "timestamp", "review"), *rows])
    layout = Layout("csv", "utf-8", ("user_id", "item_id", "timestamp", "review"), numbers=(2,))
    batches = list(read_lines(tmp_path / "log.csv", ["user_id", "timestamp", "review"], layout, block=block))
    got = [row for batch in batches for row in batch.to_pylist()]
    assert [r["_row"] for r in got] == list(range(40)) and not any(r["_invalid"] for r in got)
    assert [(r["user_id"], r["timestamp"], r["review"] or "") for r in got] == [(u, t, x) for u, _, t, x in rows]


def test_row_numbers_hold_across_blocks(tmp_path):
    lines = [f"u{i},i{i},{i}" if i % 7 else "broken" for i in range(500)]
    path = write_csv(tmp_path / "log.csv", "\n".join(["user_id,item_id,timestamp", *lines]) + "\n")
    layout = Layout("csv", "utf-8", ("user_id", "item_id", "timestamp"))
    batches = list(read_lines(path, ["timestamp"], layout, block=256))
    assert len(batches) > 10
    rows = [(r["_row"], r["timestamp"], r["_invalid"]) for batch in batches for r in batch.to_pylist()]
    assert sorted(rows, key=lambda r: r[0]) == [
        (i, str(i), None) if i % 7 else (i, None, "broken") for i in range(500)
    ]


def test_two_columns_of_one_name_are_refused(tmp_path):
    path = write_csv(tmp_path / "log.csv", "user_id,item_id,timestamp,item_id\na,x,1,y\n")
    with pytest.raises(DataError, match="2 columns are called `item_id`. Give each a name"):
        ingest(Files(path))
    log = write_csv(tmp_path / "good.csv", "user_id,item_id,timestamp\na,x,1\n")
    items = write_csv(tmp_path / "items.csv", "item_id,price,price\nx,1,2\n")
    with pytest.raises(DataError, match="items.csv: 2 columns are called `price`"):
        ingest(Files(log, items_path=items))


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
    missing = r"2\.parquet: there is no column `item_id`.*Did you mean `itemid`.*`--item-id COLUMN`"
    with pytest.raises(DataError, match=missing):
        ingest(Files(f"{tmp_path}/*.parquet"))
    write_parquet(tmp_path / "2.parquet", user_id=["a"], item_id=["x"], timestamp=[10])
    with pytest.raises(DataError, match=r"2\.parquet: column `user_id` is string here and int64 elsewhere"):
        ingest(Files(f"{tmp_path}/*.parquet"))
    with pytest.raises(DataError, match="no column `when`.*A log without times: `--timestamp none`"):
        ingest(Files(f"{tmp_path}/1.parquet", columns=Columns(timestamp="when")))
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


@pytest.mark.parametrize(("delimiter", "assignment"), [
    (";", "--set 'source.delimiter=;'"),
    ("\t", """--set 'source.delimiter="\\t"'"""), ("|", "--set 'source.delimiter=|'"),
])
def test_a_delimiter_is_found_and_a_header_of_one_field_says_it(tmp_path, delimiter, assignment):
    lines = ["user_id,item_id,timestamp".replace(",", delimiter), delimiter.join("ax1"), ""]
    path = write_csv(tmp_path / "log.csv", "\n".join(lines))
    assert events(Files(path))[0] == [("a", "x", 1)]
    with pytest.raises(DataError) as error:
        ingest(Files(path, delimiter=","))
    assert str(error.value).endswith(
        f"The header is one field with the delimiter ',': set `delimiter` to {delimiter!r}, "
        f"on the command line `{assignment}`."
    )
    recipe = Recipe("shop", source=Files(path, delimiter=","))
    mended = override(recipe, shlex.split(assignment)[1:])  # what a shell makes of it
    assert events(mended.source)[0] == [("a", "x", 1)]
    good = write_csv(tmp_path / "good.csv", "user_id,item_id,timestamp\na,x,1\n")
    with pytest.raises(DataError, match=r"log\.csv: there is no column `item_id`.*set `delimiter` to"):
        ingest(Files(good, items_path=path, delimiter=","))


def test_a_missing_column_alone_says_nothing_of_the_delimiter(tmp_path):
    for text in ("user_id,item,timestamp\na,x,1\n", "user_id\na\n"):
        with pytest.raises(DataError, match="there is no column `item_id`") as error:
            ingest(Files(write_csv(tmp_path / "log.csv", text)))
        assert "delimiter" not in str(error.value)


def test_a_delimiter_is_one_character():
    for delimiter in ("", ";;"):
        with pytest.raises(ConfigError, match="`Files.delimiter` must be one character"):
            Files("log.csv", delimiter=delimiter)


def test_a_truncated_archive_is_an_error_with_its_path(tmp_path):
    lines = "".join(f"u{i},i{i * 7919},{i}\n" for i in range(1000))
    data = gzip.compress(f"user_id,item_id,timestamp\n{lines}".encode())
    (tmp_path / "log.csv.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"log\.csv\.gz: cannot be read"):
        ingest(Files(str(tmp_path / "log.csv.gz")))


def test_damaged_parquet_is_data_or_an_error_with_its_path(tmp_path):
    """Every 7th byte flipped, and cut at every 97th: as the log and as the item table."""
    events = {"user_id": ["a", "b"] * 50, "item_id": ["x", "é"] * 50, "timestamp": list(range(100))}
    write_parquet(tmp_path / "log.parquet", **events)
    write_parquet(tmp_path / "items.parquet", item_id=["x", "é"], title=["one", "two"])
    broken = tmp_path / "broken.parquet"
    for role, whole in (("path", "log.parquet"), ("items_path", "items.parquet")):
        data, refused = (tmp_path / whole).read_bytes(), 0
        flipped = [data[:i] + bytes([data[i] ^ 0xFF]) + data[i + 1:] for i in range(0, len(data), 7)]
        cut = [data[:i] for i in range(0, len(data), 97)]
        for damaged in flipped + cut:
            broken.write_bytes(damaged)
            try:
                ingest(Files(**{"path": str(tmp_path / "log.parquet"), role: str(broken)}), limit=1)
            except DataError as error:
                assert str(tmp_path) in str(error)
                refused += 1
        assert refused >= len(cut) + len(flipped) // 2
    broken.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"broken\.parquet: cannot be read: .*Check that it is whole"):
        ingest(Files(str(tmp_path / "log.parquet"), items_path=str(broken)))


def test_text_in_parquet_that_is_no_utf_8_is_an_error_with_its_path(tmp_path):
    ids = pa.array([b"a", b"\xff"]).view(pa.string())  # Arrow neither writes nor reads with a check
    write_parquet(tmp_path / "log.parquet", user_id=["a", "b"], item_id=["a", "a"], timestamp=[1, 2])
    write_parquet(tmp_path / "broken.parquet", user_id=["a", "b"], item_id=ids, timestamp=[1, 2])
    for role in ("path", "items_path"):
        with pytest.raises(DataError, match=r"broken\.parquet: cannot be read: .*UTF8"):
            ingest(Files(**{"path": str(tmp_path / "log.parquet"), role: str(tmp_path / "broken.parquet")}))


def test_a_compressed_csv(tmp_path):
    with gzip.open(tmp_path / "log.csv.gz", "wt") as file:
        file.write("user_id,item_id,timestamp\na,x,1\n")
    assert events(Files(str(tmp_path / "log.csv.gz")))[0] == [("a", "x", 1)]


def test_files_survive_json():
    source = Files("a.csv", columns=Columns(context=("p",)), types=(("p", "double"),), where=(("p", ">", 0),))
    assert from_dict(to_dict(source)) == source


@few(60)
@given(st.lists(st.lists(st.text("a\",;\n\r '", max_size=6), min_size=2, max_size=2), min_size=1), st.integers(1, 40))
def test_what_csv_writes_is_read_whatever_the_block(rows, block):
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/log.csv", "w", newline="") as file:
            csv.writer(file).writerows([("a", "n", "b"), *((a, i, b) for i, (a, b) in enumerate(rows))])
        layout = Layout("csv", "utf-8", ("a", "n", "b"), numbers=(1,))
        got = [row for batch in read_lines(f"{folder}/log.csv", ["a", "b"], layout, block) for row in batch.to_pylist()]
    assert [(r["a"] or "", r["b"] or "", r["_row"], r["_invalid"]) for r in got] == [
        (a, b, i, None) for i, (a, b) in enumerate(rows)
    ]
