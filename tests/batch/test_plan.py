"""Which photos are found, where their outputs go, and what is refused before any work."""

import os
from pathlib import Path
from typing import Any

import pytest
from photo.pictures import gray, png, saved, scene, scene16

from bwcolor.batch.discovery import Choice
from bwcolor.batch.plan import Plan, find_jobs, settle
from bwcolor.errors import FolderError, NoPhotosError, UsageError
from bwcolor.options import ColorizeOptions
from bwcolor.photo.formats.known import EXTENSIONS


def tree(root: Path, *names: str) -> Path:
    """Files with one byte each."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def mirrored(plan: Plan, root: Path, out: Path) -> list[tuple[str, str]]:
    return [(str(job.source.relative_to(root)), str(job.target.relative_to(out))) for job in plan.jobs]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def test_the_tree_is_mirrored_in_the_order_of_the_names(photos: Path, tmp_path: Path) -> None:
    names = [
        "B.JPG",
        "a.jpg",
        "c.txt",
        "1931/Été à la plage.tif",
        "1931/Oma/x.y.webp",
        "1931/a.png",
        "z/no.psd",
        "z/d.bmp",
    ]
    plan = find_jobs(tree(photos, *names), tmp_path / "out")
    expected = ["B.JPG", "a.jpg", "1931/a.png", "1931/Été à la plage.tif", "1931/Oma/x.y.webp", "z/d.bmp"]
    assert mirrored(plan, photos, tmp_path / "out") == [(name, name) for name in expected]
    assert [(left.path.name, left.failed) for left in plan.left_out] == [("no.psd", False)]
    assert plan.out == tmp_path / "out"
    assert not (tmp_path / "out").exists(), "planning writes nothing"


def test_every_known_extension_in_any_case_and_no_other(photos: Path) -> None:
    known = [f"photo{extension}" for extension in sorted(EXTENSIONS)] + ["UP.JPEG", "Mixed.TiF"]
    plan = find_jobs(tree(photos, *known, "a.psd", "b.jpg.txt", "jpg", ".jpg", "c.jxl", "d.jpg~"), None)
    assert sorted(job.source.name for job in plan.jobs) == sorted(known)


def test_the_default_output_folder_lies_beside_the_input(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(photos, "a.jpg")
    expected = photos.with_name("photos_colored")
    assert find_jobs(photos, None).out == expected
    monkeypatch.chdir(photos)
    assert find_jobs(Path(), None).out == expected
    assert find_jobs(Path("../photos/"), None).jobs[0].target == expected / "a.jpg"


def test_out_is_in_refused_however_it_is_written(photos: Path, tmp_path: Path) -> None:
    tree(photos, "a.jpg")
    (tmp_path / "link").symlink_to(photos)
    for out in (photos, tmp_path / "link", photos / ".." / "photos"):
        with pytest.raises(UsageError, match="would replace your originals"):
            find_jobs(photos, out)
    with pytest.raises(UsageError, match="would replace your originals"):
        find_jobs(tmp_path / "link", photos)


def test_an_output_folder_inside_the_input_is_not_walked(photos: Path, tmp_path: Path) -> None:
    tree(photos, "a.jpg", "sub/b.jpg", "sub/out/a.jpg", "sub/out/sub/b.jpg")
    (tmp_path / "link").symlink_to(photos)
    for root, out in ((photos, photos / "sub" / "out"), (tmp_path / "link", photos / "sub" / "out")):
        assert mirrored(find_jobs(root, out), root, out) == [("a.jpg", "a.jpg"), ("sub/b.jpg", "sub/b.jpg")]


def test_an_input_inside_the_output_must_not_replace_itself(tmp_path: Path) -> None:
    """photos/a/a/x.jpg would become photos/a/x.jpg, which is an input too."""
    tree(tmp_path / "photos", "a/x.jpg", "a/a/x.jpg")
    with pytest.raises(UsageError, match=r"a/x\.jpg: this output would replace one of your originals"):
        find_jobs(tmp_path / "photos" / "a", tmp_path / "photos")
    (tmp_path / "photos" / "a" / "a" / "x.jpg").unlink()
    assert len(find_jobs(tmp_path / "photos" / "a", tmp_path / "photos").jobs) == 1


def test_a_link_in_the_output_must_not_lead_back_to_the_photos(photos: Path, tmp_path: Path) -> None:
    tree(photos, "sub/a.jpg")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(photos / "sub")
    with pytest.raises(UsageError, match="would replace one of your originals"):
        find_jobs(photos, tmp_path / "out")


def test_links_are_left_out_and_named(photos: Path, tmp_path: Path) -> None:
    tree(photos, "a.jpg")
    tree(tmp_path / "elsewhere", "b.jpg")
    (photos / "link.jpg").symlink_to(tmp_path / "elsewhere" / "b.jpg")
    (photos / "dangling.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (photos / "folder").symlink_to(tmp_path / "elsewhere")
    (photos / "loop").symlink_to(photos)
    plan = find_jobs(photos, None)
    assert [job.source.name for job in plan.jobs] == ["a.jpg"]
    assert [(left.path.name, "is a link" in left.reason) for left in plan.left_out] == [
        ("dangling.jpg", True),
        ("folder", True),
        ("link.jpg", True),
        ("loop", True),
    ]
    assert not any(left.failed for left in plan.left_out)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_left_out_and_not_opened(photos: Path) -> None:
    tree(photos, "a.jpg")
    os.mkfifo(photos / "pipe.jpg")  # opening it would wait for ever
    plan = find_jobs(photos, None)
    assert [job.source.name for job in plan.jobs] == ["a.jpg"]
    assert [(left.path.name, left.reason) for left in plan.left_out] == [("pipe.jpg", "is not a regular file")]


def test_a_folder_called_like_a_photo_is_walked(photos: Path) -> None:
    plan = find_jobs(tree(photos, "album.jpg/a.png"), None)
    assert [str(job.source.relative_to(photos)) for job in plan.jobs] == ["album.jpg/a.png"]


def test_resource_forks_of_macos_are_no_photos(photos: Path) -> None:
    plan = find_jobs(tree(photos, "a.jpg", "._a.jpg", "sub/._b.png"), None)
    assert [job.source.name for job in plan.jobs] == ["a.jpg"]
    assert (plan.left_out, plan.hidden.count) == ([], 0)


def test_a_folder_that_can_not_be_listed_is_named(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(photos, "a.jpg", "locked/b.jpg")
    listing = os.scandir

    def refuse(folder: Path) -> object:
        if Path(folder).name in ("locked", "photos_locked"):
            raise PermissionError(13, "Permission denied")
        return listing(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    plan = find_jobs(photos, None)
    assert [job.source.name for job in plan.jobs] == ["a.jpg"]
    assert [(left.path, left.reason) for left in plan.left_out] == [
        (photos / "locked", "folder can't be listed (Permission denied)")
    ]
    with pytest.raises(FolderError, match="can't be listed"):
        find_jobs(tree(photos.with_name("photos_locked"), "a.jpg"), None)


def test_nothing_to_do_is_an_error_that_names_the_kinds(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(
        NoPhotosError, match=r"no photos found\. It holds no files\. Kinds that can be read: JPEG, PNG, TIFF"
    ):
        find_jobs(photos, None)
    with pytest.raises(
        NoPhotosError, match=r"no photos found\. 4 other files: 2 \.mp4, 1 without an ending, 1 \.txt\."
    ):
        find_jobs(tree(photos, "notes.txt", "sub/film.mp4", "sub/film2.MP4", "LICENSE"), None)
    with pytest.raises(NoPhotosError, match=r"no photos found\. 1 other file: 1 \.txt\."):
        find_jobs(tree(tmp_path / "one", "a.txt"), None)
    with pytest.raises(NoPhotosError, match=r"notes\.txt is not a picture of a kind that can be read\. Kinds"):
        find_jobs(photos / "notes.txt", None)
    with pytest.raises(FolderError, match="no such file or folder"):
        find_jobs(tmp_path / "nowhere", None)


def test_an_output_that_is_a_file_is_refused(photos: Path) -> None:
    tree(photos, "a.jpg", "notes.txt")
    with pytest.raises(FolderError, match="is a file, not a folder"):
        find_jobs(photos, photos / "notes.txt")


def test_a_single_photo(photos: Path, tmp_path: Path) -> None:
    photo = tree(photos, "Oma 1931.JPG") / "Oma 1931.JPG"
    (tmp_path / "existing").mkdir()
    for out, target in [
        (None, photos / "Oma 1931_colored.JPG"),
        (tmp_path / "existing", tmp_path / "existing" / "Oma 1931.JPG"),
        (tmp_path / "new", tmp_path / "new" / "Oma 1931.JPG"),
        (tmp_path / "new" / "other.jpg", tmp_path / "new" / "other.jpg"),
    ]:
        plan = find_jobs(photo, out)
        assert [(job.source, job.target) for job in plan.jobs] == [(photo, target)]
        assert plan.out == target
    assert not (tmp_path / "new").exists()


def test_a_single_photo_is_never_its_own_output(photos: Path, tmp_path: Path) -> None:
    photo = tree(photos, "a.jpg") / "a.jpg"
    (tmp_path / "link.jpg").symlink_to(photo)
    for out in (photo, photos, tmp_path / "link.jpg", photos / ".." / "photos" / "a.jpg"):
        with pytest.raises(UsageError, match="would replace your original"):
            find_jobs(photo, out)
    with pytest.raises(UsageError, match=r"outputs can be .*\.png"):
        find_jobs(photo, tmp_path / "b.heic")


def pictures(root: Path, **kinds: str) -> Path:
    """Small photos by the name with __ for its dot, and Pillow's name of their format."""
    root.mkdir(exist_ok=True)
    for name, kind in kinds.items():
        (root / name.replace("__", ".")).write_bytes(saved(gray(scene(8, 12)), kind))
    return root


def settled(photos: Path, out: Path, **settings: Any) -> dict[str, str]:
    """What each photo's output is called."""
    plan = settle(find_jobs(photos, out), ColorizeOptions(**settings))
    return {job.source.name: job.target.name for job in plan.jobs}


def test_an_output_of_another_format_gets_a_second_ending(photos: Path, tmp_path: Path) -> None:
    pictures(photos, a__gif="GIF", b__png="PNG", c__JPG="JPEG", d__jp2="JPEG2000", wrong__jpg="PNG")
    out = tmp_path / "out"
    same = {"b.png": "b.png", "c.JPG": "c.JPG", "wrong.jpg": "wrong.jpg"}
    assert settled(photos, out) == {"a.gif": "a.gif.png", "d.jp2": "d.jp2.png", **same}
    assert settled(photos, out, format="jpeg") == {
        "a.gif": "a.jpg", "b.png": "b.jpg", "c.JPG": "c.JPG", "d.jp2": "d.jpg", "wrong.jpg": "wrong.jpg",
    }  # fmt: skip


def test_a_chosen_format_takes_the_place_of_the_ending_unless_two_photos_want_that(
    photos: Path, tmp_path: Path
) -> None:
    pictures(photos, a__webp="WEBP", b__webp="WEBP", b__jpg="JPEG", c__png="PNG", c__gif="GIF", d__webp="WEBP",
             D__png="PNG", e__jpeg="JPEG")  # fmt: skip
    pictures(photos / "sub", a__png="PNG")
    (photos / "scan.1931").write_bytes(saved(gray(scene(8, 12)), "PNG"))
    expected = {
        "a.webp": "a.jpg", "b.webp": "b.webp.jpg", "b.jpg": "b.jpg", "c.png": "c.png.jpg", "c.gif": "c.gif.jpg",
        "d.webp": "d.webp.jpg", "D.png": "D.png.jpg", "e.jpeg": "e.jpeg", "a.png": "a.jpg",
        "scan.1931": "scan.1931.jpg",
    }  # fmt: skip
    assert settled(photos, tmp_path / "out", format="jpeg") == expected
    for name in expected:  # what is chosen changes no names
        plan = find_jobs(photos, tmp_path / "out", choice=Choice((name,)))
        named = {job.source.name: job.target.name for job in settle(plan, ColorizeOptions(format="jpeg")).jobs}
        assert named == {name: expected[name]}


def test_a_depth_that_a_format_can_not_hold_is_told_before_the_run(photos: Path, tmp_path: Path) -> None:
    (photos / "deep.png").write_bytes(png(scene16(8, 12), 0))
    pictures(photos, a__jpg="JPEG")
    options = ColorizeOptions(format="webp")
    plan = settle(find_jobs(photos, tmp_path / "out"), options)
    assert [job.target.name for job in plan.jobs] == ["a.webp"]
    (left,) = plan.left_out
    assert left.failed
    assert "has 16 bits, which WEBP can't hold; --format tiff or png keeps them, --depth 8" in left.reason
    assert settled(photos, tmp_path / "out", format="webp", eight_bit=True)["deep.png"] == "deep.webp"
    assert settled(photos, tmp_path / "out")["deep.png"] == "deep.png"


def test_a_photo_over_the_limit_is_named_before_the_run(photos: Path, tmp_path: Path) -> None:
    pictures(photos, a__jpg="JPEG", b__tif="TIFF")
    plan = settle(find_jobs(photos, tmp_path / "out"), ColorizeOptions(max_pixels=95))
    assert plan.jobs == []
    assert [left.reason for left in plan.left_out] == 2 * [
        "12 x 8 = 96 pixels is over the limit of 95; raise it with --max-pixels"
    ]


def test_two_photos_never_share_an_output(photos: Path, tmp_path: Path) -> None:
    pictures(photos, a__gif="GIF")
    (photos / "a.gif.png").write_bytes(saved(gray(scene(8, 12)), "PNG"))
    plan = settle(find_jobs(photos, tmp_path / "out"), ColorizeOptions())
    assert len({job.target for job in plan.jobs}) == len(plan.jobs) == 2
    assert plan.left_out == []


@pytest.mark.parametrize(
    ("name", "form"), [("b.png", "png"), ("b.tif", "tiff"), ("b.JPEG", "jpeg"), ("b.avif", "avif")]
)
def test_the_name_of_a_single_output_says_its_format(name: str, form: str, photos: Path, tmp_path: Path) -> None:
    photo = pictures(photos, a__jpg="JPEG") / "a.jpg"
    (job,) = settle(find_jobs(photo, tmp_path / name), ColorizeOptions()).jobs
    assert (job.target, job.format) == (tmp_path / name, form)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_is_a_failure(photos: Path) -> None:
    tree(photos, "a.jpg", "locked/b.jpg")
    (photos / "locked").chmod(0)
    try:
        plan = find_jobs(photos, None)
    finally:
        (photos / "locked").chmod(0o755)
    assert [(left.path.name, left.failed) for left in plan.left_out] == [("locked", True)]


def test_an_output_folder_inside_the_input_is_named_and_never_overwritten(photos: Path) -> None:
    tree(photos, "a.jpg", "mine/a.jpg")
    plan = find_jobs(photos, photos / "mine")
    assert [job.source.name for job in plan.jobs] == ["a.jpg"]
    assert [(left.path.name, left.reason) for left in plan.left_out] == [("mine", "is the output folder")]
    with pytest.raises(UsageError, match="taken for outputs"):
        find_jobs(photos, photos / "mine", overwrite=True)
    with pytest.raises(UsageError, match="taken for outputs"):
        find_jobs(photos / "mine", photos, overwrite=True)


def test_names_that_differ_in_case_only_on_a_disk_that_ignores_case(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(photos, "a.jpg", "A.JPG", "b.jpg", "e\u0301.png", "\u00e9.png")
    assert len(find_jobs(photos, tmp_path / "out").jobs) == 5, "this disk keeps them apart"
    monkeypatch.setattr("bwcolor.system.disk._seems_to_ignore_case", lambda out: True)
    plan = find_jobs(photos, tmp_path / "out")
    assert len({job.target.name.casefold() for job in plan.jobs}) == len(plan.jobs) == 5
    assert [job.target.name for job in plan.jobs if job.source.name == "b.jpg"] == ["b.jpg"]


def test_a_link_to_itself_does_not_end_the_walk(photos: Path) -> None:
    tree(photos, "a.jpg")
    (photos / "loop").symlink_to("loop")
    (photos / "loop.jpg").symlink_to("loop.jpg")
    plan = find_jobs(photos, None)
    assert [job.source.name for job in plan.jobs] == ["a.jpg"]
    assert "loop.jpg" in [left.path.name for left in plan.left_out]


def test_a_folder_of_links_names_one(photos: Path, tmp_path: Path) -> None:
    tree(tmp_path / "elsewhere", "b.jpg")
    photos.mkdir(exist_ok=True)
    (photos / "link.jpg").symlink_to(tmp_path / "elsewhere" / "b.jpg")
    with pytest.raises(NoPhotosError, match=r"Left out: .*link\.jpg is a link"):
        find_jobs(photos, None)


def nested(tmp_path: Path, kind: str = "GIF") -> Path:
    """d/b/x.gif.png and d/b/b/x.gif: with --out d the second one's output would be d/b/x.gif.png."""
    inner = pictures(tmp_path / "d", b__png="PNG").joinpath("b")
    pictures(inner, **{"x__gif__png": "PNG"})
    pictures(inner / "b", x__gif=kind)
    return inner


def test_a_second_ending_must_not_make_an_output_replace_an_original(tmp_path: Path) -> None:
    photos = nested(tmp_path)
    plan = find_jobs(photos, tmp_path / "d")
    with pytest.raises(UsageError, match=r"x\.gif\.png: this output would replace one of your originals"):
        settle(plan, ColorizeOptions())


def test_photos_that_are_left_out_are_not_replaced_either(tmp_path: Path) -> None:
    photos = nested(tmp_path)
    (photos / "x.gif.png").write_bytes(saved(gray(scene(80, 120)), "PNG"))
    plan = find_jobs(photos, tmp_path / "d")
    with pytest.raises(UsageError, match="would replace one of your originals"):
        settle(plan, ColorizeOptions(max_pixels=200))


@pytest.mark.parametrize(
    ("source", "kind", "out", "copy"),
    [("scan.gif", "GIF", None, "scan_colored.gif"), ("b.jpg", "JPEG", "b.png", "b.jpg"),
     ("b.png", "PNG", "c.png", "c.png"), ("wrong.jpg", "PNG", "folder", "wrong.jpg"),
     ("b.png", "JPEG", "folder", "b.png")],
)  # fmt: skip
def test_how_a_copy_is_called(source: str, kind: str, out: str | None, copy: str, tmp_path: Path) -> None:
    photo = tmp_path / "in" / source
    photo.parent.mkdir()
    photo.write_bytes(saved(gray(scene(8, 12)), kind))
    plan = find_jobs(photo, tmp_path / out if out else None)
    assert plan.jobs[0].copy == plan.jobs[0].target, "nobody has looked into it"
    (job,) = settle(plan, ColorizeOptions()).jobs
    assert job.copy.name == copy


def test_copies_share_no_name_with_another_output(photos: Path, tmp_path: Path) -> None:
    pictures(photos, a__gif="GIF", a__gif__png="GIF")
    options = ColorizeOptions(color_input="copy")
    plan = settle(find_jobs(photos, tmp_path / "out"), options)
    names = [{job.target.name, job.copy.name} for job in plan.jobs]
    assert len(names) == 2
    assert not names[0] & names[1]


def test_a_copy_must_not_replace_another_original(photos: Path, tmp_path: Path) -> None:
    """A folder of the output may be a link to one of the input."""
    tree(photos, "a/x.txt")
    pictures(photos / "a", x__gif="GIF")
    pictures(photos / "b", x__gif="GIF")
    (tmp_path / "out").mkdir()
    plan = find_jobs(photos, tmp_path / "out")
    (tmp_path / "out" / "b").symlink_to(photos / "a")  # made since
    assert len(settle(plan, ColorizeOptions()).jobs) == 2
    with pytest.raises(UsageError, match=r"x\.gif: this output would replace one of your originals"):
        settle(plan, ColorizeOptions(color_input="copy"))


def test_a_name_and_a_format_that_differ_are_refused(photos: Path, tmp_path: Path) -> None:
    photo = pictures(photos, a__tif="TIFF", b__jpg="JPEG") / "a.tif"
    for source in (photo, photos / "b.jpg"):
        with pytest.raises(UsageError, match=r"--out r\.jpg is a name for JPEG, and --format asks for PNG"):
            settle(find_jobs(source, tmp_path / "r.jpg"), ColorizeOptions(format="png"))
    (job,) = settle(find_jobs(photo, tmp_path / "r.jpeg"), ColorizeOptions(format="jpeg")).jobs
    assert (job.target.name, job.format) == ("r.jpeg", "jpeg")
    for out in (None, tmp_path / "new", photos / "sub"):  # no name of an output
        (job,) = settle(find_jobs(photo, out), ColorizeOptions(format="png")).jobs
        assert job.target.name == ("a.png" if out else "a_colored.png")


def test_pages_without_room_name_what_was_given(photos: Path, tmp_path: Path) -> None:
    page = gray(scene(8, 12))
    (photos / "a.tif").write_bytes(saved(page, "TIFF", save_all=True, append_images=[page] * 3))
    plan = settle(find_jobs(photos / "a.tif", tmp_path / "m.jpg"), ColorizeOptions())
    (left,) = plan.left_out
    assert left.reason == "has 4 pages, which only TIFF can hold; choose --format tiff or another --out"


def test_more_kinds_of_pictures_are_named(photos: Path) -> None:
    kinds = [".psb", ".exr", ".dcm", ".xcf", ".svg", ".pdf", ".psp", ".nef"]
    plan = find_jobs(tree(photos, "a.jpg", *(f"b{kind}" for kind in kinds)), None)
    assert sorted(left.path.suffix for left in plan.left_out) == sorted(kinds)
