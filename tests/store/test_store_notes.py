"""Notes: whoever is first is followed by all; what is not sound is none; nothing depends on one."""

import pytest

from store import Store, StoreError, merge, strays
from store.beneath import Folder
from store.notes import keep_note

ABOUT = {"note": "pace", "model": {"weights": "a"}, "device": "cpu"}
NUMBERS = {"layer": 1e-5, "load": 2.0}


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "store")


def place(store: Store):
    (path,) = (store.root / "notes").glob("*.json")
    return path


def test_the_first_note_is_kept(store):
    assert store.noted(ABOUT) is None
    assert store.note(ABOUT, NUMBERS) == NUMBERS
    assert store.note(ABOUT, {"layer": 9.0}) == NUMBERS == Store.open(store.root).noted(ABOUT)
    assert store.noted({**ABOUT, "device": "cuda"}) is None
    assert strays(store.root) == [] and store.runs() == ()
    assert [path.name for path in (store.root / "notes").iterdir()] == [place(store).name]


def test_two_at_once_agree_and_neither_is_torn(store):
    store.note({"other": 1}, {})
    with Folder.open(store.root) as root, root.below("notes") as notes:
        for n in range(20):
            keep_note(notes, f"{1:032x}.json", b'{"n":%d}' % n)
        assert notes.read(f"{1:032x}.json", 100) == b'{"n":0}'


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"layer": "fast"}', '{"layer": NaN}', "1" * 20_000]
)
def test_what_is_no_note_is_none(store, text):
    store.note(ABOUT, NUMBERS)
    path = place(store)
    path.unlink()
    path.write_text(text)
    assert store.noted(ABOUT) is None
    assert store.note(ABOUT, NUMBERS) == NUMBERS


def test_a_link_in_its_place_is_refused(store, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (store.root / "notes").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="notes"):
        Store.open(store.root)
    with pytest.raises(StoreError):
        store.note(ABOUT, NUMBERS)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_planned_store_has_none_and_is_not_made_by_looking(tmp_path):
    assert Store.planned(tmp_path / "new").noted(ABOUT) is None
    assert not (tmp_path / "new").exists()


def test_notes_are_merged_where_there_is_none(store, tmp_path):
    other = Store.open(tmp_path / "other")
    other.note(ABOUT, NUMBERS)
    other.note({"a": 1}, {"b": 2})
    store.note({"a": 1}, {"b": 3})
    merge(store, other.root)
    assert (store.noted(ABOUT), store.noted({"a": 1})) == (NUMBERS, {"b": 3})
