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
from photo.pictures import gray, saved, scene

from bwcolor.batch.naming import Naming, Wanted, marks_in_words, told_apart
from bwcolor.batch.plan import Plan, find_jobs, settle
from bwcolor.errors import UsageError
from bwcolor.options import ColorizeOptions
from bwcolor.system.disk import LONGEST, Disk, Rules

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
    told = told_apart(wanted, Rules(fold))
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
    assert told_apart([one for one, _ in shuffled], Rules(fold)) == [names for _, names in shuffled]


def test_whoever_gives_names_like_all_marks_changes_nothing() -> None:
    """Of two photos that clash, one's marked names are all taken by files that are really called so."""
    impostors = like_marks("a.jpg")
    photos = [Path(name) for name in ("a.jpg", "A.jpg", *impostors)]
    told = [names[0].name for names in told_apart(wants(photos, Naming(), False), Rules(ignores_case))]
    assert told[2:] == impostors
    assert told[1] == like_marks("A.jpg")[0]
    assert told[0].startswith("a~")
    assert len(set(told)) == len(told)


def test_a_name_of_255_bytes_gets_its_mark_by_being_cut() -> None:
    photo = Path("ü" * 125 + "x.jpg")
    (names,) = told_apart([Wanted((photo.with_name(photo.name + ".png"),), photo)], Rules(keeps_case))
    assert names[0].name.startswith("üüü")
    assert 253 <= len(os.fsencode(names[0].name)) <= 255
    assert names[0].name.endswith(f"~{mark_of(str(photo), 8)}.png")


def test_flat_names_have_their_folders_in_front_all_of_them() -> None:
    photos = [
        Path(name)
        for name in ("01.jpg", "roll1/01.jpg", "roll1/02.jpg", "roll2/02.jpg", "a/b/c.jpg", "a_b/c.jpg", "a/d.jpg")
    ]
    told = [names[0].name for names in told_apart(wants(photos, Naming(True), False), Rules(keeps_case))]
    assert told == [
        "01.jpg", "roll1_01.jpg", "roll1_02.jpg", "roll2_02.jpg", f"a_b_c~{mark_of('a/b/c.jpg', 8)}.jpg",
        f"a_b_c~{mark_of('a_b/c.jpg', 8)}.jpg", "a_d.jpg",
    ]  # fmt: skip


def test_flat_names_sort_as_the_tree_does_and_stay_when_photos_come() -> None:
    photos = [Path(folder, f"{number:06}.webp") for folder in ("box", "folder") for number in range(0, 30, 3)]
    told = [names[0].name for names in told_apart(wants(photos, Naming(True), False), Rules(keeps_case))]
    assert told == sorted(told)
    more = [*photos, Path("box2/000003.webp"), Path("000003.webp")]
    assert [names[0].name for names in told_apart(wants(more, Naming(True), False), Rules(keeps_case))][:20] == told


REFUSED = frozenset("?:*\t\udce4")


def tidy(name: str) -> str:
    """What a disk makes of names that takes none of REFUSED and no points at the end."""
    name = "".join("_" if char in REFUSED else char for char in name)
    return f"{name[:-1]}_" if name.endswith(".") else name


def test_what_a_disk_refuses_gets_a_name_of_its_own() -> None:
    photos = [Path(name) for name in ("a?.jpg", "a*.jpg", "a_.jpg", "\udce4.jpg", "\u00e4.jpg", "x: y/b.jpg",
                                      "x* y/b.jpg", "x_ y/b.jpg", "end./c.jpg", "end./d?.jpg")]  # fmt: skip
    told = [names[0] for names in told_apart(wants(photos, Naming(), False), Rules(keeps_case, tidy))]
    end = f"end_~{mark_of('end.', 8)}"
    assert told == [
        Path(name)
        for name in (
            f"a_~{mark_of('a?.jpg', 8)}.jpg", f"a_~{mark_of('a*.jpg', 8)}.jpg", "a_.jpg",
            f"_~{mark_of(chr(0xDCE4) + '.jpg', 8)}.jpg", "\u00e4.jpg", f"x_ y~{mark_of('x: y', 8)}/b.jpg",
            f"x_ y~{mark_of('x* y', 8)}/b.jpg", "x_ y/b.jpg", f"{end}/c.jpg",
            f"{end}/d_~{mark_of('end./d?.jpg', 8)}.jpg",
        )
    ]  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.text("ab?:*.\t\udce4 /", min_size=1, max_size=6).map(lambda name: Path(f"{name}.jpg")), unique=True))
def test_any_names_on_a_disk_that_refuses_many(photos: list[Path]) -> None:
    photos = [photo for photo in photos if not photo.is_absolute() and ".." not in photo.parts]
    photos = [photo for photo in photos if not any(photo in other.parents for other in photos)]
    told = told_apart(wants(photos, Naming(), False), Rules(keeps_case, tidy, 20))
    assert len({names[0] for names in told}) == len(photos)
    for names in told:
        assert all(tidy(part) == part and len(os.fsencode(part)) <= 20 for part in names[0].parts)


def test_the_sentence_counts_right() -> None:
    assert marks_in_words(1).startswith("1 output has a mark in its name (")
    assert marks_in_words(3).startswith("3 outputs have a mark in their names (")


def test_photos_of_the_same_path_are_told_apart_too() -> None:
    """Two folders that are called the same, given together."""
    photo = Path("photos/1.jpg")
    told = told_apart([Wanted((photo,), photo)] * 3, Rules(keeps_case))
    assert len({names[0] for names in told}) == 3


@pytest.mark.parametrize("suffix", ["a/b", "/", "..\\x", "a\0"])
def test_a_suffix_is_a_part_of_a_name(suffix: str) -> None:
    with pytest.raises(UsageError, match="without slashes"):
        Naming(suffix=suffix)


# What really lies on a disk: as below, and read by plan.py.


def photo_bytes(ending: str) -> bytes:
    return saved(gray(scene(8, 12)), KINDS[ending])


REAL = {ending: photo_bytes(ending) for ending in KINDS}


def planned(photos: Path, out: Path, naming: Naming, disk_of: Callable[[Path], Disk], **settings: object) -> Plan:
    plan = find_jobs(photos, out, naming=naming, disk_of=disk_of)
    return settle(plan, ColorizeOptions(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("fold", [keeps_case, ignores_case])
@pytest.mark.parametrize("naming", [Naming(), Naming(True), Naming(suffix="_c"), Naming(True, "é" * 120)])
@pytest.mark.parametrize("color_input", ["skip", "copy"])
def test_names_of_a_real_tree_are_one_to_one(fold: Fold, naming: Naming, color_input: str, tmp_path: Path) -> None:
    def disk_of(out: Path) -> Disk:
        disk = Disk(out)
        disk.ignores_case = fold is ignores_case
        return disk

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
    plan = planned(root, out, naming, disk_of, color_input=color_input)
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
