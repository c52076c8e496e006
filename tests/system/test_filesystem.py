"""What kind of disk a folder lies on, and locks that two runs can't both have."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bwcolor.errors import BusyError, FolderError
from bwcolor.system import filesystem
from bwcolor.system.filesystem import held, kind_of_disk, on_network

NBSP = "\u00a0"
MOUNTINFO = (
    r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
30 27 0:50 / /mnt/nas rw,relatime shared:2 master:3 - nfs4 nas:/photos rw,vers=4.2
31 27 0:51 / /mnt/my\040old\011disk\134n rw - cifs //nas/x rw
32 30 8:1 / /mnt/nas/local rw - xfs /dev/sdb1 rw
33 27 8:2 / /mnt/a\040-\040b rw - exfat /dev/sdc1 rw
34 27 8:3 / /mnt/non"""
    + NBSP
    + r"""breaking rw - vfat /dev/sdd1 rw
35 27 0:52 / /mnt/fuse rw - fuse.sshfs host:/ rw
36 27 8:4 / /mnt/twice rw - ext4 /dev/sde1 rw
37 27 8:5 / /mnt/twice rw - btrfs /dev/sdf1 rw
38 27 8:6 / /mnt/with\012newline rw - f2fs /dev/sdg1 rw
39 27 8:7 / /mnt/"""
    + "\udcff"
    + r""" rw - jfs /dev/sdh1 rw

a line that is none - of them
40 27 8:8 / /mnt/no_end rw
"""
)


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_bytes(MOUNTINFO.encode("utf-8", "surrogateescape"))
    return path


@pytest.mark.skipif(os.name == "nt", reason="paths of Linux")
@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me/photos", "ext4"),
        ("/", "ext4"),
        ("/proc/1", "proc"),
        ("/mnt/nas", "nfs4"),
        ("/mnt/nas/a/b/not there", "nfs4"),
        ("/mnt/nasty", "ext4"),
        ("/mnt/nas/local/x", "xfs"),
        ("/mnt/my old\tdisk\\n/x", "cifs"),
        ("/mnt/a - b/x", "exfat"),
        (f"/mnt/non{NBSP}breaking/x", "vfat"),
        ("/mnt/fuse/x", "fuse.sshfs"),
        ("/mnt/twice/x", "btrfs"),
        ("/mnt/with\nnewline/x", "f2fs"),
        ("/mnt/\udcff/x", "jfs"),
        ("/mnt/no_end/x", "ext4"),
        ("/home/../mnt/nas/local/..", "nfs4"),
    ],
)
def test_kind_of_disk(folder: str, kind: str, mounts: Path) -> None:
    assert kind_of_disk(Path(folder), mounts) == kind


def test_where_no_system_tells(tmp_path: Path) -> None:
    assert kind_of_disk(tmp_path, tmp_path / "none") == ""
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 4)
    assert kind_of_disk(tmp_path, tmp_path / "binary") == ""


@pytest.mark.skipif(not filesystem.MOUNTS.exists(), reason="Linux only")
def test_this_computers_own_disks() -> None:
    assert kind_of_disk(Path("/proc/self")) == "proc"
    assert not on_network(Path("/proc/self"))


@pytest.mark.skipif(os.name == "nt", reason="told by the path there")
@pytest.mark.parametrize(
    ("kind", "network"),
    [("nfs", True), ("nfs4", True), ("cifs", True), ("smb3", True), ("9p", True), ("virtiofs", True), ("ceph", True),
     ("fuse.sshfs", True), ("fuse.rclone", True), ("fuse.vmhgfs-fuse", True), ("vboxsf", True), ("ext4", False),
     ("overlay", False), ("fuseblk", False), ("tmpfs", False), ("nfsd", False), ("", False), ("xcifs", False)],
)  # fmt: skip
def test_network_disks(kind: str, network: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "kind_of_disk", lambda folder: kind)
    assert on_network(Path("/photos")) is network


# Locks.

HOLDER = """
import sys
from pathlib import Path
from bwcolor.system.filesystem import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_process_holds_it_and_the_other_hears_whose_it_is(tmp_path: Path) -> None:
    lock = tmp_path / "out" / ".bwcolor" / "lock"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        for _ in range(2):
            with pytest.raises(BusyError, match=rf"out: another run of bwcolor .* \(process {other.pid}\)"), held(lock):
                raise AssertionError("two have it")
        other.kill()
    with held(lock):
        assert lock.read_text(encoding="ascii") == str(os.getpid()), "the system freed it; our number is in it"


def test_twice_in_one_process(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with held(lock), pytest.raises(BusyError), held(lock):
        raise AssertionError("two have it")
    with held(lock):
        pass


def test_a_lock_left_over_by_somebody_with_a_longer_number(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_bytes(b"9" * 30)
    with held(lock):
        assert lock.read_bytes() == str(os.getpid()).encode()
        with pytest.raises(BusyError, match=rf"process {os.getpid()}\)"), held(lock):
            raise AssertionError("two have it")


def test_a_lock_without_a_number(tmp_path: Path) -> None:
    """Its process died, or found the disk full, between the lock and the number."""
    lock = tmp_path / "lock"
    with held(lock):
        lock.write_bytes(b"")
        with pytest.raises(BusyError, match=r"process unknown\)"), held(lock):
            raise AssertionError("two have it")


@pytest.mark.skipif(os.name == "nt", reason="links need a permission there")
def test_nothing_is_written_through_links(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"precious")
    (tmp_path / "a" / ".bwcolor").mkdir(parents=True)
    (tmp_path / "a" / ".bwcolor" / "lock").symlink_to(photo)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / ".bwcolor").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    for out in ("a", "b"):
        with pytest.raises(FolderError, match="reached through a link"), held(tmp_path / out / ".bwcolor" / "lock"):
            raise AssertionError("held")
    assert photo.read_bytes() == b"precious"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(FolderError, match=r"can't be written \(.*\)\. Choose another --out"),
        held(tmp_path / "file" / "lock"),
    ):
        raise AssertionError("held")
    with pytest.raises(FolderError, match=r"can't be written \(Is a directory\)"), held(tmp_path / "folder"):
        raise AssertionError("held")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_refused(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(filesystem, "_lock", refuse)
    with pytest.raises(FolderError, match="this disk has no locks"), held(tmp_path / "lock"):
        raise AssertionError("held")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no RLIMIT_FSIZE")
def test_a_full_disk_costs_the_number_alone(tmp_path: Path) -> None:
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with held(tmp_path / "lock"):
            assert (tmp_path / "lock").read_bytes() == b""
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
