"""The names data set: every source, every complaint, and that no name is lost, moved or invented."""

from __future__ import annotations

import csv
import gzip
import io
import unicodedata
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlrun.data import name_files
from dlrun.data.base import Data, Split
from dlrun.data.names import names
from dlrun.data.vocabulary import Vocabulary
from dlrun.errors import ConfigError, DataError
from dlrun.spec import DataSpec

SMALL = [("Novák", "Czech"), ("Dvořák", "Czech"), ("Null", "German"), ("NA", "German"), ("nan", "Greek")]


def write_csv(path: Path, rows: list[tuple[str, str]], header: bool = False) -> Path:
    """A CSV of the rows, gzipped if the path says so."""
    text = io.StringIO()
    csv.writer(text).writerows(([("name", "country")] if header else []) + rows)
    data = text.getvalue().encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def load(root: Path, **keys: object) -> Data:
    """The data set without a validation part, unless asked for."""
    return names(**{"seed": 0, "root": root, "val_fraction": 0.0, **keys})  # type: ignore[arg-type]


def pairs(data: Data, part: Split) -> list[tuple[str, str]]:
    """(name, country) of each row, read back from the tensors."""
    texts = Vocabulary.of(data.spec).inverse(part.inputs[0])
    return list(zip(texts, (data.spec.labels[i] for i in part.target), strict=True))


def archive(path: Path, texts: dict[str, str], folder: str = "data/names/") -> Path:
    """A zip of Country.txt files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for country, text in texts.items():
            file.writestr(f"{folder}{country}.txt", text)
    return path


def tutorial(**changes: str) -> dict[str, str]:
    """Ten made-up names for each of the tutorial's countries."""
    texts = {c: "".join(f"{c[:3]}{'abcdefghij'[i]}\n" for i in range(10)) for c in name_files.COUNTRIES}
    return {**texts, **changes}


# --- the built-in corpus


def test_the_corpus_has_18_countries_of_80_distinct_names() -> None:
    rows = name_files.read_builtin()
    assert sorted({row.country for row in rows}) == name_files.COUNTRIES
    assert min(Counter(row.country for row in rows).values()) >= 80
    plain = [(unicodedata.normalize("NFD", row.name).encode("ascii", "ignore"), row.country) for row in rows]
    assert len(set(plain)) == len(rows), "a name stands twice in a country"
    assert all(row.name[0].isupper() for row in rows)


def test_builtin_is_split_by_country_and_seed(tmp_path: Path) -> None:
    one, same, other = load(tmp_path), load(tmp_path), load(tmp_path, seed=1)
    assert one.test is not None
    assert same.test is not None
    assert other.test is not None
    assert torch.equal(one.test.inputs[0], same.test.inputs[0])
    assert pairs(one, one.test) != pairs(other, other.test)
    assert Counter(pairs(one, one.train) + pairs(one, one.test)) == Counter(
        pairs(other, other.train) + pairs(other, other.test)
    )
    shares = one.test.target.bincount() / (one.test.target.bincount() + one.train.target.bincount())
    assert shares.min() > 0.18
    assert shares.max() < 0.22
    assert "built-in corpus" in one.notes[0]


def test_stored_as_small_codes_right_padded_with_zero(tmp_path: Path) -> None:
    data = load(tmp_path)
    codes, lengths = data.train.inputs
    assert codes.dtype == torch.uint8
    assert lengths.dtype == torch.int64
    assert data.spec.input_shape == (int(lengths.max()),) == (codes.shape[1],)
    assert torch.equal((codes != 0).sum(1), lengths)
    assert (data.spec.input_kind, data.spec.task, data.spec.num_outputs) == ("text", "classification", 18)
    assert data.spec.vocabulary[0] == ""


def test_val_is_a_part_of_train_with_every_country(tmp_path: Path) -> None:
    whole, data = load(tmp_path), load(tmp_path, val_fraction=0.1)
    assert data.val is not None
    assert whole.val is None
    assert Counter(pairs(data, data.train) + pairs(data, data.val)) == Counter(pairs(whole, whole.train))
    assert (data.val.target.bincount(minlength=18) > 0).all()


# --- sources


def test_auto_takes_the_files_of_the_data_root(tmp_path: Path) -> None:
    write_csv(tmp_path / "names" / "names_train.csv.gz", SMALL)
    with pytest.raises(DataError, match=r"names_test\.csv\.gz"):
        load(tmp_path)
    write_csv(tmp_path / "names" / "names_test.csv.gz", SMALL[::-1])
    data = load(tmp_path, ascii=False)
    assert data.test is not None
    assert pairs(data, data.train) == SMALL, "the order of the file is kept"
    assert pairs(data, data.test) == SMALL[::-1]
    assert str(tmp_path / "names") in data.notes[0]
    assert "built-in corpus" in load(tmp_path, source="builtin").notes[0]


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("name", ["mine.csv", "mine.csv.gz"])
def test_own_files(tmp_path: Path, header: bool, name: str) -> None:
    train = write_csv(tmp_path / name, SMALL, header)
    test = write_csv(tmp_path / "test.csv", SMALL[2:4])
    data = load(tmp_path, train_path=str(train), test_path=str(test), ascii=False)
    assert data.test is not None
    assert pairs(data, data.train) == SMALL
    assert pairs(data, data.test) == SMALL[2:4]
    assert data.spec.labels == ("Czech", "German", "Greek")


def test_own_file_alone_gives_its_test_part(tmp_path: Path) -> None:
    rows = [(f"{a}{b}", country) for a in "ABCDE" for b in "xyz" for country in ("Here", "There")]
    path = write_csv(tmp_path / "mine.csv", [*rows, ("Alone", "Nowhere")])
    data = load(tmp_path, train_path=str(path), test_fraction=0.2)
    assert data.test is not None
    assert data.test.target.bincount(minlength=3).tolist() == [3, 0, 3], "a country's only name stays in train"
    assert data.train.samples == 25
    assert load(tmp_path, train_path=str(path), test_fraction=0.0).test is None


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path: Path) -> None:
    path = tmp_path / "excel.csv"
    path.write_bytes(b"\xef\xbb\xbfName, Country\r\nNov\xc3\xa1k,Czech\r\n")
    assert name_files.read_csv(path).rows == [name_files.NameRow("Novák", "Czech", 2)]


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_csv(tmp_path / "mine.csv", SMALL)
    assert load(tmp_path, train_path="~/mine.csv", test_fraction=0.0).train.samples == 5


def test_texts_put_into_the_root_by_hand(tmp_path: Path) -> None:
    (tmp_path / "names").mkdir()
    for country, text in tutorial(Czech="Nová\n\n Dvořák \nOne\nTwo\n").items():
        (tmp_path / "names" / f"{country}.txt").write_text(text, encoding="utf-8")
    data = load(tmp_path, source="pytorch", test_fraction=0.0, ascii=False)
    assert data.train.samples == 17 * 10 + 4
    assert ("Dvořák", "Czech") in pairs(data, data.train)


def test_a_cached_archive_is_read_in_place(tmp_path: Path) -> None:
    archive(tmp_path / "names" / "data.zip", tutorial())
    data = load(tmp_path, source="pytorch", test_fraction=0.0)
    assert data.train.samples == 180
    assert [p.name for p in (tmp_path / "names").iterdir()] == ["data.zip"], "nothing is unpacked"


def test_the_archive_is_downloaded_once_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root"
    served = archive(tmp_path / "mirror" / "names" / "data.zip", tutorial())
    monkeypatch.setenv("DLRUN_MIRROR", (tmp_path / "mirror").as_uri())
    sound = served.read_bytes()
    served.write_bytes(sound[:-30])
    with pytest.raises(DataError, match="not a sound zip archive"):
        load(root, source="pytorch")
    assert not list(root.rglob("*.zip")), "what was bad is not kept"
    served.write_bytes(sound)
    first = load(root, source="pytorch", test_fraction=0.0)
    served.unlink()
    assert pairs(load(root, source="pytorch", test_fraction=0.0), first.train) == pairs(first, first.train)
    assert first.train.samples == 180
    assert "downloading" in capsys.readouterr().err


def test_a_download_that_fails_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlrun.data.download.PAUSE_SECONDS", 0.0)
    monkeypatch.setenv("DLRUN_MIRROR", (tmp_path / "nothing").as_uri())
    with pytest.raises(DataError, match="works offline") as error:
        load(tmp_path, source="pytorch")
    for word in (str(tmp_path / "names" / "data.zip"), name_files.ARCHIVE_URL, "by hand", "builtin"):
        assert word in str(error.value)


def test_an_archive_cannot_write_outside(tmp_path: Path) -> None:
    path = archive(tmp_path / "in" / "data.zip", tutorial(), folder="../../names/")
    assert len(name_files.read_archive(path)) == 180
    assert [p.name for p in tmp_path.rglob("*.txt")] == []


def test_bad_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = tutorial()
    del texts["Polish"]
    with pytest.raises(DataError, match=r"no names/Polish\.txt"):
        name_files.read_archive(archive(tmp_path / "a.zip", texts))
    sound = archive(tmp_path / "b.zip", tutorial()).read_bytes()
    middle = 200
    for damaged in (sound[:-30], b"<html>", sound[:middle] + bytes(40) + sound[middle + 40 :]):
        (tmp_path / "b.zip").write_bytes(damaged)
        with pytest.raises(DataError, match="not a sound zip archive"):
            name_files.read_archive(tmp_path / "b.zip")
    monkeypatch.setattr(name_files, "LARGEST_MEMBER", 100)
    with pytest.raises(DataError, match=r"Greek\.txt is far too large"):
        name_files.read_archive(archive(tmp_path / "c.zip", tutorial(Greek="Pappas\n" * 30)))


def test_any_damage_to_an_archive_gives_rows_or_a_data_error(tmp_path: Path) -> None:
    sound = archive(tmp_path / "data.zip", tutorial()).read_bytes()
    refused = 0
    for place in range(0, len(sound), 7):
        (tmp_path / "data.zip").write_bytes(sound[:place] + bytes([sound[place] ^ 0xFF]) + sound[place + 1 :])
        try:
            assert len(name_files.read_archive(tmp_path / "data.zip")) >= 180
        except DataError:
            refused += 1
    assert refused > 100


# --- complaints


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"Novak,Czech\nOnly\n", "line 2: 1 field, expected 2"),
        (b"Novak,Czech\na,b,c\n", "line 2: 3 fields"),
        (b"Novak,Czech\n,Czech\n", "line 2: the name is empty"),
        (b"Novak,Czech\n  ,Czech\n", "line 2: the name is empty"),
        (b"Novak,Czech\nNovak,\n", "line 2: the country is empty"),
        (b"Novak,Czech\nNov\xe1k,Czech\n", "line 2: byte 0xe1 is not UTF-8"),
        (b'Novak,Czech\n"Nov"ak,Czech\n', "line 2: .*expected after"),
        (b'Novak,Czech\n"Novak,Czech\n', "unexpected end"),
        (b"Novak,Czech\nNo\x00vak,Czech\n", "line 2: the name holds a control"),
        (b"Novak,Czech\n" + b"x" * 201 + b",Czech\n", "line 2: .*longer than 200"),
        (b"name,country\n", "no row"),
        (b"", "no row"),
        (b"\x1f\x8bnonsense", "cannot be read"),
        (gzip.compress(b"Novak,Czech\n" * 50)[:-9], "cannot be read"),
        (b"Novak,Czech\nHorak,Czech\n", "every name of .* is from Czech"),
    ],
)
def test_a_bad_file_is_refused_by_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        load(tmp_path, train_path=str(path), test_fraction=0.0)
    assert str(path) in str(error.value)


def test_ten_bad_lines_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("Novak,Czech\n" + "x\n" * 12)
    with pytest.raises(DataError, match="12 bad lines") as error:
        load(tmp_path, train_path=str(tmp_path / "bad.csv"))
    assert "line 11:" in str(error.value)
    assert "line 12:" not in str(error.value)
    assert "and 2 more" in str(error.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv: there is no such file"):
        load(tmp_path, train_path=str(tmp_path / "nowhere.csv"))


def test_an_unknown_country_in_test_is_named(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", SMALL)
    test = write_csv(tmp_path / "test.csv", [("Nowak", "Czech"), ("Nowak", "Grek"), ("Li", "Chinese")])
    with pytest.raises(DataError, match=r"'Grek' \(line 2\).*Did you mean Greek\?.*Chinese"):
        load(tmp_path, train_path=str(train), test_path=str(test))


def test_t29_labels_come_from_train_alone(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", SMALL)
    test = write_csv(tmp_path / "test.csv", [("Pappas", "Greek")])
    data = load(tmp_path, train_path=str(train), test_path=str(test))
    assert data.test is not None
    assert pairs(data, data.test)[0][1] == "Greek"
    assert data.test.target.tolist() == [2]


def test_words_that_exclude_each_other(tmp_path: Path) -> None:
    path = str(write_csv(tmp_path / "mine.csv", SMALL))
    with pytest.raises(ConfigError, match=r"dataset\.test_path"):
        load(tmp_path, test_path=path)
    with pytest.raises(ConfigError, match=r"dataset\.source: builtin"):
        load(tmp_path, train_path=path, source="builtin")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=60)
    | st.text(alphabet='ab,"\n\r\x00é \ufeff', max_size=40).map(str.encode)
    | st.lists(st.tuples(st.text(max_size=4), st.sampled_from("AB"))).map(
        lambda rows: "\n".join(",".join(row) for row in rows).encode()
    )
)
def test_any_bytes_give_rows_or_a_data_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fuzz.csv"
    path.write_bytes(content)
    try:
        data = load(tmp_path, train_path=str(path), test_fraction=0.0)
    except DataError:
        return
    codes, lengths = data.train.inputs
    assert lengths.min() > 0
    assert torch.equal((codes != 0).sum(1), lengths)


# --- letters


def test_t38_null_and_na_are_names(tmp_path: Path) -> None:
    data = load(tmp_path, train_path=str(write_csv(tmp_path / "a.csv", SMALL)), test_fraction=0.0)
    assert [name for name, _ in pairs(data, data.train)][2:] == ["Null", "NA", "nan"]


def folded(text: str, spec: DataSpec) -> str:
    words = Vocabulary.of(spec)
    return words.inverse(words.apply([text])[0])[0]


def test_t34_letters_beyond_ascii(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "a.csv", [("Dvořák", "A"), ("O’Brien", "B"), ("Иванов", "C"), ("ガ", "D")])
    test = write_csv(tmp_path / "b.csv", [("Łuk☃", "A"), ("Dvor\u030ca\u0301k", "B")])
    keys = {"train_path": str(train), "test_path": str(test)}
    plain, kept = load(tmp_path, **keys), load(tmp_path, **keys, ascii=False)
    assert [name for name, _ in pairs(plain, plain.train)] == ["Dvorak", "O'Brien", "Иванов", "ガ"]
    assert [name for name, _ in pairs(kept, kept.train)] == ["Dvořák", "O’Brien", "Иванов", "ガ"]
    assert plain.test is not None
    assert kept.test is not None
    assert [name for name, _ in pairs(plain, plain.test)] == ["��k�", "Dvorak"]
    assert [name for name, _ in pairs(kept, kept.test)] == ["��k�", "Dvořák"], "decomposed é is é"
    assert name_files.read_csv(test).rows[1].name == "Dvořák"
    assert folded("Dvor\u030ca\u0301k", kept.spec) == "Dvořák"
    assert folded("k\u0311k", plain.spec) == "kk", "a mark that no letter composes with"
    assert any("3 characters of test are unknown (code 1): L u ☃" in note for note in plain.notes)


def test_vocabulary_is_of_train_only_or_the_codes_of_ascii(tmp_path: Path) -> None:
    train = str(write_csv(tmp_path / "a.csv", [("ab", "A"), ("cé", "B")]))
    test = str(write_csv(tmp_path / "b.csv", [("az", "A")]))
    own = load(tmp_path, train_path=train, test_path=test)
    assert own.spec.vocabulary[2:] == ("a", "b", "c", "e")
    ascii_ = load(tmp_path, train_path=train, test_path=test, vocabulary="ascii")
    assert ascii_.spec.vocab_size == 128
    assert ascii_.train.inputs[0].tolist() == [[97, 98], [99, 101]], "the notes' ord(character)"


def test_t33_encode_keeps_the_order_and_shows_no_padding(tmp_path: Path) -> None:
    data = load(tmp_path)
    given_names = ["Li", "Zimmermann", " Novák ", "Papadopoulos", "O☃"]
    codes, lengths = Vocabulary.of(data.spec).apply(given_names)
    assert lengths.tolist() == [2, 10, 5, 12, 2]
    assert codes.shape == (5, 12)
    assert codes.dtype == torch.int64
    assert Vocabulary.of(data.spec).inverse(codes) == ["Li", "Zimmermann", "Novak", "Papadopoulos", "O�"]
    again = type(data.spec).from_dict(data.spec.to_dict())
    assert torch.equal(Vocabulary.of(again).apply(given_names)[0], codes), "the checkpoint's spec encodes alike"
    with pytest.raises(DataError, match="number 2 is empty"):
        Vocabulary.of(data.spec).apply(["Li", " "])
    with pytest.raises(DataError, match="no names"):
        Vocabulary.of(data.spec).apply([])


def test_t37_what_flatters_or_limits_is_told(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "a.csv", [("Chang", "Korean"), ("Chang", "Chinese"), ("Li", "Chinese")])
    test = write_csv(tmp_path / "b.csv", [("Chang", "Korean"), ("Kim", "Korean"), ("Wu", "Chinese"), ("Xu", "Chinese")])
    notes = load(tmp_path, train_path=str(train), test_path=str(test)).notes
    assert any("25.0% of the test names (1)" in note for note in notes)
    assert any("1 names belong to two or more countries" in note for note in notes)
