"""Which files of a folder are taken: patterns, lists of names, and what the run itself put there."""

import io
import os
import sys
from pathlib import Path, PurePosixPath

import pytest

from bwcolor.batch.discovery import Choice, Found, LeftOut, read_list, walk
from bwcolor.errors import FolderError, UsageError

ODD = os.fsdecode(b"\xe4\r\x1b[1m.jpg")  # not UTF-8, with a CR and an escape in it


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return tree(tmp_path / "photos", "a.jpg", "B.JPG", "raw/a.jpg", "raw/b.tif", "scans/raw/c.tif", "scans/d.tif")


def found(photos: Path, **choice: tuple[str, ...]) -> list[str]:
    return [str(path.relative_to(photos)) for path in walk(photos, photos / "out", Choice(**choice)).photos]  # type: ignore[arg-type]


def listed(photos: Path, *names: str | Path, out: Path | None = None) -> Found:
    return walk(photos, out or photos / "out", Choice(listed=tuple(map(Path, names))))


def reasons(result: Found) -> dict[str, str]:
    return {left.path.name: left.reason for left in result.left_out if left.failed}


ALL = ["B.JPG", "a.jpg", "raw/a.jpg", "raw/b.tif", "scans/d.tif", "scans/raw/c.tif"]


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ((), (), ALL),
        (("*.tif",), (), ["raw/b.tif", "scans/d.tif", "scans/raw/c.tif"]),
        (("*.jpg",), (), ["a.jpg", "raw/a.jpg"]),  # case counts
        (("*.[jJ][pP][gG]",), (), ["B.JPG", "a.jpg", "raw/a.jpg"]),
        (("*.tif", "B.*"), (), ["B.JPG", "raw/b.tif", "scans/d.tif", "scans/raw/c.tif"]),
        ((), ("raw",), ["B.JPG", "a.jpg", "scans/d.tif"]),  # a folder's name, wherever it lies
        ((), ("raw/",), ["B.JPG", "a.jpg", "scans/d.tif"]),
        ((), ("a.jpg/",), ALL),  # a file is no folder
        ((), ("raw/*",), ["B.JPG", "a.jpg", "scans/d.tif", "scans/raw/c.tif"]),  # a path from the top
        ((), ("/raw",), ["B.JPG", "a.jpg", "scans/d.tif", "scans/raw/c.tif"]),
        ((), ("scans/raw",), ["B.JPG", "a.jpg", "raw/a.jpg", "raw/b.tif", "scans/d.tif"]),
        ((), ("./scans/raw/",), ["B.JPG", "a.jpg", "raw/a.jpg", "raw/b.tif", "scans/d.tif"]),
        ((), ("*/c.tif",), ["B.JPG", "a.jpg", "raw/a.jpg", "raw/b.tif", "scans/d.tif"]),  # * stands for slashes too
        (("raw",), ("*.tif",), ["raw/a.jpg"]),
        (("scans/*",), ("raw",), ["scans/d.tif"]),
        (("nothing",), (), []),
    ],
)
def test_patterns(include: tuple[str, ...], exclude: tuple[str, ...], expected: list[str], photos: Path) -> None:
    assert found(photos, include=include, exclude=exclude) == expected
    result = walk(photos, photos / "out", Choice(include, exclude))
    assert result.unwanted == len(ALL) - len(expected), "those not chosen are counted"


def test_patterns_see_names_that_are_no_utf_8() -> None:
    choice = Choice(exclude=(os.fsdecode(b"\xe4*"),))
    assert not choice.wants(PurePosixPath(ODD))
    assert choice.wants(PurePosixPath("b.jpg"))


def test_what_lies_in_an_excluded_folder_is_no_failure(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = os.scandir

    def refuse(folder: Path) -> object:
        if Path(folder).name == "raw":
            raise PermissionError(13, "Permission denied")
        return listing(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert [left.failed for left in walk(photos, photos / "out").left_out] == [True, True]
    assert walk(photos, photos / "out", Choice(exclude=("raw",))).left_out == []


def test_our_own_folder_is_passed_over(photos: Path) -> None:
    tree(photos, ".bwcolor/a.jpg", "raw/.bwcolor/b.jpg")
    assert found(photos) == ALL


def test_links_and_pipes_are_named_and_not_opened(photos: Path, tmp_path: Path) -> None:
    (photos / "link.jpg").symlink_to(photos / "a.jpg")
    (photos / ".bwcolor").symlink_to(photos / "raw")
    expected = {
        "link.jpg": "is a link, and links are not followed",
        ".bwcolor": "is a link, and links are not followed",
    }
    if hasattr(os, "mkfifo"):
        os.mkfifo(photos / "pipe.jpg")
        expected["pipe.jpg"] = "is not a regular file"
    result = walk(photos, tmp_path / "out")
    assert {left.path.name: left.reason for left in result.left_out} == expected
    assert len(result.photos) == len(ALL)


# Lists.


@pytest.mark.parametrize(
    ("content", "null", "expected"),
    [
        (b"a.jpg\nb.jpg\n", False, ["a.jpg", "b.jpg"]),
        (b"a.jpg\r\nb.jpg\r\n", False, ["a.jpg", "b.jpg"]),
        (b"a.jpg\n\n\r\n\nb.jpg", False, ["a.jpg", "b.jpg"]),
        (b"\xef\xbb\xbfa.jpg\n", False, ["a.jpg"]),
        (b"a\rb\x0c\x85\x1c.jpg\n", False, [os.fsdecode(b"a\rb\x0c\x85\x1c.jpg")]),  # no other ends of lines
        (b" a .jpg \n", False, [" a .jpg "]),
        (b"", False, []),
        (b"a.jpg\0b\n.jpg\0\0c\r", True, ["a.jpg", "b\n.jpg", "c\r"]),
        (os.fsencode(ODD) + b"\n", False, [ODD]),
        (b"\xef\xbb\xbfa.jpg\0", True, ["\ufeffa.jpg"]),
    ],
)
def test_read_list(
    content: bytes, null: bool, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "list").write_bytes(content)
    assert read_list(str(tmp_path / "list"), null) == tuple(map(Path, expected))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert read_list("-", null) == tuple(map(Path, expected))


def test_a_list_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"--from-file .*nowhere: can't be read \(No such file"):
        read_list(str(tmp_path / "nowhere"), False)
    with pytest.raises(FolderError, match=r"can't be read \(Is a directory\)"):
        read_list(str(tmp_path), False)
    for content in (b"a.jpg\0b.jpg\0", "a.jpg\n".encode("utf-16")):
        (tmp_path / "list").write_bytes(content)
        with pytest.raises(UsageError, match=r"holds NUL bytes\. Add --null if names end with them"):
            read_list(str(tmp_path / "list"), False)


def test_listed_photos_in_the_order_of_the_list_each_once(photos: Path) -> None:
    names: list[str | Path] = [
        "scans/d.tif",
        photos / "a.jpg",
        "a.jpg",
        "./raw//a.jpg",
        "raw/../raw/a.jpg",
        "scans/../B.JPG",
    ]
    result = listed(photos, *names)
    assert result.photos == [photos / name for name in ("scans/d.tif", "a.jpg", "raw/a.jpg", "B.JPG")]
    assert result.left_out == []


def test_what_is_wrong_with_a_list_is_told_name_by_name(photos: Path, tmp_path: Path) -> None:
    tree(tmp_path, "outside.jpg")
    tree(photos, "notes.txt", "out/made.jpg", ".bwcolor/x.jpg")
    (photos / "linked").symlink_to(photos / "raw")
    (photos / "loop").symlink_to("loop")  # leads nowhere, so that nothing exists behind it
    names: list[str | Path] = [
        "missing.jpg", "../outside.jpg", tmp_path / "outside.jpg", "/", ".", "notes.txt", "raw", "linked/b.tif",
        "loop/c.tif", "a.jpg/d.jpg", "out/made.jpg", ".bwcolor/x.jpg", "x" * 300 + ".jpg", ODD, "a.jpg",
    ]  # fmt: skip
    result = listed(photos, *names)
    assert result.photos == [photos / "a.jpg"]
    assert all(left.failed for left in result.left_out)
    outside, missing = (
        f"is on the list, but not below {photos}",
        f"is on the list, and does not exist; paths start at {photos}",
    )
    linked, kind = "is reached through a link, and links are not followed", "not a kind of photo that can be read"
    ours = "is on the list, and lies in the output folder"
    assert reasons(result) == {
        "missing.jpg": missing, "outside.jpg": outside, "": outside, "photos": outside,
        "notes.txt": f"is on the list, and {kind}", "raw": f"is on the list, and {kind}", "b.tif": linked,
        "c.tif": missing, "d.jpg": missing, "made.jpg": ours, "x.jpg": ours, "x" * 300 + ".jpg": missing, ODD: missing,
    }  # fmt: skip
    assert len(result.left_out) == len(names) - 2, "every name ends one way, and a name twice once"


def test_a_list_reaches_the_output_folder_by_no_other_name(photos: Path, tmp_path: Path) -> None:
    tree(photos, "out/made.jpg")
    (tmp_path / "linked").symlink_to(photos / "out")
    result = listed(photos, "out/made.jpg", out=tmp_path / "linked")
    assert result.photos == []
    assert "lies in the output folder" in reasons(result)["made.jpg"]


def test_listed_links_and_pipes_are_not_opened(photos: Path) -> None:
    (photos / "link.jpg").symlink_to(photos / "a.jpg")
    names = ["link.jpg"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(photos / "pipe.jpg")
        names.append("pipe.jpg")
    result = listed(photos, *names)
    assert result.photos == []
    assert [left.path.name for left in result.left_out] == names


def test_a_folder_given_through_a_link_has_a_list_too(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(photos)
    assert listed(tmp_path / "link", "raw/a.jpg").photos == [tmp_path / "link" / "raw" / "a.jpg"]


def test_patterns_choose_from_a_list(photos: Path) -> None:
    choice = Choice(
        include=("*.tif",), exclude=("raw",), listed=(Path("scans/d.tif"), Path("raw/b.tif"), Path("a.jpg"))
    )
    result = walk(photos, photos / "out", choice)
    assert (result.photos, result.unwanted) == ([photos / "scans/d.tif"], 2)


def test_odd_names_are_found_as_they_are(tmp_path: Path) -> None:
    names = [ODD, "\u202egpj.jpg", "-rf.jpg", "[bold]x.png", "=1+1.tif", "new\nline.jpg", "x" * 251 + ".jpg"]
    result = walk(tree(tmp_path / "odd", *names), tmp_path / "out")
    assert sorted(os.fsencode(path.name) for path in result.photos) == sorted(map(os.fsencode, names))
    assert listed(tmp_path / "odd", *names).left_out == []


def test_a_folder_that_vanishes_during_the_walk_is_named(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = os.scandir

    def vanishing(folder: Path) -> object:
        if Path(folder).name == "scans":
            raise FileNotFoundError(2, "No such file or directory")
        return listing(folder)

    monkeypatch.setattr(os, "scandir", vanishing)
    (left,) = walk(photos, photos / "out").left_out
    assert left == LeftOut(photos / "scans", "folder can't be listed (No such file or directory)", failed=True)
