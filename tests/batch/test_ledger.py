"""The ledger: what is written is there again, after kills, on full disks, and beside other people's files."""

import hashlib
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bwcolor.batch import ledger_file as module
from bwcolor.batch.ledger import NO_FILE, Fingerprint, Ledger, Making, Record, fingerprint
from bwcolor.errors import BusyError, FolderError
from bwcolor.system.filesystem import kind_of_disk

MAKING = Making("a" * 64, "default 2", '{"strength": 1.0}')
COST = 0.020  # seconds for a photo at most, with room for machines that have other work


def record(out: Path, name: str = "a.jpg", content: bytes = b"colour") -> Record:
    """Of an output that is called `name` and holds `content`."""
    made = Fingerprint(len(content), 5, hashlib.sha256(content).hexdigest())
    source = Fingerprint(3, 4, "b" * 64)
    return Record(out / name, out / name, Path(name), Path("/photos"), source, made, MAKING, "done", at=1.5)


def fill(ledger: Ledger, records: int) -> None:
    for number in range(records):
        ledger.write(record(ledger.out, f"{number}.jpg"))


def below(known: Record, out: Path) -> Record:
    """As it is read: with paths below the output folder."""
    return replace(known, target=known.target.relative_to(out), path=known.path.relative_to(out))


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


# Names as they come from a disk: any bytes but the slash and NUL.
NAMES = (
    st.binary(min_size=1, max_size=60)
    .map(lambda name: os.fsdecode(name.replace(b"/", b"-").replace(b"\0", b"-")))
    .filter(lambda name: name not in (".", ".."))
)
PRINTS = st.builds(
    Fingerprint, st.integers(-1, 2**62), st.integers(-(2**80), 2**80), st.text("0123456789abcdef", max_size=64)
)
TEXTS = st.text(max_size=30).map(lambda text: text.encode("utf-8", "replace").decode())
RECORDS = st.builds(
    Record,
    target=st.builds(Path, NAMES, NAMES), path=st.builds(Path, NAMES), source=st.builds(Path, NAMES, NAMES, NAMES),
    root=NAMES.map(lambda name: Path("/", name)), input=PRINTS, output=PRINTS,
    making=st.builds(Making, TEXTS, TEXTS, TEXTS), state=st.sampled_from(["done", "skipped", "failed"]), reason=TEXTS,
    lasting=st.booleans(), seconds=st.floats(0, 1e6), at=st.floats(1, 1e10), version=TEXTS,
    doubt=st.none() | st.floats(0, 400), notes=st.lists(st.text(st.characters(exclude_categories=[]))).map(tuple),
    pixels=st.integers(0, 2**80),
)  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with Ledger.open(tmp_path_factory.mktemp("out")) as ledger:
        yield ledger


@settings(deadline=None)
@given(RECORDS)
def test_every_field_comes_back(shared: Ledger, known: Record) -> None:
    shared.write(known)
    assert shared.find(known.target) == known
    assert shared.find(shared.out / known.target) == known, "absolute or below the folder, it is the same"


@pytest.mark.parametrize("reason", ["can't be read: \udcff.jpg", "a\0b", "\ud800\U0001f600"])
def test_words_that_are_no_text_are_kept_readable(reason: str, tmp_path: Path) -> None:
    """A file's name may be any bytes, and stands in sentences."""
    with Ledger.open(tmp_path) as ledger:
        ledger.write(replace(record(tmp_path), state="failed", reason=reason, making=Making("", reason, reason)))
    with Ledger.open(tmp_path) as ledger:
        found = ledger.find(Path("a.jpg"))
    assert found is not None
    assert found.reason == found.making.label == reason.encode("utf-8", "backslashreplace").decode()


def test_records_outlive_the_process_that_wrote_them(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        assert ledger.find(tmp_path / "a.jpg") is None
        ledger.write(record(tmp_path, os.fsdecode(b"\xff\n.jpg")))
        ledger.write(record(tmp_path, "sub/a.jpg"))
        ledger.write(replace(record(tmp_path, "sub/a.jpg"), state="failed", reason="new"))
    with Ledger.open(tmp_path) as ledger:
        found = list(ledger.records())
        assert [os.fsencode(one.target) for one in found] == [b"sub/a.jpg", b"\xff\n.jpg"], "in order of bytes"
        assert found[0].reason == "new"
        assert ledger.damaged is None
    assert [path.name for path in (tmp_path / ".bwcolor").iterdir()] == ["ledger.sqlite"], "no logs are left over"


def test_a_record_without_a_time_gets_the_present(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.write(replace(record(tmp_path), at=0.0))
        found = ledger.find(tmp_path / "a.jpg")
    assert found is not None
    assert abs(found.at - time.time()) < 60


# Kills. SQLite's own part of it is left to SQLite; ours is what an intent means.


def not_there(path: Path) -> None:
    """Killed before the output got its name."""


def named(path: Path) -> None:
    """Killed after."""
    path.write_bytes(b"colour")


def named_and_edited(path: Path) -> None:
    path.write_bytes(b"colours")


def somebody_elses_folder(path: Path) -> None:
    path.mkdir()


def a_link_to_the_same_bytes(path: Path) -> None:
    path.with_name("elsewhere").write_bytes(b"colour")
    path.symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("happened", "done"),
    [(not_there, False), (named, True), (named_and_edited, False), (somebody_elses_folder, False),
     (a_link_to_the_same_bytes, False)],
)  # fmt: skip
def test_after_a_kill_an_output_is_ours_if_it_has_the_bytes_that_were_meant(
    happened: Callable[[Path], None], done: bool, tmp_path: Path
) -> None:
    known = record(tmp_path)
    ledger = Ledger.open(tmp_path)
    ledger.intend(known)
    assert ledger.find(known.target) is None, "an intent is no end"
    happened(known.target)
    ledger.close()  # without a word of the output's end
    with Ledger.open(tmp_path) as ledger:
        assert ledger.find(known.target) == (below(known, tmp_path) if done else None)
    (tmp_path / "a.jpg").unlink() if happened is named else None
    with Ledger.open(tmp_path) as ledger:
        intents = ledger._database.execute("SELECT count(*) FROM intents").fetchone()[0]
    assert intents == 0, "an intent is settled once"


def test_an_intent_without_a_hash_is_never_fulfilled(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.intend(replace(record(tmp_path), output=NO_FILE))
    with Ledger.open(tmp_path) as ledger:
        assert ledger.find(Path("a.jpg")) is None, "no file and no hash are not the same bytes"


def test_an_intent_leaves_what_was_known_before(tmp_path: Path) -> None:
    old = record(tmp_path, content=b"old")
    (tmp_path / "a.jpg").write_bytes(b"old")
    with Ledger.open(tmp_path) as ledger:
        ledger.write(old)
        ledger.intend(record(tmp_path, content=b"new"))
    with Ledger.open(tmp_path) as ledger:
        assert ledger.find(old.target) == below(old, tmp_path), "killed before the new one took the name"
        ledger.intend(record(tmp_path, content=b"new"))
    (tmp_path / "a.jpg").write_bytes(b"new")
    with Ledger.open(tmp_path) as ledger:
        assert ledger.find(old.target) == below(record(tmp_path, content=b"new"), tmp_path)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = {path!r}
from batch.test_ledger import record
from bwcolor.batch.ledger import Ledger
out = Path(sys.argv[1])
ledger = Ledger.open(out)
for number in range(50):
    ledger.intend(record(out, f"{{number}}.jpg"))
    ledger.write(record(out, f"{{number}}.jpg"))
ledger.intend(record(out, "last.jpg"))
(out / "last.jpg").write_bytes(b"colour")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_sigkill_costs_no_record(tmp_path: Path) -> None:
    script = KILLED.format(path=[str(Path(__file__).parents[1])])
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == -9
    beside = files(tmp_path)
    peeked = Ledger.peek(tmp_path)
    assert peeked is not None
    with peeked:
        assert len(list(peeked.records())) == 50, "what the log holds counts for --dry-run too"
    assert files(tmp_path) == beside, "and nothing is written for that"
    with Ledger.open(tmp_path) as ledger:
        assert len(list(ledger.records())) == 51
        assert ledger.damaged is None


# Disks.


def journal(path: Path) -> str:
    with closing(sqlite3.connect(path)) as database:
        return str(database.execute("PRAGMA journal_mode").fetchone()[0])


def mounts(tmp_path: Path, kind: str) -> Path:
    """A list of mounts as Linux gives it, in which a folder with a blank in its name is one of them."""
    table = tmp_path / "mountinfo"
    point = str(tmp_path / "my disk").replace("\\", "\\134").replace(" ", "\\040")
    table.write_text(
        "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
        "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
        f"99 27 0:50 / {point} rw,relatime shared:2 master:3 - {kind} host:/share rw\n",
        encoding="utf-8",
    )
    return table


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("ext4", "wal"), ("btrfs", "wal"), ("nfs4", "delete"), ("cifs", "delete"), ("fuse.sshfs", "delete")],
)
def test_a_log_on_local_disks_and_a_journal_on_network_disks(
    kind: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = mounts(tmp_path, kind)
    monkeypatch.setattr("bwcolor.system.filesystem.kind_of_disk", lambda folder: kind_of_disk(folder, table))
    out = tmp_path / "my disk" / "out"
    with Ledger.open(out) as ledger:
        ledger.write(record(out))
        assert journal(ledger.path) == mode
        names = {path.name for path in ledger.path.parent.iterdir()}
        assert ("ledger.sqlite-shm" in names) == (mode == "wal"), "memory that processes share"
    monkeypatch.setattr("bwcolor.system.filesystem.kind_of_disk", lambda folder: "nfs")
    with Ledger.open(out) as ledger:
        assert journal(ledger.path) == "delete", "a folder that moved to a network disk"
        assert ledger.find(Path("a.jpg"))


def test_a_full_disk_is_a_sentence_and_costs_no_record(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.write(record(tmp_path))
        ledger._database.execute("PRAGMA max_page_count = 10")
        with pytest.raises(
            FolderError, match=r"ledger\.sqlite: the ledger can't be written \(.*full\)\. Free some space"
        ):
            fill(ledger, 1000)
        known = len(list(ledger.records()))
        assert 1 < known < 1000
        ledger._database.execute("PRAGMA max_page_count = 100000")
        ledger.write(record(tmp_path, "again.jpg"))  # no transaction was left open
        assert len(list(ledger.records())) == known + 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_a_disk_that_is_full_from_the_beginning(tmp_path: Path) -> None:
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # as a disk with room for 100 bytes a file
    try:
        with pytest.raises(FolderError, match=r"the ledger can't be written .* --ledger FILE"):
            Ledger.open(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    with Ledger.open(tmp_path) as ledger:
        ledger.write(record(tmp_path))
        assert ledger.damaged is None


# Other files under its name.


@pytest.mark.parametrize("damage", [lambda content: b"no database", lambda content: b"x" * 5000 + content[5000:],
                                    lambda content: content[:4096] + os.urandom(len(content) - 4096),
                                    lambda content: content[: len(content) // 2]])  # fmt: skip
def test_a_damaged_ledger_is_put_aside_and_begun_anew(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        fill(ledger, 200)
    content = damage(ledger.path.read_bytes())
    ledger.path.write_bytes(content)
    peeked = Ledger.peek(tmp_path)
    assert peeked is None
    aside = []
    for _ in range(2):  # within one second, too
        with Ledger.open(tmp_path) as ledger:
            assert list(ledger.records()) == []
            ledger.write(record(tmp_path))
            assert ledger.damaged is not None
            aside.append(ledger.damaged)
        ledger.path.write_bytes(content)
    assert len(set(aside)) == 2
    assert [path.read_bytes() for path in aside] == [content, content], "nothing is thrown away"


def cell(name: str, value: str) -> list[str]:
    """Puts a value into a column of both tables, as SQL has it."""
    return [f"UPDATE {table} SET {name} = {value}" for table in ("photos", "intents")]


@pytest.mark.parametrize(
    "statements",
    [
        *(cell(name, "CAST(x'ff' AS TEXT)") for name in ("reason", "label", "state", "input_sha256", "notes")),
        *(cell(name, "NULL") for name in ("path", "root", "output_size", "state", "settings", "at", "lasting")),
        *(cell(name, "'text'") for name in ("path", "input_mtime_ns", "seconds", "pixels", "doubt", "notes")),
        cell("path", "x''"), cell("path", "x'610062'"), cell("state", "'dont'"), cell("lasting", "7"),
        cell("notes", "'[1]'"), cell("notes", "'{}'"), cell("notes", "'[\"a'"), cell("at", "-1"), cell("at", "1e300"),
        cell("seconds", "9e999"), cell("output_mtime_ns", "x'2d'"), cell("input_sha256", "'xyz'"),
        ["DROP TABLE intents"], ["ALTER TABLE photos DROP COLUMN settings"], ["ALTER TABLE photos ADD COLUMN more"],
        ["ALTER TABLE intents RENAME COLUMN label TO labe1"], ["ALTER TABLE photos RENAME TO photns"],
        ["PRAGMA application_id = 7"], ["PRAGMA user_version = 0"], ["PRAGMA user_version = -3"],
        ["DROP TABLE photos", "CREATE VIEW photos AS SELECT * FROM intents"],
    ],
    ids=lambda statements: statements[-1],
)  # fmt: skip
def test_a_ledger_with_a_bad_cell_or_table_is_put_aside(statements: list[str], tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.write(record(tmp_path))
        ledger.intend(record(tmp_path, "b.jpg"))
        for statement in statements:
            ledger._database.execute(statement)
    assert Ledger.peek(tmp_path) is None
    with Ledger.open(tmp_path) as ledger:
        assert ledger.damaged is not None
        assert list(ledger.records()) == []
        ledger.write(record(tmp_path))


def test_no_flipped_bit_keeps_a_ledger_from_being_opened(tmp_path: Path) -> None:
    """Whichever it is: the ledger is read, or put aside. A newer version's number is no damage that could be told."""
    with Ledger.open(tmp_path) as ledger:
        for number in range(6):
            ledger.write(replace(record(tmp_path, f"{number}.jpg"), reason="a reason", notes=("a note",)))
        ledger.intend(record(tmp_path, "7.jpg"))
    content, chance = ledger.path.read_bytes(), random.Random(7)
    header = [bit for bit in range(8 * 100) if bit // 8 not in range(60, 64)]  # user_version
    aside = 0
    for bit in (*chance.sample(header, 100), *chance.sample(range(8 * 100, 8 * len(content)), 100)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        ledger.path.write_bytes(flipped)
        peeked = Ledger.peek(tmp_path)
        if peeked is not None:
            with peeked:
                list(peeked.records())
        with Ledger.open(tmp_path) as opened:
            list(opened.records())
            opened.write(record(tmp_path))
            if opened.damaged is not None:
                aside += 1
                opened.damaged.unlink()
    assert aside > 20


def test_damage_that_comes_during_a_run_is_called_so(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.write(record(tmp_path))
        for statement in cell("reason", "CAST(x'ff' AS TEXT)"):
            ledger._database.execute(statement)
        with pytest.raises(FolderError, match=r"ledger was damaged during the run\. Run the same command again"):
            ledger.find(Path("a.jpg"))
        with pytest.raises(FolderError, match="damaged"):
            list(ledger.records())
        ledger._database.execute("DROP TABLE photos")
        with pytest.raises(FolderError, match="damaged"):
            ledger.write(record(tmp_path))


def test_an_empty_file_becomes_a_ledger(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with Ledger.open(tmp_path, tmp_path / "mine") as ledger:
        ledger.write(record(tmp_path))
        assert ledger.damaged is None


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_another_programs_database_is_refused_and_left_as_it_is(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "photos.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA journal_mode = {mode}")
        database.execute("CREATE TABLE albums (name TEXT)")
        database.commit()
    content = path.read_bytes()
    with pytest.raises(FolderError, match=r"photos\.db: is not a ledger of bwcolor\. Move it away, or choose another"):
        Ledger.open(tmp_path, path)
    assert Ledger.peek(tmp_path, path) is None
    assert path.read_bytes() == content, "not even its journal's kind"
    assert [one.name for one in tmp_path.iterdir()] == ["photos.db"]


def test_a_file_that_the_user_named_by_mistake_is_not_put_aside(tmp_path: Path) -> None:
    photo = tmp_path / "oma.jpg"
    photo.write_bytes(b"\xff\xd8 a photo" * 100)
    with pytest.raises(FolderError, match=r"oma\.jpg: is not a ledger of bwcolor"):
        Ledger.open(tmp_path, photo)
    assert photo.read_bytes() == b"\xff\xd8 a photo" * 100


def test_a_damaged_ledger_that_the_user_named_is_put_aside_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "mine.sqlite"
    with Ledger.open(tmp_path, path) as ledger:
        ledger.write(record(tmp_path))
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 9000)
    with Ledger.open(tmp_path, path) as ledger:
        assert ledger.damaged is not None


@pytest.mark.parametrize(("version", "lacks"), [(1, ("doubt", "notes", "pixels")), (2, ("notes", "pixels"))])
def test_a_ledger_of_an_earlier_version_gets_the_columns_that_it_lacks(
    version: int, lacks: tuple[str, ...], tmp_path: Path
) -> None:
    story = replace(record(tmp_path), doubt=7.5, notes=("a", "b"), pixels=12)
    with Ledger.open(tmp_path) as ledger:
        ledger.write(story)
        for table in ("photos", "intents"):
            for name in lacks:
                ledger._database.execute(f"ALTER TABLE {table} DROP COLUMN {name}")
        ledger._database.execute(f"PRAGMA user_version = {version}")
    old = below(replace(record(tmp_path), doubt=None if "doubt" in lacks else 7.5), tmp_path)
    with Ledger.peek(tmp_path) or pytest.fail("none is there") as ledger:
        assert ledger.find(tmp_path / "a.jpg") == old
    new = below(replace(story, target=tmp_path / "b.jpg"), tmp_path)
    with Ledger.open(tmp_path) as ledger:
        assert ledger.damaged is None
        assert list(ledger.records()) == [old]
        ledger.write(new)
    with Ledger.open(tmp_path) as ledger:
        assert list(ledger.records()) == [old, new]


@pytest.mark.parametrize("version", [4, 99])
def test_a_newer_ledger_is_refused(version: int, tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.write(record(tmp_path))
        ledger._database.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(FolderError, match=r"was written by a newer version of bwcolor\. Update bwcolor"):
        Ledger.open(tmp_path)
    assert Ledger.peek(tmp_path) is None


def test_nothing_is_written_through_links(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"")
    for out, link in ((tmp_path / "a", "ledger.sqlite"), (tmp_path / "b", "")):
        (out / ".bwcolor").mkdir(parents=True)
        if link:
            (out / ".bwcolor" / link).symlink_to(precious)
        else:
            (out / ".bwcolor").rmdir()
            (tmp_path / "folder").mkdir()
            (out / ".bwcolor").symlink_to(tmp_path / "folder")
        with pytest.raises(FolderError, match="is reached through a link"):
            Ledger.open(out)
    assert precious.read_bytes() == b""
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    for name in ("folder", "pipe"):
        with pytest.raises(FolderError, match=f"{name}: is no file"):
            Ledger.open(tmp_path, tmp_path / name)
        assert Ledger.peek(tmp_path, tmp_path / name) is None


def test_a_file_where_its_folder_must_be(tmp_path: Path) -> None:
    (tmp_path / ".bwcolor").touch()
    with pytest.raises(FolderError, match=r"can't be written \(File exists\)"):
        Ledger.open(tmp_path)


# Reading alone, moving, two at once.


def test_peeking_writes_nothing(tmp_path: Path) -> None:
    assert Ledger.peek(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    out = tmp_path / "50 % #?\udcff"
    with Ledger.open(out) as ledger:
        ledger.write(record(out))
    before = files(tmp_path)
    for folder in (out, out / ".bwcolor"):
        folder.chmod(0o555)
    try:
        peeked = Ledger.peek(out)
        assert peeked is not None
        with peeked:
            assert peeked.find(out / "a.jpg") == below(record(out), out)
            peeked.write(replace(record(out), reason="only in memory"))
        assert files(tmp_path) == before
    finally:
        for folder in (out, out / ".bwcolor"):
            folder.chmod(0o755)
    with Ledger.open(out) as ledger:
        assert ledger.find(out / "a.jpg") == below(record(out), out)


def test_peeking_beside_a_run(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.write(record(tmp_path))
        peeked = Ledger.peek(tmp_path)
        assert peeked is not None
        with peeked:
            assert peeked.find(Path("a.jpg"))
        ledger.write(record(tmp_path, "b.jpg"))


def test_a_copied_folder_is_still_known(tmp_path: Path) -> None:
    out, copy = tmp_path / "out", tmp_path / "copy"
    with Ledger.open(out) as ledger:
        (out / "a.jpg").write_bytes(b"colour")
        ledger.write(record(out))
        ledger.intend(record(out, "b.jpg"))
        (out / "b.jpg").write_bytes(b"colour")
    shutil.copytree(out, copy, copy_function=shutil.copyfile)  # which gives new times
    shutil.rmtree(out)
    with Ledger.open(copy) as ledger:
        known = ledger.find(copy / "a.jpg")
        assert known == below(record(copy), copy)
        assert fingerprint(copy / known.path, read=True).sha256 == known.output.sha256
        assert ledger.find(copy / "b.jpg"), "and what was about to get its name"


def test_kept_elsewhere_it_is_in_no_output_folder(tmp_path: Path) -> None:
    out, path = tmp_path / "out", tmp_path / "deep" / "er" / "mine.db"
    with Ledger.open(out, path) as ledger:
        ledger.write(record(out))
    assert not out.exists()
    assert Ledger.peek(out) is None
    peeked = Ledger.peek(out, path)
    assert peeked is not None
    with peeked:
        assert peeked.find(out / "a.jpg")


def test_two_connections_see_each_others_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT", 0.05)
    with Ledger.open(tmp_path) as one, Ledger.open(tmp_path) as other:
        one.write(record(tmp_path))
        assert other.find(Path("a.jpg")) is not None
        other.write(record(tmp_path, "b.jpg"))
        assert [known.path.name for known in one.records()] == ["a.jpg", "b.jpg"]
        one._database.execute("BEGIN IMMEDIATE")  # the other one is in the middle of something, for ever
        with pytest.raises(BusyError, match="another process holds the ledger"):
            other.write(record(tmp_path, "c.jpg"))
        one._database.execute("ROLLBACK")
        other.write(record(tmp_path, "c.jpg"))


def test_cost_of_a_photo(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    spent = []
    with Ledger.open(tmp_path) as ledger:
        for number in range(500):
            known = record(tmp_path, f"folder/{number:06}.jpg")
            started = time.perf_counter()
            ledger.find(known.target)
            ledger.intend(known)
            ledger.write(known)
            spent.append(time.perf_counter() - started)
    record_property("milliseconds", 1000 * statistics.median(spent))
    assert statistics.median(spent) < COST
