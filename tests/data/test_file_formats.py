"""Files in the forms in which people have them: each loads by one flag or none, and says how it was taken."""

import bz2
import gzip
import json
import lzma
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfrs_twotower.data import Columns, Files, ingest
from tfrs_twotower.errors import ConfigError, DataError

EVENTS = [("7", "50", 978300760), ("7", "8", 978300900), ("9", "50", 978302109)]
CSV = "user_id,item_id,timestamp\n" + "".join(f"{u},{i},{t}\n" for u, i, t in EVENTS)


def events(source, **kwargs):
    log, report = ingest(source, **kwargs)
    users, items = log.users["user_id"].to_pylist(), log.items["item_id"].to_pylist()
    return [(users[u], items[i], t) for u, i, t in zip(log.user, log.item, log.timestamp.tolist())], report


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return str(path)


@pytest.mark.parametrize(("name", "text"), [
    ("ratings.dat", "".join(f"{u}::{i}::5::{t}\n" for u, i, t in EVENTS)),
    ("u.data", "".join(f"{u}\t{i}\t5\t{t}\n" for u, i, t in EVENTS)),
    ("ratings_Beauty.csv", "".join(f"{u},{i},5.0,{t}\n" for u, i, t in EVENTS)),
    ("out.edges", "".join(f"{u} {i} {t}\n" for u, i, t in EVENTS)),
])
def test_a_file_without_a_header(tmp_path, name, text):
    got, report = events(Files(write(tmp_path / name, text)))
    assert got == EVENTS
    names = "user_id, item_id, timestamp" if name == "out.edges" else "user_id, item_id, rating, timestamp"
    (note,) = [note for note in report.notes if "no header" in note]
    assert f"read as {names} (`--header`" in note


def test_digits_of_a_date_are_a_time_without_a_header_too(tmp_path):
    path = write(tmp_path / "log.csv", "7,50,5,2000010100\n7,8,5,2000010101\n9,50,5,2000010123\n")
    assert events(Files(path))[0] == [("7", "50", 946684800), ("7", "8", 946688400), ("9", "50", 946767600)]
    path = write(tmp_path / "log.csv", "7,50,5,20000101\n7,8,5,20000102\n")
    assert events(Files(path))[0] == [("7", "50", 946684800), ("7", "8", 946771200)]


def test_the_names_of_a_file_without_a_header_are_given(tmp_path):
    path = write(tmp_path / "log.csv", "".join(f"{t},{u}x,{i}y\n" for u, i, t in EVENTS))
    columns = Columns("who", "what", "when")
    got, _ = events(Files(path, columns=columns, header=("when", "who", "what")))
    assert got == [(f"{u}x", f"{i}y", t) for u, i, t in EVENTS]
    path = write(tmp_path / "words.csv", "ann,tea,monday\n")
    with pytest.raises(DataError, match="no column `user_id`.*without a header: name its columns by `--header`"):
        ingest(Files(path))


def test_tables_without_a_header(tmp_path):
    log = write(tmp_path / "log.csv", CSV)
    users = write(tmp_path / "u.user", "7|24|M|technician|85711\n9|53|F|other|02139\n")
    movies = write(tmp_path / "movies.dat", '50::Toy "Story" (1995)::Animation|Comedy\n8::Heat::Action|Comedy\n')
    found, report = ingest(Files(log, users_path=users, items_path=movies))
    assert found.users.to_pydict() == {
        "user_id": ["7", "9"], "column_2": [24, 53], "column_3": ["M", "F"], "column_4": ["technician", "other"],
        "column_5": ["85711", "02139"],
    }
    assert found.items.to_pydict() == {
        "item_id": ["50", "8"], "column_2": ['Toy "Story" (1995)', "Heat"],
        "column_3": [["Animation", "Comedy"], ["Action", "Comedy"]],
    }
    assert sum("no header" in note for note in report.notes) == 2


def test_the_atomic_files_of_recbole(tmp_path):
    rows = "".join(f"{u}\t{i}\t5\t{t}\n" for u, i, t in EVENTS)
    write(tmp_path / "shop.inter", f"user_id:token\titem_id:token\trating:float\ttimestamp:float\n{rows}")
    write(tmp_path / "shop.item", 'item_id:token\tclass:token_seq\tvector:float_seq\n50\tA B\t0.5 1\n8\t"A\t1 2\n')
    write(tmp_path / "shop.user", "user_id:token\tage:token\tzip:token\n7\t24\t02139\n9\t30\t10000\n")
    folder = str(tmp_path)  # of each argument its own
    log, report = ingest(Files(folder, folder, folder, columns=Columns(context=("rating",))))
    assert log.context["rating"].to_pylist() == [5.0] * 3 and log.timestamp.tolist() == [t for _, _, t in EVENTS]
    assert log.users.to_pydict() == {"user_id": ["7", "9"], "age": ["24", "30"], "zip": ["02139", "10000"]}
    assert log.items.to_pydict() == {
        "item_id": ["50", "8"], "class": [["A", "B"], ['"A']], "vector": [[0.5, 1.0], [1.0, 2.0]],
    }
    assert not report.rejected


@pytest.mark.parametrize(("name", "start", "between", "end"), [
    ("log.jsonl", "", "\n", "\n"), ("LOG.NDJSON", "", "\n\n", ""), ("log.json", "[", ",\n", "]\n"),
    ("events", "", "\n", "\n"),
])
def test_json(tmp_path, name, start, between, end):
    rows = [{"reviewerID": u, "asin": int(i), "unixReviewTime": t, "stars": t % 2 / 2} for u, i, t in EVENTS]
    path = write(tmp_path / name, start + between.join(map(json.dumps, rows)) + end)
    columns = Columns("reviewerID", "asin", "unixReviewTime", context=("stars",))
    assert events(Files(path, columns=columns))[0] == EVENTS
    log, _ = ingest(Files(path, columns=columns))
    assert log.context["stars"].to_pylist() == [0.0, 0.0, 0.5]


def test_json_of_items(tmp_path):
    log = write(tmp_path / "log.csv", CSV)
    items = [{"item_id": 50, "tags": ["a", "é"], "new": True, "zip": "02139", "price": 3, "image": {"url": "x"}},
             {"item_id": "8", "tags": [], "new": False, "price": 2.5}]
    path = write(tmp_path / "items.jsonl", "\n".join(map(json.dumps, items)) + "\n{broken\n")
    found, report = ingest(Files(log, items_path=path), limit=0.5, rejected_to=tmp_path / "bad")
    assert found.items.select(["item_id", "tags", "new", "zip", "price"]).to_pydict() == {
        "item_id": ["50", "8"], "tags": [["a", "é"], []], "new": [True, False], "zip": ["02139", None],
        "price": [3.0, 2.5],
    }
    (bad,) = pq.read_table(tmp_path / "bad").to_pylist()
    assert (bad["row"], bad["value"]) == (2, "{broken")
    with pytest.raises(DataError, match="holds no JSON object per line, but .*Write one object per line"):
        ingest(Files(write(tmp_path / "items.json", json.dumps({"50": [1]}, indent=1))))


@pytest.mark.parametrize("format", [None, "sequences"])
def test_one_line_a_user(tmp_path, format):
    path = write(tmp_path / "Beauty.txt", "1 10 20 10\n2 30 20\n")
    got, report = events(Files(path, format=format))
    assert sorted(got) == [("1", "10", 0), ("1", "10", 2), ("1", "20", 1), ("2", "20", 1), ("2", "30", 0)]
    (note,) = report.notes  # and no guess at what its places count
    assert "one line per user" in note
    assert not ingest(Files(path, columns=Columns(timestamp=None), format=format))[0].timed
    path = write(tmp_path / "named.txt", "ann tea,rum\nbob rum\ncid\n".replace(",", " "))
    got, report = events(Files(path, format="sequences"), limit=0.5)
    assert sorted(got) == [("ann", "rum", 1), ("ann", "tea", 0), ("bob", "rum", 0)]
    assert report.rejected == {"line: cannot be parsed": 1}


@pytest.mark.parametrize("name", ["LOG.CSV", "log.tsv", "log.csv.gz", "log.csv.bz2", "log.csv.xz", "log.zip", "log"])
def test_endings_and_packings(tmp_path, name):
    text = CSV.replace(",", "\t") if name == "log.tsv" else CSV
    path = tmp_path / name
    pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}.get(name.split(".")[-1], bytes)
    path.write_bytes(pack(text.encode()))
    if name == "log.zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("folder/log.csv", CSV)
    assert events(Files(str(path)))[0] == EVENTS
    assert events(Files(str(tmp_path)))[0] == EVENTS


def test_a_member_of_an_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "ml.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ml/README.txt", "Read me")
        archive.writestr("ml/log.csv", CSV)
    assert events(Files(f"{tmp_path}/ml.zip/ml/log.csv"))[0] == EVENTS
    with pytest.raises(DataError, match=r"ml\.zip: the archive has no file to be read alone.*ml/README.txt, ml/log.csv"
                                        r"\. Name one: .*ml\.zip/ml/README.txt"):
        ingest(Files(f"{tmp_path}/ml.zip"))
    with pytest.raises(DataError, match=r"no such file.*Name one: .*/ml\.zip/ml/README.txt"):
        ingest(Files(f"{tmp_path}/ml.zip/ml/gone.csv"))


def test_what_cannot_be_read_is_said(tmp_path):
    (tmp_path / "log.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match="It is an Excel workbook: save"):
        ingest(Files(str(tmp_path / "log.xlsx")))
    with pytest.raises(DataError, match="It is an Excel workbook: save"):
        ingest(Files(str(tmp_path)))
    (tmp_path / "log.bin").write_bytes(bytes(range(256)) * 9)
    with pytest.raises(DataError, match=r"log\.bin: neither text nor Parquet"):
        ingest(Files(str(tmp_path / "log.bin")))
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(CSV.encode())[:40])
    with pytest.raises(DataError, match=r"log\.csv\.gz: cannot be read"):
        ingest(Files(str(tmp_path / "log.csv.gz")))
    for setting in ({"format": "xml"}, {"encoding": "klingon"}):
        with pytest.raises(ConfigError, match=f"`Files.{next(iter(setting))}`"):
            Files("log.csv", **setting)


def test_encodings(tmp_path):
    text = "item_id,title\n50,Café\n8,Größe\n"
    log = write(tmp_path / "log.csv", CSV)
    for encoding in ("latin-1", "cp1252", "utf-8-sig", "utf-16"):
        found, report = ingest(Files(log, items_path=write(tmp_path / "items.csv", text, encoding)))
        assert found.items["title"].to_pylist() == ["Café", "Größe"]
        said = [note for note in report.notes if "2 lines are not UTF-8, the first is line 2" in note]
        assert bool(said) == (encoding in ("latin-1", "cp1252"))
    greek = write(tmp_path / "items.csv", "item_id,title\n50,Σωκράτης\n", "iso8859-7")
    found, _ = ingest(Files(log, items_path=greek, encoding="iso8859-7"))
    assert found.items["title"].to_pylist()[0] == "Σωκράτης"
    wrong = [("50", "Café".encode()), ("8", "Größe".encode()), ("9", b"caf\xe9")]
    (tmp_path / "items.csv").write_bytes(b"item_id,title\n" + b"".join(b"%s,%s\n" % (i.encode(), t) for i, t in wrong))
    with pytest.raises(DataError, match=r"1 of 3 rows are bad.*not UTF-8 \(`--encoding`\): b'9,caf"):
        ingest(Files(log, items_path=str(tmp_path / "items.csv")))  # one line of a file in UTF-8 is damaged


def test_the_index_of_a_frame_and_what_is_skipped_are_not_read(tmp_path):
    log = write(tmp_path / "log.csv", CSV)
    items = pa.table({"item_id": ["50", "8"], "price": [1, 2], "__index_level_0__": [3, 5]})
    pq.write_table(items.append_column("note", pa.array(["x", "y"])), tmp_path / "items.parquet")
    found, _ = ingest(Files(log, items_path=str(tmp_path / "items.parquet"), skip=("note",)))
    assert found.items.column_names == ["item_id", "price"]
    items = write(tmp_path / "items.csv", "item_id,price,note\n50,1,x\n8,2,y\n")
    found, _ = ingest(Files(log, items_path=items, skip=("note",)))
    assert found.items.to_pydict() == {"item_id": ["50", "8"], "price": [1, 2]}


def test_types_hold_for_a_whole_table(tmp_path):
    log = write(tmp_path / "log.csv", CSV)
    names = ["item_id", "zip", "n", "x", "day", "new", "code", "none"]
    rows = ["50,02139,1,1,2020-01-31,true,1,", "8,10001,NA,2.5,2020-02-01,False,x,NULL"]
    items = write(tmp_path / "items.csv", "\n".join([",".join(names), *rows]))
    found, _ = ingest(Files(log, items_path=items))
    assert found.items.to_pydict() == {
        "item_id": ["50", "8"], "zip": ["02139", "10001"], "n": [1, None], "x": [1.0, 2.5],
        "day": [1580428800, 1580515200], "new": [True, False], "code": ["1", "x"], "none": [None, None],
    }
    found, report = ingest(Files(log, items_path=items, types=(("zip", "int64"), ("n", "string"), ("code", "int64"))))
    assert found.items.select(["zip", "n", "code"]).to_pydict() == {
        "zip": [2139, 10001], "n": ["1", None], "code": [1, None]
    }
    assert any("1 values are no int64 and count as missing" in note for note in report.notes)


def test_several_values_in_a_cell(tmp_path):
    log = write(tmp_path / "log.csv", CSV)
    rows = ['item_id,genres,tags,py,title,vector', '50,Action|Comedy,"[""a"", ""b""]","[\'x\']",A | B,"[0.5, 1]"',
            '8,Comedy|Drama,[],"[\'x\', \'y\']",C,"[2, 3]"', '9,Drama,"[""b""]",[],D,"[4, 5]"']
    path = write(tmp_path / "items.csv", "\n".join(rows))
    found, report = ingest(Files(log, items_path=path))
    assert found.items.drop_columns(["item_id"]).to_pydict() == {
        "genres": [["Action", "Comedy"], ["Comedy", "Drama"], ["Drama"]], "tags": [["a", "b"], [], ["b"]],
        "py": [["x"], ["x", "y"], []], "title": ["A | B", "C", "D"], "vector": [[0.5, 1.0], [2.0, 3.0], [4.0, 5.0]],
    }
    for name, how in (("genres", r"parted by `|`"), ("tags", "lists"), ("py", "lists"), ("vector", "lists")):
        assert any(f"cells of `{name}` hold several values, {how}" in note for note in report.notes)
    found, _ = ingest(Files(log, items_path=path, separators=(("genres", ""), ("title", "|"))))
    assert found.items["genres"].to_pylist()[0] == "Action|Comedy"
    assert found.items["title"].to_pylist() == [["A", "B"], ["C"], ["D"]]


@pytest.mark.parametrize(("cells", "lists"), [
    (["A|B", "C|D", "E"], True),  # nothing comes again, but it is the rule
    (["A", "B"] * 99 + ["A|B", "B"] * 1, False),  # one of 200
    (["A", "B"] * 50 + ["A|B"] * 2, True),
    ([f"Name {i} | Maker {i}" for i in range(9)], False),
])
def test_when_a_cell_holds_several_values(tmp_path, cells, lists):
    rows = "".join(f"{i},{cell}\n" for i, cell in enumerate(cells))
    items = write(tmp_path / "items.csv", f"item_id,x\n{rows}")
    found = Files("", items_path=items).items()
    assert pa.types.is_list(found["x"].type) == lists
