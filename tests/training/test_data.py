"""Photos to train on: which are taken, how they are split, cropped and put in batches."""

import hashlib
import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from bwcolor_training import data
from bwcolor_training.data import PhotoSet, batches, crop, load_photos, split
from bwcolor_training.errors import TrainingInputError
from numpy.typing import NDArray
from PIL import Image


def loaded(photos: Path, tmp_path: Path, short_side: int = 176) -> PhotoSet:
    return load_photos(photos, short_side, tmp_path / "cache")[0]


def test_photos_are_decoded_as_they_are(photos: Path, tmp_path: Path) -> None:
    photo_set = loaded(photos, tmp_path)
    assert len(photo_set) == 8
    originals = {p.read_bytes(): np.asarray(Image.open(p)) for p in photos.rglob("*.bmp")}
    by_hash = {hashlib.sha256(content).hexdigest(): pixels for content, pixels in originals.items()}
    for number, digest in enumerate(photo_set.hashes):
        assert np.array_equal(photo_set.photo(number), by_hash[digest])


def test_large_and_long_photos_are_reduced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number, size in enumerate([(120, 90), (300, 60), (20, 30)]):
        Image.new("RGB", size, (200, 100, 50)).save(tmp_path / "photos" / f"{number}.png")
    photo_set = loaded(tmp_path / "photos", tmp_path, short_side=30)
    assert [photo_set.photo(n).shape for n in range(3)] == [(30, 40, 3), (30, 60, 3), (30, 20, 3)]
    assert (photo_set.photo(1) == (200, 100, 50)).all()


def test_broken_files_are_named_and_gray_ones_counted(photos: Path, tmp_path: Path) -> None:
    (photos / "more" / "broken.jpg").write_bytes(b"no photo")
    (photos / "empty.png").touch()
    (photos / "notes.txt").write_text("not looked at")
    Image.new("L", (40, 40), 90).save(photos / "gray.png")
    Image.new("RGB", (40, 40), (90, 91, 90)).save(photos / "nearly gray.png")
    photo_set, rejected = load_photos(photos, 176, tmp_path / "cache")
    assert len(photo_set) == 8
    assert sorted(rejected.broken) == ["empty.png", str(Path("more", "broken.jpg"))]
    assert rejected.gray == 2


def test_the_cache_is_used_again(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = loaded(photos, tmp_path)
    monkeypatch.setattr(data, "read_rgb", lambda _: pytest.fail("decoded a second time"))
    second = loaded(photos, tmp_path)
    assert np.array_equal(first.pixels, second.pixels)
    assert np.array_equal(first.index, second.index)
    assert first.hashes == second.hashes


def test_a_changed_file_makes_the_cache_void(photos: Path, tmp_path: Path) -> None:
    before = loaded(photos, tmp_path)
    path = photos / "0.bmp"
    time = path.stat().st_mtime_ns
    with Image.open(path) as image:
        changed = image.point(lambda v: v // 2)
    changed.save(path)
    os.utime(path, ns=(time + 1_000_000_000, time + 1_000_000_000))
    after = loaded(photos, tmp_path)
    assert len(set(before.hashes) - set(after.hashes)) == 1
    assert hashlib.sha256(path.read_bytes()).hexdigest() in after.hashes


def test_a_cache_that_lost_its_pixels_is_made_again(photos: Path, tmp_path: Path) -> None:
    before = loaded(photos, tmp_path)
    for path in (tmp_path / "cache").glob("*.u8"):
        path.unlink()
    assert np.array_equal(loaded(photos, tmp_path).pixels, before.pixels)


def test_nothing_temporary_stays_in_the_cache(photos: Path, tmp_path: Path) -> None:
    loaded(photos, tmp_path)
    assert sorted(p.suffix for p in (tmp_path / "cache").iterdir()) == [".json", ".u8"]


def test_a_cache_that_cannot_be_written_is_a_sentence(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(TrainingInputError, match=r"cache: decoded photos can't be kept there"):
        load_photos(photos, 176, tmp_path / "cache")


@pytest.mark.parametrize("folder", ["empty", "absent"])
def test_a_folder_without_photos_is_a_sentence(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingInputError, match=rf"{folder}: no photos \(.*\.jpg"):
        load_photos(tmp_path / folder, 176, tmp_path / "cache")


def test_a_folder_of_gray_photos_is_a_sentence(tmp_path: Path) -> None:
    Image.new("L", (40, 40), 90).save(tmp_path / "gray.png")
    (tmp_path / "broken.png").write_bytes(b"no photo")
    for _ in range(2):  # decoded, and from the cache
        with pytest.raises(TrainingInputError, match=r"none of 2 files .*1 are gray, 1 can't be read"):
            load_photos(tmp_path, 176, tmp_path / "cache")


def hashed(count: int) -> PhotoSet:
    """Only the hashes of `count` photos."""
    hashes = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(count)]
    return PhotoSet(np.zeros(0, np.uint8), np.zeros((count, 3), np.int64), hashes)


def test_the_split_has_about_the_share_and_leaves_nothing_out() -> None:
    train, valid = split(hashed(2000), 0.1)
    assert sorted([*train, *valid]) == list(range(2000))
    assert 150 < len(valid) < 250


def test_photos_that_are_added_move_no_other() -> None:
    few, many = split(hashed(500), 0.1), split(hashed(1000), 0.1)
    for before, after in zip(few, many, strict=True):
        assert np.array_equal(before, after[after < 500])


@pytest.mark.parametrize(("share", "validated"), [(0.0, 0), (1.0, 50)])
def test_the_split_may_be_one_sided(share: float, validated: int) -> None:
    assert len(split(hashed(50), share)[1]) == validated


def ramp(height: int, width: int) -> NDArray[np.uint8]:
    """Row number in red, column number in green."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows, columns, 0 * rows], -1).astype(np.uint8)


def test_crops_come_from_all_over_the_photo_and_are_mirrored_half_of_the_time() -> None:
    rng = np.random.default_rng(0)
    crops = [crop(ramp(60, 90), 32, 0.5, rng) for _ in range(300)]
    assert {c.shape for c in crops} == {(32, 32, 3)}
    assert {c.dtype for c in crops} == {np.dtype(np.uint8)}
    mirrored = sum(int(c[0, 0, 1]) > int(c[0, -1, 1]) for c in crops)
    assert 110 < mirrored < 190
    heights = [int(c[-1, 0, 0]) - int(c[0, 0, 0]) for c in crops]
    assert 25 <= min(heights) < 32
    assert 56 < max(heights) < 60
    assert min(int(c[0, 0, 0]) for c in crops) < 3
    assert max(int(c[-1, 0, 0]) for c in crops) > 56


def test_small_photos_are_enlarged_without_new_values() -> None:
    rng = np.random.default_rng(0)
    piece = crop(ramp(20, 30), 64, 1.0, rng)
    assert piece.shape == (64, 64, 3)
    assert (piece[..., 0].min(), piece[..., 0].max()) == (0, 19)


def batch_list(photo_set: PhotoSet, seed: int, first_step: int, count: int) -> list[NDArray[np.uint8]]:
    numbers = np.arange(len(photo_set))
    return list(islice(batches(photo_set, numbers, 32, 4, 0.5, seed, first_step), count))


def test_seed_and_step_decide_a_batch(photos: Path, tmp_path: Path) -> None:
    photo_set = loaded(photos, tmp_path)
    straight = batch_list(photo_set, 1, 0, 4)
    assert all(b.shape == (4, 32, 32, 3) for b in straight)
    for ours, resumed in zip(straight[2:], batch_list(photo_set, 1, 2, 2), strict=True):
        assert np.array_equal(ours, resumed)
    assert not np.array_equal(straight[0], straight[1])
    assert not np.array_equal(straight[0], batch_list(photo_set, 2, 0, 1)[0])


def test_batches_take_only_the_photos_they_may(photos: Path, tmp_path: Path) -> None:
    photo_set = loaded(photos, tmp_path)
    plain = PhotoSet(np.repeat(np.arange(8, dtype=np.uint8), 300), photo_set.index.copy(), photo_set.hashes)
    plain.index[:] = [(300 * n, 10, 10) for n in range(8)]
    seen = np.concatenate(list(islice(batches(plain, np.array([2, 5]), 32, 6, 0.5, 0, 0), 5)))
    assert set(np.unique(seen)) == {2, 5}
