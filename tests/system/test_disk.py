"""What disks make of names: found out by writing and listing, without leaving anything there."""

import errno
import itertools
import os
import time
from pathlib import Path
from typing import Any

import pytest
from batch.processes import files, photo, states
from system.disks import Refusing, mounted
from typer.testing import CliRunner, Result

from bwcolor.batch.plan import find_jobs
from bwcolor.cli.app import app
from bwcolor.errors import PassingError, UsageError
from bwcolor.system.atomic import commit
from bwcolor.system.disk import PLAIN, Disk, any_case, composed, mode_of, same_name

ODD = '?:*<>|"\\\t\n\x7f\u00e4\u65e5\U0001f600\udce4'


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def everything_below(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_case_is_told_by_writing_and_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "not yet" / "out"
    assert not Disk(out, may_write=True).ignores_case, "this disk keeps them apart"
    assert everything_below(tmp_path) == []
    Refusing(monkeypatch, cases=False)
    assert Disk(out, may_write=True).ignores_case
    assert everything_below(tmp_path) == []


def test_what_lies_in_the_folder_stays(tmp_path: Path) -> None:
    (tmp_path / ".bwcolor").mkdir()
    (tmp_path / ".bwcolor" / "a").write_bytes(b"1")
    (tmp_path / "A").write_bytes(b"2")
    before = states(tmp_path)
    assert not Disk(tmp_path, may_write=True).ignores_case
    Disk(tmp_path, may_write=True).rules([Path("a?b"), Path("x.")])
    assert states(tmp_path) == before
    assert [path.name for path in (tmp_path / ".bwcolor").iterdir()] == ["a"]


def test_trial_files_of_a_killed_run_go_with_the_next_trial(tmp_path: Path) -> None:
    for name, age in (("trial-old", 7200), ("trial-young", 10), ("kept", 7200)):
        folder = tmp_path / ".bwcolor" / name
        folder.mkdir(parents=True)
        (folder / "a?").touch()
        os.utime(folder, (time.time() - age,) * 2)
    assert not Disk(tmp_path, may_write=True).ignores_case
    assert {path.name for path in (tmp_path / ".bwcolor").iterdir()} == {"trial-young", "kept"}


def test_without_writing_a_file_tells_or_the_kind_of_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1").mkdir()
    out = tmp_path / "1" / "new"
    assert not Disk(out).ignores_case, "the name of its folder tells nothing"
    monkeypatch.setattr("bwcolor.system.disk.kind_of_disk", lambda folder: "exfat")
    assert Disk(out).ignores_case, "nothing lies there: the kind of disk tells"
    (tmp_path / "1" / "b").touch()
    assert not Disk(out).ignores_case, "a file there tells better"
    assert everything_below(tmp_path) == [tmp_path / "1", tmp_path / "1" / "b"]


def test_numbers_of_files_tell_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """exFAT through FUSE finds a file in either case and gives each spelling a number of its own."""
    (tmp_path / "photo.jpg").touch()
    found = os.path.lexists
    monkeypatch.setattr(os.path, "lexists", lambda path: found(path) or Path(path).name == "PHOTO.JPG")
    assert Disk(tmp_path).ignores_case
    (tmp_path / "PHOTO.JPG").touch()
    assert not Disk(tmp_path).ignores_case, "both are listed: two files"


def test_a_place_where_nothing_can_be_written_is_guessed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file" / "out", Path("/proc/nothing/out"), Path("/")):
        Disk(out).rules([Path("a"), Path("A")])  # once: ValueError
    disk = Disk(tmp_path / "file" / "out", may_write=True)
    assert not disk.ignores_case
    assert disk.rules([Path("a?b.jpg")]).takes("a?b.jpg")
    assert everything_below(tmp_path) == [tmp_path / "file"]


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".bwcolor").symlink_to(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").stat().st_mtime_ns
    disk = Disk(tmp_path / "out", may_write=True)
    assert (disk.ignores_case, disk.rules([Path("a?")]).takes("a?")) == (False, True)
    assert (tmp_path / "elsewhere").stat().st_mtime_ns == before


@pytest.mark.parametrize("refused", ["", "?", '?:*<>|"\\', "\u00e4\u65e5\udce4", ODD])
def test_characters_that_a_disk_refuses_are_found(
    refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Refusing(monkeypatch, refused)
    rules = Disk(tmp_path, may_write=True).rules([Path(f"a{char}/b.jpg") for char in ODD])
    for char in ODD:
        assert rules.takes(f"a{char}b") is (char not in refused)
        assert rules.accepted(f"a{char}b") == ("a_b" if char in refused else f"a{char}b")
    assert disk.opened < 60
    assert everything_below(tmp_path) == []


def test_ends_that_a_disk_cuts_off_are_seen_in_its_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(tmp_path, may_write=True)
    assert all(disk.rules([Path("a./b "), Path("c.d e.jpg")]).takes(name) for name in ("a.", "b ", "c.d e.jpg"))
    Refusing(monkeypatch, ends=". ")
    rules = Disk(tmp_path, may_write=True).rules([Path("a./b "), Path("c.d e.jpg")])
    assert [rules.accepted(name) for name in ("a.", "b ", "c.d e.jpg")] == ["a_", "b_", "c.d e.jpg"]


def test_plain_names_cost_nothing_and_what_is_known_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = Refusing(monkeypatch)
    disk = Disk(tmp_path, may_write=True)
    disk.rules([Path("roll 1", f"IMG_{number} (2).jpg") for number in range(100)] + [Path("".join(sorted(PLAIN)))])
    assert tried.opened == 0
    disk.rules([Path("\u00e9t\u00e9.jpg")])
    once = tried.opened
    assert once
    disk.rules([Path("\u00e9\u00e9.jpg"), Path("t.jpg")])
    assert tried.opened == once


def test_case_is_asked_for_where_it_matters_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = Refusing(monkeypatch, cases=False)
    disk = Disk(tmp_path, may_write=True)
    assert disk.rules([Path("a/b.jpg"), Path("a/c.jpg")]).fold("A") == "A"
    assert tried.opened == 0
    for pair in (["a.jpg", "A.jpg"], ["d/a.jpg", "D/b.jpg"], ["a/b.jpg", "A"]):
        rules = disk.rules(map(Path, pair))
        assert rules.fold("A") == rules.fold("a")


def test_a_full_disk_refuses_no_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", full)
    assert Disk(tmp_path, may_write=True).rules([Path("a?b.jpg")]).takes("a?b.jpg")


@pytest.mark.parametrize(
    ("one", "other"),
    [("A", "a"), ("É", "e\u0301"), ("ß", "SS"), ("\u0131", "I"), ("\u017f", "s"), ("ς", "Σ"), ("ǅ", "ǆ"), ("ﬁ", "FI"),
     ("\u212a", "k"), ("µ", "μ")],
)  # fmt: skip
def test_whatever_a_disk_may_take_for_the_same_is_the_same(one: str, other: str) -> None:
    assert any_case(one) == any_case(other)


def test_all_simple_pairs_of_cases_are_the_same() -> None:
    """NTFS and exFAT compare names letter by letter in upper case."""
    for code in itertools.chain(range(0xD800), range(0xE000, 0x10000)):
        char = chr(code)
        for other in (char.upper(), char.lower(), char.title()):
            if len(other) == 1:
                assert any_case(char) == any_case(other), hex(code)


def test_paths_are_compared_as_their_disk_does(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    assert same_name(tmp_path / "\u00e9", tmp_path / "e\u0301", disk)
    assert not same_name(tmp_path / "a", tmp_path / "A", disk)
    disk.ignores_case = True
    assert same_name(tmp_path / "a", tmp_path / "A", disk)
    assert not same_name(tmp_path / "a", tmp_path / "b", disk)
    assert composed("e\u0301") == "\u00e9"


def test_a_name_that_a_disk_can_not_even_look_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NTFS answers so to a name that is no UTF-8; pathlib lets that through."""

    def refuse(path: Path, **_: object) -> os.stat_result:
        raise OSError(errno.EILSEQ, os.strerror(errno.EILSEQ))

    monkeypatch.setattr(Path, "stat", refuse)
    assert mode_of(tmp_path) == 0


def test_an_output_folder_that_is_the_input_in_another_spelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(tmp_path / "Photos" / "a.png")
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    assert find_jobs(tmp_path / "Photos", tmp_path / "photos").jobs, "here they are two"
    monkeypatch.setattr("bwcolor.system.disk._seems_to_ignore_case", lambda out: True)
    with pytest.raises(UsageError, match="would replace your originals"):
        find_jobs(tmp_path / "Photos", tmp_path / "photos")
    with pytest.raises(UsageError, match="lie inside one another"):
        find_jobs(tmp_path / "Photos", tmp_path / "photos" / "sub", overwrite=True)
    (tmp_path / "photos" / "a.png").touch()
    with pytest.raises(UsageError, match="would replace your original"):
        find_jobs(tmp_path / "Photos" / "a.png", tmp_path / "photos")


# Real disks.


@pytest.fixture(params=["vfat", "exfat", "ntfs"], scope="module")
def disk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with mounted(request.param, tmp_path_factory.mktemp("disk")) as folder:
        yield folder


NAMES = [
    *("a.png", "A.png", "b?.png", "b*.png", "c:d.png", "tab\t.png", "new\nline.png", 'q"uote.png', "back\\slash.png"),
    *("pi|pe.png", "<x>.png", "\udce4.png", "\u00e4.png", "\u00c4.png", "1931: Oma/x.png", "1931? Oma/x.png"),
    *("f\udce4/x.png", "end./x.png", "end/x.png", "Dir/y.png", "dir/y.png", "\u65e5.png", "\U0001f600.png"),
    *("x" * 251 + ".png", "\u00e9" * 125 + ".png"),
]


def test_every_name_gets_an_output_on_every_disk(disk: Path, tmp_path: Path, tiny_model: Path) -> None:
    root, out = tmp_path / "photos", disk / "Out"
    for seed, name in enumerate(NAMES):
        photo(root / name, seed=seed)
    before = states(root)
    arguments = (root, "--out", out, "--model", tiny_model, "--color-input", "recolor")
    first = run(*arguments)
    assert (first.exit_code, f"{len(NAMES)} colorized" in first.stderr) == (0, True), first.stderr
    made = files(out)
    assert len(set(made.values())) == len(made) == len(NAMES), "each of its own photo"
    second = run(*arguments)
    assert f"0 colorized, {len(NAMES)} skipped (done already)" in second.stderr, second.stderr
    assert files(out) == made
    assert states(root) == before
    assert {path.name for path in (out / ".bwcolor").iterdir()} == {"ledger.sqlite", "lock", "reports"}
    assert list(out.rglob("*.part")) == []


def test_nothing_is_replaced_and_originals_are_known_in_any_spelling(disk: Path) -> None:
    (disk / "Kept").mkdir()
    commit(b"first", disk / "Kept" / "a.png", overwrite=False)
    with pytest.raises(PassingError, match="exists already"):
        commit(b"second", disk / "Kept" / "a.png", overwrite=False)
    photo(disk / "Album" / "a.png")
    if Disk(disk / "Album").ignores_case:
        with pytest.raises(PassingError, match="exists already"):
            commit(b"second", disk / "Kept" / "A.PNG", overwrite=False)
        with pytest.raises(UsageError, match="would replace your originals"):
            find_jobs(disk / "Album", disk / "ALBUM")
    assert {path.name: path.read_bytes() for path in (disk / "Kept").iterdir()} == {"a.png": b"first"}


def test_a_name_that_nobody_foresaw_costs_one_photo(disk: Path) -> None:
    with pytest.raises(PassingError, match="the output folder's disk does not take"):
        commit(b"", disk / "bad\udce4.png", overwrite=False)
    with pytest.raises(PassingError, match="the output folder's disk does not take the name of its folder"):
        commit(b"", disk / "bad\udce4" / "a.png", overwrite=False)
    assert not [path for path in disk.iterdir() if path.name.startswith("bad")]
