"""XMP and JSON sidecars: which files belong to a photo, and copies that never cost another file."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from photo.pictures import gray, saved, scene
from PIL import Image
from typer.testing import CliRunner, Result

import bwcolor.batch.sidecars
from bwcolor.batch.sidecars import AWAY, BAD_NAME, LINK, TAKEN, TOO_LARGE, _listed, sidecars_of
from bwcolor.cli.app import app
from bwcolor.errors import FolderError

LONG = "Scan of grandmother's wedding in the village, 1931 (front).jpg"  # Takeout cuts what is behind 46 characters
TAIL = ".supplemental-metadata.json"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def put(folder: Path, *names: str) -> Path:
    """Photos, and sidecars that hold their own names."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kinds = {".jpg": "JPEG", ".gif": "GIF", ".png": "PNG", ".tif": "TIFF"}
        kind = kinds.get(path.suffix.lower())
        path.write_bytes(saved(gray(scene(20, 30, number)), kind) if kind else name.encode())
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """All but photos and what bwcolor keeps there."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix.lower() in (".xmp", ".json") and path.is_file()
    }


def records(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "bwcolor-report.jsonl").read_text(encoding="ascii").splitlines()]


@pytest.mark.parametrize(
    ("photo", "sidecar", "tail", "stem"),
    [
        ("a.jpg", "a.jpg.xmp", ".xmp", False),
        ("a.jpg", "a.xmp", ".xmp", True),
        ("A.JPG", "A.JPG.XMP", ".xmp", False),
        ("a", "a.xmp", ".xmp", False),
        ("a.jpg", "a.jpg.json", ".json", False),
        ("a.jpg", f"a.jpg{TAIL}", TAIL, False),
        ("a.jpg", "a.jpg.supplemental-metad.json", TAIL, False),
        ("a.jpg", "a.jpg.s.json", TAIL, False),
        ("a.jpg", "a.jpg..json", TAIL, False),
        ("a(1).jpg", "a.jpg(1).json", ".json", False),
        ("a(12).jpg", "a.jpg.supplemental-metadata(12).json", TAIL, False),
        ("a(12).jpg", "a.jpg.supplem(12).json", TAIL, False),
        ("a(1).jpg", "a(1).jpg.json", ".json", False),
        (LONG, f"{LONG[:46]}.json", ".json", False),
        (LONG, f"{LONG}.json", ".json", False),
        ("x" * 40 + ".jpg", "x" * 40 + ".jpg.s.json", TAIL, False),
        ("[a]*?.jpg", "[a]*?.jpg.xmp", ".xmp", False),
    ],
)
def test_what_belongs_to_a_photo(photo: str, sidecar: str, tail: str, stem: bool, tmp_path: Path) -> None:
    put(tmp_path, photo, sidecar, "b.jpg.xmp", "b.json", "a.jpg.bak.json", "aa.jpg.json")
    (found,) = sidecars_of(tmp_path / photo, _listed(tmp_path))
    assert (found.path.name, found.tail, found.stem) == (sidecar, tail, stem)


@pytest.mark.parametrize(
    "name",
    [
        "a.json",
        "a.jpg.suppl.xmp",
        "a.jpg.supplemental-metadata-2.json",
        "a.jpg.metadata.json",
        "a.jpg(1).json",
        "A.jpg.xmp",
        "a.jpg.jsonx",
        "a(1).jpg.json",
        "xmp",
        "a.jpg.xmp.bak",
    ],
)
def test_what_does_not(name: str, tmp_path: Path) -> None:
    assert sidecars_of(tmp_path / "a.jpg", _listed(put(tmp_path, name))) == []


def test_a_name_cut_so_short_that_two_photos_fit_belongs_to_neither(tmp_path: Path) -> None:
    other = LONG.replace("front", "back")
    put(tmp_path, LONG, f"{LONG[:46]}.json")
    assert len(sidecars_of(tmp_path / LONG, _listed(tmp_path))) == 1
    put(tmp_path, other)
    assert sidecars_of(tmp_path / LONG, _listed(tmp_path)) == sidecars_of(tmp_path / other, _listed(tmp_path)) == []


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return put(
        tmp_path / "photos", "a.jpg", "a.jpg.xmp", "sub/b.gif", "sub/b.gif.xmp", "sub/c.png", "sub/c.xmp", "sub/d.jpg",
        "sub/d.jpg.suppl.json", "sub/lonely.xmp", "notes.json",
    )  # fmt: skip


EXPECTED = {
    "a.jpg.xmp": b"a.jpg.xmp", "sub/b.gif.png.xmp": b"sub/b.gif.xmp", "sub/c.xmp": b"sub/c.xmp",
    f"sub/d.jpg{TAIL}": b"sub/d.jpg.suppl.json",
}  # fmt: skip


def test_copies_follow_the_outputs(photos: Path, tiny_model: Path, tmp_path: Path) -> None:
    os.utime(photos / "a.jpg.xmp", ns=(10**18, 10**18 + 7))
    (photos / "a.jpg.xmp").chmod(0o640)
    before, out = files(photos), tmp_path / "out"
    result = run(photos, "--out", out, "--model", tiny_model)
    assert result.exit_code == 0, result.stderr
    assert "4 sidecars copied" in result.stderr
    assert files(out) == EXPECTED
    assert (out / "a.jpg.xmp").stat().st_mtime_ns == 10**18 + 7
    assert (out / "a.jpg.xmp").stat().st_mode & 0o777 == 0o640
    assert files(photos) == before
    told = {Path(str(one["source"])).name: one["sidecars"] for one in records(out) if one["record"] == "photo"}
    assert told["b.gif"] == [str(out / "sub" / "b.gif.png.xmp")]
    assert records(out)[-1]["sidecars"] == 4
    assert not list(out.rglob("*.part"))


def test_a_second_run_copies_what_is_new_and_replaces_nothing(photos: Path, tiny_model: Path, tmp_path: Path) -> None:
    arguments = (photos, "--out", tmp_path / "out", "--model", tiny_model)
    run(*arguments)
    again = run(*arguments)
    assert "sidecars" not in again.stderr
    put(photos, "sub/c.png.xmp")
    (photos / "a.jpg.xmp").write_bytes(b"rated since")
    (tmp_path / "out" / "sub" / "c.xmp").write_bytes(b"edited in the output folder")
    (tmp_path / "out" / "sub" / "b.gif.png.xmp").unlink()
    third = run(*arguments)
    assert third.exit_code == 0
    assert "0 colorized, 4 skipped" in third.stderr
    assert "2 sidecars copied" in third.stderr
    assert f"note: 2 of them: {TAKEN}" in third.stderr
    changed = {"sub/c.png.xmp": b"sub/c.png.xmp", "sub/c.xmp": b"edited in the output folder"}
    assert files(tmp_path / "out") == EXPECTED | changed
    assert run(*arguments, "--overwrite").exit_code == 0
    assert files(tmp_path / "out") == EXPECTED | changed, "not even then"


def test_copies_beside_replaced_outputs_go_with_them(photos: Path, tiny_model: Path, tmp_path: Path) -> None:
    """But for those that are the new output's too, and those that somebody has changed."""
    out = tmp_path / "out"
    put(photos, "a.xmp", "sub/d.jpg.xmp")
    arguments = (photos, "--out", out, "--model", tiny_model)
    run(*arguments)
    (out / "sub" / "d.jpg.xmp").write_bytes(b"edited in the output folder")
    before = files(out)
    assert run(*arguments, "--format", "tif").exit_code == 0
    assert files(out).items() > before.items(), "both outputs have theirs"
    last = run(*arguments, "--format", "webp", "--overwrite")
    assert "8 earlier outputs in other formats were replaced" in last.stderr
    assert files(out) == {
        "a.webp.xmp": b"a.jpg.xmp", "a.xmp": b"a.xmp", "sub/b.webp.xmp": b"sub/b.gif.xmp", "sub/c.xmp": b"sub/c.xmp",
        f"sub/d.webp{TAIL}": b"sub/d.jpg.suppl.json", "sub/d.webp.xmp": b"sub/d.jpg.xmp",
        "sub/d.jpg.xmp": b"edited in the output folder",
    }  # fmt: skip


def test_they_can_be_left_out(photos: Path, tiny_model: Path, tmp_path: Path) -> None:
    result = run(photos, "--out", tmp_path / "out", "--model", tiny_model, "--sidecars", "skip")
    assert result.exit_code == 0
    assert files(tmp_path / "out") == {}
    assert "sidecar" not in result.stderr
    kept = run(photos, "--out", tmp_path / "out", "--model", tiny_model)
    assert "4 skipped (done already), 4 sidecars copied" in kept.stderr, "the choice makes no output stale"


def test_a_dry_run_counts_them(photos: Path, tmp_path: Path) -> None:
    result = run(photos, "--out", tmp_path / "out", "--dry-run")
    assert "4 sidecars to copy" in result.stdout
    assert not (tmp_path / "out").exists()
    assert "sidecars" not in run(photos, "--out", tmp_path / "out", "--dry-run", "--sidecars", "skip").stdout


@pytest.mark.parametrize("flat", [False, True])
def test_outputs_of_one_stem_share_no_sidecar(flat: bool, tiny_model: Path, tmp_path: Path) -> None:
    photos = put(tmp_path / "photos", "1/a.jpg", "1/a.xmp", "2/a.png", "2/a.xmp")
    run(photos, "--out", tmp_path / "out", "--model", tiny_model, *(["--flat"] if flat else []))
    found = files(tmp_path / "out")
    assert sorted(found.values()) == [b"1/a.xmp", b"2/a.xmp"]
    if not flat:
        assert set(found) == {"1/a.xmp", "2/a.xmp"}


def test_two_photos_may_share_one(tiny_model: Path, tmp_path: Path) -> None:
    photos = put(tmp_path / "photos", "a.jpg", "a.png", "a.xmp")
    result = run(photos, "--out", tmp_path / "out", "--model", tiny_model)
    assert "note" not in result.stderr
    assert files(tmp_path / "out") == {"a.xmp": b"a.xmp"}


def test_a_single_photo_and_a_suffix(tiny_model: Path, tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "a.jpg.xmp", "a.xmp", "b.jpg.json")
    assert run(tmp_path / "a.jpg", "--model", tiny_model).exit_code == 0
    assert {"a_colored.jpg.xmp", "a_colored.xmp"} == set(files(tmp_path)) - {"a.jpg.xmp", "a.xmp", "b.jpg.json"}
    assert run(tmp_path / "b.jpg", tmp_path / "a.jpg", "--out", tmp_path / "o", "--model", tiny_model).exit_code != 0
    put(tmp_path / "in", "b.jpg", "b.jpg.json")
    assert run(tmp_path / "in", "--suffix", "_c", "--out", tmp_path / "p", "--model", tiny_model).exit_code == 0
    assert set(files(tmp_path / "p")) == {"b_c.jpg.json"}


def test_photos_without_an_output_get_none(tiny_model: Path, tmp_path: Path) -> None:
    photos = put(tmp_path / "photos", "bad.jpg.xmp", "color.png.xmp", "good.jpg")
    (photos / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    color = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(color).resize((160, 120), 2).save(photos / "color.png")
    assert run(photos, "--out", tmp_path / "out", "--model", tiny_model).exit_code == 1
    assert files(tmp_path / "out") == {}
    run(photos, "--out", tmp_path / "out", "--model", tiny_model, "--color-input", "copy")
    assert set(files(tmp_path / "out")) == {"color.png.xmp"}


def test_odd_ones_get_a_note_and_end_no_run(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = put(tmp_path / "photos", "a.jpg", "b.jpg", "c.jpg", "c.jpg.xmp", "d.jpg", "d.jpg.json", "é" * 123 + ".jpg")
    (photos / "a.jpg.xmp").symlink_to("/etc/hostname")
    (photos / "b.jpg.xmp").mkdir()
    (photos / f"{'é' * 123}.jpg.xmp").write_bytes(b"x")
    (photos / "c.jpg.xmp").write_bytes(bytes(100))
    monkeypatch.setattr(bwcolor.batch.sidecars, "LARGEST", 50)
    monkeypatch.setattr(bwcolor.batch.sidecars, "is_away", lambda status: status.st_size == len("d.jpg.json"))
    result = run(photos, "--out", tmp_path / "out", "--suffix", "_col", "--model", tiny_model, "-v")
    assert result.exit_code == 0, result.stderr
    assert "5 colorized" in result.stderr
    for name, note in (("a", LINK), ("b", LINK), ("c", TOO_LARGE), ("d", AWAY)):
        assert any(f"done: {name}.jpg" in line and note in line for line in result.stderr.splitlines())
    assert BAD_NAME in result.stderr
    assert files(tmp_path / "out") == {}


def test_a_link_in_the_output_folder_is_not_written_through(tiny_model: Path, tmp_path: Path) -> None:
    photos = put(tmp_path / "photos", "a.jpg", "a.jpg.xmp")
    (tmp_path / "out").mkdir()
    (tmp_path / "precious").write_bytes(b"a.jpg.xmp")
    (tmp_path / "out" / "a.jpg.xmp").symlink_to(tmp_path / "precious")
    result = run(photos, "--out", tmp_path / "out", "--model", tiny_model)
    assert TAKEN in result.stderr
    assert (tmp_path / "precious").read_bytes() == b"a.jpg.xmp"


def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(
    photos: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise FolderError("out: can't be written (No space left on device).")

    with monkeypatch.context() as patch:
        patch.setattr(bwcolor.batch.sidecars, "committed", full)
        result = run(photos, "--out", tmp_path / "out", "--model", tiny_model)
        assert result.exit_code == 5
        assert "No space left" in result.stderr
    assert run(photos, "--out", tmp_path / "out", "--model", tiny_model).exit_code == 0
    assert files(tmp_path / "out") == EXPECTED


def test_a_folder_of_many_is_quick(tmp_path: Path) -> None:
    names = [f"IMG_{number:05d}.jpg" for number in range(20_000)]
    listed = bwcolor.batch.sidecars.Folder({(name, ".json"): [f"{name}.json"] for name in names}, names)
    assert sum(len(sidecars_of(tmp_path / name, listed)) for name in names[:2_000]) == 2_000
