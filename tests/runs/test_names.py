"""What outputs are called: one name each, for any set of photos."""

import hashlib
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from runtime.pictures import gray, saved, scene

from bwcolor.errors import UsageError
from bwcolor.names import LONGEST, Naming, Wanted, folding, told_apart
from bwcolor.options import ColorizeOptions
from bwcolor.plan import Plan, find_jobs, settle

Fold = Callable[[str], str]
OUT = Path("/out")
KINDS = {".gif": "GIF", ".png": "PNG", ".jpg": "JPEG", ".JPG": "JPEG", ".bmp": "BMP"}


def keeps_case(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def ignores_case(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def mark_of(source: str, digits: int) -> str:
    return hashlib.sha256(os.fsencode(source)).hexdigest()[:digits]


def like_marks(source: str) -> list[str]:
    """The names that a photo without a folder would get in place of its own."""
    path = Path(source)
    return [f"{path.stem}~{mark_of(source, digits)}{path.suffix}" for digits in (8, 16, 64)]


# Few parts, so that clashes are common: cases, composed and decomposed letters, names of other names' folders, bytes
# that are no UTF-8, and names of 255 bytes.
STEMS = st.sampled_from([
    "a", "A", "\u00e9", "e\u0301", "E\u0301", "a.gif", "a.png", "a.JPG", "a_a", "ß", "SS", "\udce4", "x" * 251,
    "X" * 251, "ü" * 125, "u\u0308" * 83, "\udcff" * 251, "=1", "-", "~", "a~" + mark_of("a.jpg", 8),
    "a~" + mark_of("a.JPG", 8), "a~" + mark_of("a.jpg", 16), "a~" + mark_of("a.jpg", 64),
])  # fmt: skip
ENDINGS = st.sampled_from([".jpg", ".JPG", ".gif", ".png"])
FOLDERS = st.sampled_from(
    ["a", "A", "a.jpg", "a.gif.png", "\u00e9", "e\u0301", "a_a", "a~" + mark_of("a.jpg", 8) + ".jpg"]
)
PHOTOS = st.builds(
    lambda folders, stem, ending: Path(*folders, stem + ending), st.lists(FOLDERS, max_size=2), STEMS, ENDINGS
)
SETS = st.lists(PHOTOS, max_size=12, unique=True).map(
    lambda photos: [photo for photo in photos if not any(photo in other.parents for other in photos)]
)
NAMINGS = st.builds(Naming, st.booleans(), st.sampled_from(["", "_colored", "~", ".png", "ü" * 100]))


def wants(photos: list[Path], naming: Naming, copies: bool) -> list[Wanted]:
    """As plan.py asks for them once formats are known: GIFs become PNGs with a second ending."""
    wanted = []
    for photo in photos:
        target = naming.target(OUT, photo).relative_to(OUT)
        made = target.with_name(target.name + ".png") if photo.suffix == ".gif" else target
        wanted.append(Wanted((made, target) if copies else (made,), photo))
    return wanted


@settings(deadline=None)
@given(SETS, NAMINGS, st.booleans(), st.sampled_from([keeps_case, ignores_case]), st.randoms(use_true_random=False))
@example([Path(name) for name in ("a.jpg", "A.jpg", *like_marks("a.jpg"), *like_marks("A.jpg"))],
         Naming(), False, ignores_case, Random(0))  # fmt: skip
def test_any_set_of_photos_gets_a_name_each(
    photos: list[Path], naming: Naming, copies: bool, fold: Fold, random: Random
) -> None:
    wanted = wants(photos, naming, copies)
    told = told_apart(wanted, naming.flat, fold)
    owners: dict[str, int] = {}
    for number, names in enumerate(told):
        assert len(names) == len(wanted[number].names)
        for name in names:
            assert len(os.fsencode(name.name)) <= LONGEST
            assert name.suffix == wanted[number].names[names.index(name)].suffix, "the ending says the format"
            assert name.parent == (Path() if naming.flat else photos[number].parent), "the tree is mirrored"
            assert owners.setdefault(fold(name.as_posix()), number) == number, "two photos share an output"
    folders = {fold(folder.as_posix()) for names in told for name in names for folder in name.parents}
    assert not folders & set(owners), "an output has the name of a folder"

    folded = [{fold(name.as_posix()) for name in one.names} for one in wanted]
    for number, names in enumerate(told):
        alone = not any(folded[number] & other for place, other in enumerate(folded) if place != number)
        fits = all(len(os.fsencode(name.name)) <= LONGEST for name in wanted[number].names)
        if alone and fits and not folded[number] & folders:
            assert names == wanted[number].names, "a name that nobody else wants stays"

    shuffled = list(zip(wanted, told, strict=True))
    random.shuffle(shuffled)
    assert told_apart([one for one, _ in shuffled], naming.flat, fold) == [names for _, names in shuffled]


def test_whoever_gives_names_like_all_marks_changes_nothing() -> None:
    """Of two photos that clash, one's marked names are all taken by files that are really called so."""
    impostors = like_marks("a.jpg")
    photos = [Path(name) for name in ("a.jpg", "A.jpg", *impostors)]
    told = [names[0].name for names in told_apart(wants(photos, Naming(), False), False, ignores_case)]
    assert told[2:] == impostors
    assert told[1] == like_marks("A.jpg")[0]
    assert told[0].startswith("a~")
    assert len(set(told)) == len(told)


def test_a_name_of_255_bytes_gets_its_mark_by_being_cut() -> None:
    photo = Path("ü" * 125 + "x.jpg")
    (names,) = told_apart([Wanted((photo.with_name(photo.name + ".png"),), photo)], False, keeps_case)
    assert names[0].name.startswith("üüü")
    assert 253 <= len(os.fsencode(names[0].name)) <= 255
    assert names[0].name.endswith(f"~{mark_of(str(photo), 8)}.png")


def test_flat_names_tell_their_folders_only_where_they_must() -> None:
    photos = [
        Path(name) for name in ("roll1/01.jpg", "roll2/01.jpg", "roll2/02.jpg", "01.jpg", "a/b/c.jpg", "a_b/c.jpg")
    ]
    told = [names[0].name for names in told_apart(wants(photos, Naming(True), False), True, keeps_case)]
    assert told == [
        "roll1_01.jpg", "roll2_01.jpg", "02.jpg", "01.jpg", f"c~{mark_of('a/b/c.jpg', 8)}.jpg",
        f"c~{mark_of('a_b/c.jpg', 8)}.jpg",
    ]  # fmt: skip


def test_photos_of_the_same_path_are_told_apart_too() -> None:
    """Two folders that are called the same, given together."""
    photo = Path("photos/1.jpg")
    told = told_apart([Wanted((photo,), photo)] * 3, False, keeps_case)
    assert len({names[0] for names in told}) == 3


@pytest.mark.parametrize("suffix", ["a/b", "/", "..\\x", "a\0"])
def test_a_suffix_is_a_part_of_a_name(suffix: str) -> None:
    with pytest.raises(UsageError, match="without slashes"):
        Naming(suffix=suffix)


# What really lies on a disk: as below, and read by plan.py.


def photo_bytes(ending: str) -> bytes:
    return saved(gray(scene(8, 12)), KINDS[ending])


REAL = {ending: photo_bytes(ending) for ending in KINDS}


def planned(photos: Path, out: Path, naming: Naming, **settings: object) -> Plan:
    return settle(find_jobs(photos, out, naming=naming), ColorizeOptions(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("fold", [keeps_case, ignores_case])
@pytest.mark.parametrize("naming", [Naming(), Naming(True), Naming(suffix="_c"), Naming(True, "é" * 120)])
@pytest.mark.parametrize("color_input", ["skip", "copy"])
def test_names_of_a_real_tree_are_one_to_one(
    fold: Fold, naming: Naming, color_input: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bwcolor.plan.folding", lambda out: fold)
    root = tmp_path / "photos"
    names = [
        "a.gif", "A.gif", "a.gif.png", "a.png", "a.jpg", "a.JPG", "a.bmp", "b.gif", "b.gif.png/a.jpg", "b/a.gif",
        "b_a.gif", "\u00e9.jpg", "e\u0301.jpg", "x" * 251 + ".gif", "X" * 251 + ".gif", os.fsdecode(b"\xe4.jpg"),
        *like_marks("a.gif"), "alone.jpg",
    ]  # fmt: skip
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(REAL[path.suffix])
    out = tmp_path / "out"
    plan = planned(root, out, naming, color_input=color_input)
    assert len(plan.jobs) == len(names)
    assert plan.left_out == []
    owners: dict[str, Path] = {}
    for job in plan.jobs:
        for target in {job.target, job.copy} if color_input == "copy" else {job.target}:
            assert owners.setdefault(fold(str(target)), job.source) == job.source
            assert len(os.fsencode(target.name)) <= LONGEST
    assert not {fold(str(folder)) for job in plan.jobs for folder in job.target.parents} & set(owners)
    (alone,) = [job for job in plan.jobs if job.source.name == "alone.jpg"]
    if naming.suffix != "é" * 120:
        assert alone.target == naming.target(out, Path("alone.jpg"))


def test_a_disk_that_is_told_to_ignore_case_by_what_lies_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1").mkdir()
    fold = folding(tmp_path / "1" / "new")
    assert fold("A") != fold("a"), "this disk keeps them apart; the name of its folder tells nothing"
    assert fold("e\u0301") == fold("\u00e9"), "a copy on a Mac's disk would not"
    monkeypatch.setattr("bwcolor.names.kind_of_disk", lambda folder: "exfat")
    fold = folding(tmp_path / "1" / "new")
    assert fold("A") == fold("a"), "nothing lies there: the kind of disk tells"
    (tmp_path / "1" / "b").touch()
    fold = folding(tmp_path / "1" / "new")
    assert fold("A") != fold("a"), "a file there tells better"


def test_the_root_of_a_disk_has_no_name_of_its_own() -> None:
    folding(Path("/no such folder/out"))  # once: ValueError
    folding(Path("/"))
