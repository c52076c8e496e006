"""Which photos a manifest clears for training."""

import unicodedata
from pathlib import Path

import pytest
from bwcolor_training.data.manifest import allowed, cleared, find_manifest
from bwcolor_training.errors import TrainingInputError

YES, BOTH = frozenset({"yes"}), frozenset({"yes", "unclear"})
ROWS = "path,licence,fit_for_training\nphotos/a.jpg,CC0,yes\nphotos/more/b.jpg,,unclear\nphotos/c.jpg,NC,no\n"


def write(path: Path, text: str = ROWS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def files(folder: Path) -> list[Path]:
    return [folder / "photos" / name for name in ("a.jpg", "c.jpg", "more/b.jpg", "unlisted.jpg")]


def kept(manifest: Path | None, folder: Path, fit: frozenset[str]) -> list[str]:
    return [path.name for path in cleared(files(folder), folder / "photos", fit, [manifest] if manifest else [])]


def test_the_rows_that_are_fit_are_taken(tmp_path: Path) -> None:
    manifest = write(tmp_path / "MANIFEST.csv")
    assert kept(manifest, tmp_path, YES) == ["a.jpg"]
    assert kept(manifest, tmp_path, BOTH) == ["a.jpg", "b.jpg"]
    assert allowed(manifest, YES) == {str(tmp_path.resolve() / "photos" / "a.jpg")}


def test_as_spreadsheets_write_it(tmp_path: Path) -> None:
    text = "\ufeff" + ROWS.replace("\n", "\r\n").replace("photos/a.jpg,CC0,yes", '"photos/a.jpg","CC, 0","Yes "')
    assert kept(write(tmp_path / "list.csv", text), tmp_path, YES) == ["a.jpg"]


def test_accents_are_one_letter_or_two(tmp_path: Path) -> None:
    spellings = [unicodedata.normalize("NFC", "é.jpg"), unicodedata.normalize("NFD", "é.jpg")]
    for listed in spellings:
        manifest = write(tmp_path / "MANIFEST.csv", f"path,fit_for_training\n{listed},yes\n")
        for name in spellings:
            assert cleared([tmp_path / name], tmp_path, YES, [manifest]) == [tmp_path / name]


def test_a_link_to_the_folder_leads_to_the_same_photos(tmp_path: Path) -> None:
    manifest = write(tmp_path / "real" / "MANIFEST.csv")
    (tmp_path / "real" / "photos").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    assert kept(manifest, tmp_path / "link", YES) == ["a.jpg"]
    assert kept(None, tmp_path / "link", YES) == ["a.jpg"]


@pytest.mark.parametrize(("place", "found"), [(".", True), ("a", True), ("a/b", True), ("a/b/c", False)])
def test_it_is_found_up_to_two_folders_above(tmp_path: Path, place: str, found: bool) -> None:
    manifest = write(tmp_path / "MANIFEST.csv")
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    assert find_manifest(tmp_path / place) == (manifest.resolve() if found else None)


def test_the_nearest_one_counts(tmp_path: Path) -> None:
    write(tmp_path / "MANIFEST.csv")
    assert find_manifest(tmp_path / "a") == find_manifest(tmp_path)
    nearest = write(tmp_path / "a" / "MANIFEST.csv")
    assert find_manifest(tmp_path / "a") == nearest.resolve()


def test_none_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrainingInputError, match=r"photos: no MANIFEST\.csv there .*--manifest, or leave --fit out"):
        kept(None, tmp_path, YES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"has no column path and no column fit_for_training, only none"),
        ("path,licence\na.jpg,CC0\n", r"has no column fit_for_training, only path, licence"),
        ("path;fit_for_training\na.jpg;yes\n", r"has no column path and .* only path;fit_for_training.*with commas"),
        ("path,fit_for_training\na.jpg,no\nb.jpg\n", r"no row has fit_for_training = yes; the column holds no\."),
        ("path,fit_for_training\n", r"no row has .* holds nothing"),
        ('path,fit_for_training\n"a.jpg,yes\n', r"no row has"),
    ],
)
def test_a_manifest_that_says_nothing_is_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TrainingInputError, match=rf"MANIFEST\.csv: {message}"):
        allowed(write(tmp_path / "MANIFEST.csv", text), YES)


def test_a_file_that_is_no_text_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "MANIFEST.csv").write_bytes(b"path,fit_for_training\n\xff\xfe.jpg,yes\n")
    for path in (tmp_path / "MANIFEST.csv", tmp_path / "absent.csv"):
        with pytest.raises(TrainingInputError, match="can't be read as a CSV file in UTF-8"):
            allowed(path, YES)


def test_a_manifest_of_other_photos_is_a_sentence(tmp_path: Path) -> None:
    manifest = write(tmp_path / "lists" / "MANIFEST.csv")
    with pytest.raises(
        TrainingInputError, match=r"none of its 1 rows .*4 photos in .*photos; paths in it start at .*list"
    ):
        kept(manifest, tmp_path, YES)
