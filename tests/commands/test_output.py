"""Where a book is built: in folders of its own, which nobody else has written into."""

import json
import os
import shutil
from pathlib import Path

import pytest

from book.errors import BookError
from book.output import BOOK_MARKER, WORK_MARKER, Published, claimed, refuse_strange
from book.site import build
from store import StoreError
from tests.book.book_sample import NOTEBOOKS, OPTIONS, digests, sample_folder


@pytest.fixture
def built(tmp_path) -> Path:
    """A folder with a book, its work folder and its store."""
    return Path(shutil.copytree(sample_folder(), tmp_path / "book"))


def refused(folder: Path, message: str, out: str = "html") -> None:
    """A build that ends in one line, and writes nothing."""
    before = digests(folder)
    with pytest.raises((BookError, StoreError), match=message) as refusal:
        build(folder / "store", NOTEBOOKS, folder / out, check=False, options=OPTIONS)
    assert "\n" not in str(refusal.value)
    assert digests(folder) == before


def again(folder: Path, out: str = "html") -> bool:
    """Whether a build wrote pages."""
    return build(folder / "store", NOTEBOOKS, folder / out, check=False, options=OPTIONS).written


def test_a_folder_of_somebody_else_is_refused(built):
    (built / "mine").mkdir()
    (built / "mine" / "thesis.tex").write_text("x")
    refused(built, r"expected a new, empty or built folder .*thesis\.tex in it", "mine")
    (built / "mine" / "index.html").write_text("my own page")
    refused(built, "expected a new, empty or built folder", "mine")


def test_a_work_folder_of_somebody_else_is_refused(built):
    """What was once wiped: a folder that is called as a work folder would be."""
    (built / "public.work").mkdir()
    (built / "public.work" / "source").mkdir()
    (built / "public.work" / "source" / "mine.md").write_text("x")
    refused(
        built,
        r"expected a new, empty or built folder at .*public\.work; got source in it",
        "public",
    )


def test_a_page_that_somebody_has_changed_is_not_replaced(built):
    page = built / "html" / "index.html"
    page.write_text("mine now")
    refused(built, r"expected .*index\.html as it was built; got a file that was changed")
    page.unlink()
    assert again(built), "a page that is gone is written anew"


def test_a_file_that_no_build_wrote_is_neither_replaced_nor_removed(built):
    (built / "html" / "CNAME").write_text("book.example")
    page = built / "html" / "index.html"
    marker = built / "html" / BOOK_MARKER
    told = json.loads(marker.read_text())
    del told["files"]["index.html"]
    marker.unlink()
    marker.write_text(json.dumps(told))
    page.write_text("mine")
    (built / "html.work" / "site.json").unlink()
    before = page.read_text()
    with pytest.raises(BookError, match=r"expected nothing at .*index\.html; got a file that no"):
        again(built)
    assert page.read_text() == before
    page.unlink()
    assert again(built)
    assert (built / "html" / "CNAME").read_text() == "book.example"


def test_without_its_work_folder_a_book_is_known_and_built_anew(built):
    before = digests(built / "html")
    shutil.rmtree(built / "html.work")
    assert again(built)
    assert digests(built / "html") == before
    assert not again(built)


@pytest.mark.parametrize("place", ["html/_static", "html.work/html", "html.work/source/index.md"])
def test_no_link_is_followed(built, tmp_path, place):
    path = built / place
    outside = tmp_path / "outside"
    path.rename(outside)
    path.symlink_to(outside)
    before = digests(tmp_path / "outside") if outside.is_dir() else outside.read_bytes()
    refused(built, "got a symbolic link, which is left alone")
    assert before == (digests(outside) if outside.is_dir() else outside.read_bytes())


def test_an_output_that_is_named_by_a_link_is_where_the_link_leads(built, tmp_path):
    (tmp_path / "there").mkdir()
    (built / "public").symlink_to(tmp_path / "there")
    assert again(built, "public")
    assert (tmp_path / "there" / "index.html").is_file()
    assert (tmp_path / "there.work" / WORK_MARKER).is_file()


def test_two_builds_into_one_folder(built):
    with claimed(built / "html.work", WORK_MARKER):
        refused(built, "expected one build at a time into .*wait for it")
    assert not again(built)


@pytest.mark.parametrize("name", ["../store/store.json", "/etc/hostname", "", "a/../../x"])
def test_a_forged_marker_leads_nowhere(built, name):
    marker = built / "html" / BOOK_MARKER
    marker.unlink()
    marker.write_text(json.dumps({"files": {name: ["0" * 64]}}))
    refused(built, "expected the list of a book's files")


def test_a_marker_is_there_from_the_first_moment(tmp_path):
    with claimed(tmp_path / "new" / "out", BOOK_MARKER) as folder:
        assert folder.names() == [BOOK_MARKER]
        assert not Published.of(folder).is_whole()
        os.mkfifo(tmp_path / "new" / "out" / "pipe")
        with pytest.raises(StoreError, match="got a named pipe"):
            refuse_strange(folder)
    with claimed(tmp_path / "new" / "out", BOOK_MARKER) as folder:
        assert folder.names() == [BOOK_MARKER, "pipe"]
