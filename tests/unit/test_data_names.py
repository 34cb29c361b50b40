"""Names of files and classes: any bytes, any Unicode, numbers before them."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.dataset import DataError
from data.names import (
    alike,
    as_text,
    class_names,
    former_class_names,
    pairs_alike,
    printable,
    spelling,
)

file_names = st.binary(min_size=1, max_size=12).map(os.fsdecode)


@given(st.lists(st.text("ab_- 0123", min_size=1, max_size=6), min_size=1, unique=True))
def test_class_names_stay_apart(folders: list[str]) -> None:
    names = class_names(folders)
    assert len(set(names)) == len(folders)
    assert all(folder.endswith(name) for folder, name in zip(folders, names, strict=True))
    assert names == tuple(folders) or not any(name[0].isdigit() for name in names)


@pytest.mark.parametrize(
    "folders",
    [
        ["000_airplane", "001_automobile"],
        ["0 airplane", "1 automobile"],
        ["07-airplane", "12-automobile"],
    ],
)
def test_numbers_that_order_classes_are_left_out(folders: list[str]) -> None:
    assert class_names(folders) == ("airplane", "automobile")


@pytest.mark.parametrize(
    "folders",
    [
        ["0_a", "1_a"],  # would be one class
        ["0", "1"],
        ["0-2", "4-6", "8-13"],
        ["10-20", "20-30"],
        ["0-2", "4-6", "60_up"],
        ["0--2", "4--6"],
        ["1_cat", "10_dog"],
        ["000_cat", "dog"],
        ["2019_01_cat", "2019_02_dog"],
        ["000_", "001_"],
    ],
)
def test_numbers_that_are_part_of_the_names_stay(folders: list[str]) -> None:
    assert class_names(folders) == tuple(folders)


@given(file_names)
def test_any_file_name_is_text_that_can_be_encoded(name: str) -> None:
    as_text(name).encode()
    assert printable(name).isprintable()
    printable(name).encode()
    assert as_text(as_text(name)) == as_text(name)


@given(st.text(st.characters(exclude_categories=()), max_size=12))
def test_any_text_is_made_printable(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert shown.isprintable()
    assert shown == text or not text.isprintable()


def test_bytes_that_are_no_utf_8_are_shown_as_such() -> None:
    assert as_text(os.fsdecode(b"ma\xe7\xe3")) == r"ma\xe7\xe3"
    assert as_text("maçã") == "maçã"
    assert printable("two\nlines") == r"two\nlines"
    assert str(DataError(f"no {os.fsdecode(b'ma' + bytes([0xE7]))}\n")) == r"no ma\xe7\n"


@pytest.mark.parametrize(
    ("one", "other"),
    [("caf\xe9", "cafe\u0301"), ("a", "a\u200b"), ("a b", "a\xa0b"), ("a", "a "), ("A", "\uff21")],
)
def test_names_that_only_look_the_same(one: str, other: str) -> None:
    assert alike(one, other)
    assert list(pairs_alike(["x", one, "y", other])) == [(one, other)]
    assert spelling(one) != spelling(other)
    assert spelling(other).isascii()


def test_names_that_look_different() -> None:
    assert list(pairs_alike(["a", "b", "A", "\xe1", "0-2", "02"])) == []
    assert not alike("a", "a")


def test_the_unicode_form_is_told() -> None:
    assert spelling("caf\xe9") == r"'caf\xe9' (Unicode NFC)"
    assert spelling("cafe\u0301") == r"'cafe\u0301' (Unicode NFD)"
    assert spelling("cafe") == "'cafe'"


def test_what_earlier_versions_called_classes_is_known() -> None:
    folders = ("10_dog", "1_cat", "2_cow")
    assert class_names(folders) == folders
    assert former_class_names(folders) == ("dog", "cat", "cow")
    assert former_class_names(("1_a", "2_a")) == ("1_a", "2_a")
    assert former_class_names(class_names(("000_cat", "001_dog"))) == ("cat", "dog")
