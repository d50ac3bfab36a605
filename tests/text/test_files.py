"""Files of users: read whole and plain within their bounds, or refused by name in one line."""

import json
import os
import socket
from pathlib import Path

import pytest

from analysis.errors import UserError
from analysis.files import check_regular, opened, regular_bytes
from analysis.settings import json_object, strict_json, yaml_mapping

KINDS = ("fifo", "socket", "folder", "link to a fifo", "link to a device", "loop", "nothing")


def place_of(kind: str, folder: Path) -> Path:
    """Something that is no file."""
    path = folder / "it"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    elif kind == "folder":
        path.mkdir()
    elif kind == "link to a fifo":
        os.mkfifo(folder / "fifo")
        path.symlink_to("fifo")
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to("it")
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_only_plain_files_are_opened_and_nothing_waits(kind, tmp_path):
    path = place_of(kind, tmp_path)
    with pytest.raises(OSError):
        opened(path)
    with pytest.raises(UserError, match=r"^expected .*got|^expected a file, found none") as error:
        regular_bytes(path, 10)
    assert str(path) in str(error.value)
    if kind != "nothing":
        with pytest.raises(UserError, match="expected a file that can be read, got "):
            check_regular([path], 10)


def test_a_file_and_a_link_to_it_are_read_up_to_their_bound(tmp_path):
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"0123456789")
    link.symlink_to(path)
    assert regular_bytes(path, 10) == regular_bytes(link, 10) == b"0123456789"
    check_regular([path, link, tmp_path / "absent"], 10)
    for refused in (lambda: regular_bytes(path, 9), lambda: check_regular([path], 9)):
        with pytest.raises(UserError, match=f"expected at most .* in {path}, got"):
            refused()
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match=r"got 1,048,576\.0"):
        regular_bytes(huge, 100)
    with pytest.raises(UserError, match="found none"):
        regular_bytes(Path("a\0b"), 10)


NOT_PLAIN = {
    '{"a": NaN}': "finite numbers, got NaN",
    '{"a": -Infinity}': "finite numbers, got -Infinity",
    '{"a": 1e999}': "finite numbers, got '1e999'",
    '{"a": 1, "b": {"c": 1, "c": 2}}': "each field once, got 'c' twice",
    f'{{"a": {"9" * 65}}}': "up to 64 digits, got one of 65",
    f'{{"a": {"[" * 100}{"]" * 100}}}': "nests too deeply",
    f'{{"a": {"[" * 90_000}{"]" * 90_000}}}': "nests too deeply",
    '{"a": 1,}': "Illegal trailing comma|Expecting property name",
    "[1]": "a mapping by name",
    "": "Expecting value",
}


@pytest.mark.parametrize("text", NOT_PLAIN, ids=lambda text: text[:30])
def test_json_that_is_not_plain_is_refused_by_the_name_of_its_file(text, tmp_path):
    path = tmp_path / "settings.json"
    path.write_text(text)
    with pytest.raises(UserError, match=NOT_PLAIN[text]) as error:
        json_object(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_plain_json_is_what_json_reads(tmp_path):
    said = {"a": [1, -2.5e-3, None, True, "\u00e9\n"], "b": {"c": {}}, "most": 10**30}
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(said))
    assert json_object(path) == said
    assert strict_json("[" * 99 + "1" + "]" * 99, 1) is not None
    with pytest.raises(ValueError, match="nests too deeply"):
        strict_json("[" * 101 + "]" * 101, 1)


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
NOT_YAML = {
    LAUGHS: "repeats itself",
    "a: &a [*a]": "repeats itself|nests too deeply",
    "a: 1\na: 2": "each field once, got 'a' twice",
    "a: " + "1" * 99: "up to 64 digits",
    "a: " + "1:" * 99 + "1": "up to 64 digits",
    "a: !!python/object/apply:os.getcwd []": "expected YAML",
    "x" * (2**18 + 1): "at most 0.25 MiB",
    "- 1": "a mapping by name",
}


@pytest.mark.parametrize("text", NOT_YAML, ids=lambda text: text[:20])
def test_yaml_that_is_not_plain_is_refused_by_the_name_of_its_file(text, tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=NOT_YAML[text]) as error:
        yaml_mapping(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_plain_yaml_is_read_with_its_aliases(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("a: &a {x: 1}\nb: *a\nc: [0x10, 1e-6, .5, null]\n")
    assert yaml_mapping(path) == {"a": {"x": 1}, "b": {"x": 1}, "c": [16, "1e-6", 0.5, None]}
