"""Tables as text with line numbers, and what is said about files that are none."""

import gzip
from pathlib import Path

import pytest

from flvlp.data.readers.tables import Table, find_table, read_table


def written(path: Path, content: str | bytes) -> Path:
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def read(path: Path, *names: str, optional: tuple[str, ...] = ()) -> Table:
    return read_table(path, "dataset.root", {name: name for name in names}, optional)


def failure(path: Path, *names: str) -> str:
    with pytest.raises(ValueError) as caught:
        read(path, *names)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
def test_a_table_is_read_as_text_plain_and_compressed(name: str, tmp_path: Path) -> None:
    table = read(written(tmp_path / name, "id,value\n007, NA \n8,\n9,1.50\n"), "value", "id")
    assert table.columns == {"value": ["NA", "", "1.50"], "id": ["007", "8", "9"]}
    assert table.lines.tolist() == [2, 3, 4]


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
def test_a_byte_order_mark_and_line_ends_of_windows_are_no_trouble(name: str, tmp_path: Path) -> None:
    table = read(written(tmp_path / name, b"\xef\xbb\xbfid,value\r\n1,a\r\n2,b\r\n"), "id", "value")
    assert table.columns == {"id": ["1", "2"], "value": ["a", "b"]}
    assert table.lines.tolist() == [2, 3]


def test_spaces_around_the_names_of_a_header_do_not_count(tmp_path: Path) -> None:
    path = written(tmp_path / "train-rle.csv", "ImageId, EncodedPixels\n1.2.3, -1\n1.2.4, 387620 23 996\n")
    assert read(path, "ImageId", "EncodedPixels").columns["EncodedPixels"] == ["-1", "387620 23 996"]


def test_columns_of_no_name_are_no_trouble_and_rows_may_be_shorter_than_the_header(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "id,x,,,\n1,2\n3,4,5\n6\n")
    assert read(path, "id", "x").columns == {"id": ["1", "3", "6"], "x": ["2", "4", ""]}


def test_optional_columns_are_read_where_they_are_there(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "id,width\n1,20\n")
    assert read(path, "id", optional=("width", "height")).columns == {"id": ["1"], "width": ["20"]}


def test_lines_are_those_of_an_editor_behind_line_breaks_in_values_and_blank_rows(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", 'id,text\n1,"a\nb\nc"\n\n,\n2,"d"\n3,"e\nf"\n4,g\n')
    table = read(path, "id")
    assert table.columns == {"id": ["1", "2", "3", "4"]}
    assert table.lines.tolist() == [2, 7, 8, 10]


@pytest.mark.parametrize(("separator", "word"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_another_separator_is_told_where_a_column_is_missing(separator: str, word: str, tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", f"id{separator}value\n1{separator}2\n")
    assert f"no column 'id'; the columns are: id{separator}value;" in failure(path, "id")
    assert f"(the header is separated by {word}; commas are read)" in failure(path, "id")


@pytest.mark.parametrize(("separator", "word"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
@pytest.mark.parametrize("wanted", ["Image Index", "Finding Labels"])
def test_another_separator_is_told_where_a_name_of_the_header_holds_commas(
    separator: str, word: str, wanted: str, tmp_path: Path
) -> None:
    header = separator.join(("Image Index", '"Finding Labels"', "OriginalImage[Width,Height]", "Pixels[x,y]"))
    path = written(tmp_path / "t.csv", f"{header}\n{separator.join(('a.png', 'Mass', '1', '2'))}\n")
    assert f"(the header is separated by {word}; commas are read)" in failure(path, wanted)


def test_another_separator_is_told_where_rows_have_more_commas_than_the_header(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "id;report\n1;Clear, but small\n2;Clear, old, odd\n")
    message = failure(path, "id")
    assert "(the header is separated by semicolons; commas are read)" in message
    assert "quote values" not in message


@pytest.mark.parametrize("content", ["p100/a.png,,IMPRESSION: odd.,p10000032\n", "a;p10000032\n1;2\n"])
def test_a_header_may_be_kept_out_of_messages(content: str, tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", content)
    with pytest.raises(ValueError, match="no column 'id'") as caught:
        read_table(path, "dataset.csv", {"id": "id"}, hides=True)
    assert "p10000032" not in str(caught.value)
    assert "dataset.log_ids=true" in str(caught.value)
    assert "p10000032" in failure(path, "id")


def test_a_missing_column_of_a_table_with_commas_has_no_hint_about_separators(tmp_path: Path) -> None:
    message = failure(written(tmp_path / "t.csv", "key;x,value\n1,2\n"), "id")
    assert "the columns are: key;x, value; set dataset.root to the published file" in message
    assert "separated by" not in message


@pytest.mark.parametrize("header", ["id,value,value", "id, value,value", "value,id,value "])
def test_a_column_that_is_there_twice_is_an_error_where_it_is_wanted(header: str, tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", f"{header}\n1,2,3\n")
    assert "column 'value' is there twice" in failure(path, "value")


@pytest.mark.parametrize("header", ["id,value,value", "id, value,value"])
def test_a_column_that_is_there_twice_is_no_trouble_where_it_is_not_wanted(header: str, tmp_path: Path) -> None:
    assert read(written(tmp_path / "t.csv", f"{header}\n1,2,3\n"), "id").columns == {"id": ["1"]}


def damaged(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + b"\xff" * 30 + content[middle + 30 :]


@pytest.mark.parametrize("what", ["cut", "damaged", "no gzip"])
def test_a_broken_gzip_file_is_an_error_that_says_to_copy_it_again(what: str, tmp_path: Path) -> None:
    text = "id,value\n" + "".join(f"{number},{number * 7919 % 10007}\n" for number in range(2000))
    content = gzip.compress(text.encode())
    broken = {"cut": content[: len(content) // 2], "damaged": damaged(content), "no gzip": text.encode()}[what]
    path = tmp_path / "t.csv.gz"
    path.write_bytes(broken)
    message = failure(path, "id")
    assert "cannot be read (" in message
    assert "copy it again" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no header"),
        (b"\nid,value\n1,2\n", "no header"),
        (b"id,value\n1,caf\xe9\n", "not UTF-8"),
        ("id,value\n1,2\n".encode("utf-16"), "not UTF-8"),
        (b"id,value\n1,2\n1,2,3\n", "not a well-formed CSV file"),
        (b'id,value\n1,"2\n', "not a well-formed CSV file"),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_what_is_no_table_is_an_error_with_the_reason(content: bytes, words: str, name: str, tmp_path: Path) -> None:
    path = written(tmp_path / name, content)
    assert words in failure(path, "id")
    assert words in failure(path), "where no column has to be there"


def test_a_table_of_a_header_alone_has_no_rows(tmp_path: Path) -> None:
    table = read(written(tmp_path / "t.csv", "id,value\n"), "id", "value")
    assert table.columns == {"id": [], "value": []}
    assert table.lines.tolist() == []


def test_a_missing_file_is_named_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"none\.csv: no such CSV file; dataset\.root must .*; set dataset\.root"
    ):
        read(tmp_path / "none.csv", "id")


def test_a_table_is_found_by_its_first_name_plain_before_compressed(tmp_path: Path) -> None:
    names = ("new.csv", "old.csv")
    assert find_table(tmp_path, names) is None
    for name in ("old.csv", "new.csv.gz", "new.csv"):
        path = written(tmp_path / name, "id\n")
        assert find_table(tmp_path, names) == path
