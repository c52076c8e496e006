"""Photos to train on: which are taken, how they are split, cropped and put in batches."""

import dataclasses
import hashlib
import os
import shutil
import threading
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bwcolor_training.data import photo_sets
from bwcolor_training.data.photo_sets import PhotoSet, check_held_out, joined, load_photos, one_source
from bwcolor_training.data.sampling import batches, crop, large_enough, photo_weights, split
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
    assert sorted(rejected.broken) == ["empty.png", "more/broken.jpg"]
    assert rejected.gray == 2


def test_photos_have_the_names_of_their_files(photos: Path, tmp_path: Path) -> None:
    photo_set = loaded(photos, tmp_path)
    assert photo_set.names == [
        "0.bmp",
        "2.bmp",
        "4.bmp",
        "6.bmp",
        "more/1.bmp",
        "more/3.bmp",
        "more/5.bmp",
        "more/7.bmp",
    ]
    for name, digest in zip(photo_set.names, photo_set.hashes, strict=True):
        assert hashlib.sha256((photos / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("name", ["ünï 照片.BMP", "a\nb.bmp", os.fsdecode(b"latin-\xe9.bmp")])
def test_names_may_be_odd(photos: Path, tmp_path: Path, name: str) -> None:
    try:
        (photos / "0.bmp").rename(photos / name)
    except OSError:
        pytest.skip("this disk refuses such a name")
    for _ in range(2):  # decoded, and from the cache
        assert name in loaded(photos, tmp_path).names


def test_resource_forks_are_no_photos(photos: Path, tmp_path: Path) -> None:
    (photos / "._0.bmp").write_bytes(b"what macOS keeps beside a file")
    assert load_photos(photos, 176, tmp_path / "cache")[1].broken == []


def test_a_folder_that_cannot_be_listed_is_named(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def closed(path: str) -> Any:
        if str(path).endswith("more"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    photo_set, rejected = load_photos(photos, 176, tmp_path / "cache")
    assert len(photo_set) == 4
    assert rejected.broken == ["more/"]


def test_each_file_is_read_once(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_and_remove(path: Path) -> bytes:
        content = path.read_bytes()
        path.unlink()
        return content

    expected = loaded(photos, tmp_path)
    monkeypatch.setattr(photo_sets, "read_bytes", read_and_remove)
    photo_set, rejected = load_photos(photos, 176, tmp_path / "other")
    assert rejected.broken == []
    assert photo_set.hashes == expected.hashes
    assert np.array_equal(photo_set.pixels[0], expected.pixels[0])


def test_progress_is_told(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_sets, "AT_ONCE", 3)
    seen: list[tuple[int, int]] = []
    load_photos(photos, 176, tmp_path / "cache", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 8), (6, 8), (8, 8)]


def test_only_what_the_manifest_clears_is_taken(photos: Path, tmp_path: Path) -> None:
    rows = "".join(f"more/{n}.bmp,{'yes' if n < 5 else 'unclear'}\n" for n in (1, 3, 5, 7))
    (photos / "MANIFEST.csv").write_text(f"path,fit_for_training\n{rows}")
    photo_set, rejected = load_photos(photos, 176, tmp_path / "cache", frozenset({"yes"}))
    assert photo_set.names == ["more/1.bmp", "more/3.bmp"]
    assert rejected.unfit == 6
    (tmp_path / "other.csv").write_text("path,fit_for_training\nphotos/0.bmp,yes\n")
    photo_set, _ = load_photos(photos, 176, tmp_path / "cache", frozenset({"yes"}), [tmp_path / "other.csv"])
    assert photo_set.names == ["0.bmp"]
    assert len(loaded(photos, tmp_path)) == 8


def test_the_cache_is_used_again(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = loaded(photos, tmp_path)
    monkeypatch.setattr(photo_sets, "decode_rgb", lambda _: pytest.fail("decoded a second time"))
    second = loaded(photos, tmp_path)
    assert np.array_equal(first.pixels[0], second.pixels[0])
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


@pytest.mark.parametrize("harm", ["no pixels", "half of the pixels", "no header", "half of the header"])
def test_a_cache_that_lost_something_is_made_again(photos: Path, tmp_path: Path, harm: str) -> None:
    before = loaded(photos, tmp_path).pixels[0].copy()
    lost, pattern = harm.split()[0], {"pixels": "*.u8", "header": "*.json"}[harm.split()[-1]]
    for path in (tmp_path / "cache").glob(pattern):
        content = path.read_bytes()
        path.unlink()
        if lost == "half":
            path.write_bytes(content[: len(content) // 2])
    assert np.array_equal(loaded(photos, tmp_path).pixels[0], before)


def cached(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "cache").iterdir()}


def test_what_was_decoded_from_an_earlier_state_is_removed_but_stays_usable(photos: Path, tmp_path: Path) -> None:
    before = loaded(photos, tmp_path)
    pixels = before.pixels[0].copy()
    old = cached(tmp_path)
    (photos / "0.bmp").unlink()
    assert len(loaded(photos, tmp_path)) == 7
    assert len(cached(tmp_path)) == 2
    assert not old & cached(tmp_path)
    assert np.array_equal(before.pixels[0], pixels)  # the run that has it mapped goes on


def test_other_sizes_choices_and_folders_are_left_alone(photos: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (photos / "more" / "MANIFEST.csv").write_text("path,fit_for_training\n1.bmp,yes\n")
    for change in range(2):
        load_photos(photos, 176, cache)
        load_photos(photos, 32, cache)
        load_photos(photos / "more", 176, cache)
        load_photos(photos / "more", 176, cache, frozenset({"yes"}))
        assert len(cached(tmp_path)) == 8
        (photos / "more" / "1.bmp").touch() if change else (photos / "more" / "3.bmp").unlink()


def test_what_a_killed_process_left_is_removed_after_a_day(photos: Path, tmp_path: Path) -> None:
    loaded(photos, tmp_path)
    name = next(name for name in cached(tmp_path) if name.endswith(".u8"))
    parts = [tmp_path / "cache" / f"{name}.part{number}" for number in (1, 2)]
    for part in parts:
        part.write_bytes(b"half of the photos")
    os.utime(parts[0], (0, 0))
    (photos / "0.bmp").unlink()
    loaded(photos, tmp_path)
    assert [part.exists() for part in parts] == [False, True]


def test_two_may_decode_the_same_folder_at_once(photos: Path, tmp_path: Path) -> None:
    results: list[PhotoSet] = []
    threads = [threading.Thread(target=lambda: results.append(loaded(photos, tmp_path))) for _ in range(2)]
    expected = load_photos(photos, 176, tmp_path / "other")[0]
    with pytest.MonkeyPatch.context() as patch:
        numbers = iter(range(100))  # threads stand for processes here
        patch.setattr(os, "getpid", lambda: next(numbers) if threading.current_thread() in threads else 0)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == 2
    for result in results:
        assert np.array_equal(result.pixels[0], expected.pixels[0])
        assert result.names == expected.names


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


def test_a_full_disk_is_a_sentence_and_leaves_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingInputError, match=r"cache: .*No space left on device.*BWCOLOR_CACHE"):
        load_photos(photos, 176, tmp_path / "cache")
    assert cached(tmp_path) == set()


def test_a_file_in_place_of_a_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(TrainingInputError, match=r"photo\.jpg: can't be listed"):
        load_photos(tmp_path / "photo.jpg", 176, tmp_path / "cache")


def test_a_folder_of_gray_photos_is_a_sentence(tmp_path: Path) -> None:
    Image.new("L", (40, 40), 90).save(tmp_path / "gray.png")
    (tmp_path / "broken.png").write_bytes(b"no photo")
    for _ in range(2):  # decoded, and from the cache
        with pytest.raises(TrainingInputError, match=r"none of 2 files .*1 are gray, 1 can't be read"):
            load_photos(tmp_path, 176, tmp_path / "cache")


def hashed(count: int) -> PhotoSet:
    """Only the hashes of `count` photos."""
    hashes = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(count)]
    return one_source(np.zeros(0, np.uint8), np.zeros((count, 3), np.int64), hashes, [])


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
    index = np.array([(300 * n, 10, 10) for n in range(8)])
    plain = one_source(np.repeat(np.arange(8, dtype=np.uint8), 300), index, photo_set.hashes, [])
    seen = np.concatenate(list(islice(batches(plain, np.array([2, 5]), 32, 6, 0.5, 0, 0), 5)))
    assert set(np.unique(seen)) == {2, 5}


def plain_photos(count: int) -> PhotoSet:
    """Photos of 10 x 10 px whose every value is their number."""
    index = np.array([(300 * n, 10, 10) for n in range(count)])
    return one_source(np.repeat(np.arange(count, dtype=np.uint8), 300), index, hashed(count).hashes, [])


def test_weights_say_how_often_a_photo_is_taken() -> None:
    weights = np.array([0.0, 1.0, 3.0, 8.0, 0.0])
    source = batches(plain_photos(5), np.array([0, 1, 2, 4]), 32, 8, 0.5, 0, 0, weights)
    seen = np.concatenate([batch[:, 0, 0, 0] for batch in islice(source, 100)])
    counts = np.bincount(seen, minlength=5)
    assert counts[[0, 3, 4]].tolist() == [0, 0, 0]  # weight 0, not among the numbers, weight 0
    assert 2.4 < counts[2] / counts[1] < 3.7


def test_weighted_batches_hold_no_photo_twice_while_there_are_enough() -> None:
    weights = np.linspace(1, 2, 20)
    for batch in islice(batches(plain_photos(20), np.arange(20), 32, 8, 0.5, 0, 0, weights), 20):
        assert len(np.unique(batch[:, 0, 0, 0])) == 8


def test_seed_and_step_decide_a_weighted_batch() -> None:
    def some(first_step: int) -> list[NDArray[np.uint8]]:
        return list(islice(batches(plain_photos(9), np.arange(9), 32, 4, 0.5, 1, first_step, np.arange(9.0)), 3))

    assert np.array_equal(some(0)[2], some(2)[0])


def test_folders_are_weighed_by_the_longest_path_that_fits() -> None:
    names = ["people/a.jpg", "people/old/b.jpg", "people_too/c.jpg", "d.jpg"]
    photos = dataclasses.replace(plain_photos(4), names=names)
    weights = photo_weights(photos, {"people/old": 0.0, "people/": 3.0}, {})
    assert weights is not None
    assert weights.tolist() == [3, 0, 1, 1]
    assert photo_weights(photos, {}, {}) is None
    with pytest.raises(TrainingInputError, match=r"no photos are in 'peopl'.* people, people_too\."):
        photo_weights(photos, {"peopl": 2.0}, {})


def test_photos_that_are_nearly_gray_are_left_out_but_where_they_are_wanted() -> None:
    gray, vivid = np.full((20, 30, 3), 128, np.uint8), np.zeros((20, 30, 3), np.uint8)
    vivid[:10] = (250, 30, 30)
    pixels = np.concatenate([gray.ravel(), vivid.ravel(), gray.ravel()])
    index = np.array([(1800 * n, 20, 30) for n in range(3)])
    photos = one_source(pixels, index, hashed(3).hashes, ["new/a.jpg", "new/b.jpg", "old/c.jpg"])
    weights = photo_weights(photos, {"old": 2.0}, {"": 15.0, "old": 0.0})
    assert weights is not None
    assert weights.tolist() == [0, 1, 2]


def test_several_sets_become_one_with_the_pixels_of_each() -> None:
    first, second = (dataclasses.replace(plain_photos(3), names=["a", "b", "c"]) for _ in range(2))
    both = joined({"x": first, "y/z": second})
    assert both.names == ["x/a", "x/b", "x/c", "y/z/a", "y/z/b", "y/z/c"]
    assert len(both) == 6
    assert all(np.array_equal(both.photo(3 + n), second.photo(n)) for n in range(3))
    assert np.shares_memory(both.photo(4), second.photo(1))
    assert joined({"again": both}).photo(5).max() == 2


def test_a_stage_takes_only_photos_large_enough_for_it() -> None:
    index = np.array([(0, 90, 140), (0, 120, 110), (0, 176, 300)])
    photos = one_source(np.zeros(176 * 300 * 3, np.uint8), index, hashed(3).hashes, [])
    everything = np.arange(3)
    assert large_enough(photos, everything, 128, 1.2).tolist() == [1, 2]
    assert large_enough(photos, everything, 128, 1.0).tolist() == [2]
    assert large_enough(photos, everything, 128, 0.0).tolist() == [0, 1, 2]
    with pytest.raises(TrainingInputError, match=r"crops of 256 px: the largest short side is 176 px"):
        large_enough(photos, everything, 256, 1.2)


def test_photos_that_are_held_out_are_refused_wherever_they_lie(photos: Path, tmp_path: Path) -> None:
    photo_set = loaded(photos, tmp_path)
    held_out = tmp_path / "held out" / "deeper"
    held_out.mkdir(parents=True)
    Image.new("RGB", (40, 40), (200, 30, 90)).save(held_out / "other.bmp")
    check_held_out(photo_set, [tmp_path / "held out"])
    shutil.copy(photos / "more" / "3.bmp", held_out / "renamed.bmp")
    with pytest.raises(TrainingInputError, match=r"renamed\.bmp is held out, but more/3\.bmp .* the same picture"):
        check_held_out(photo_set, [tmp_path / "held out"])
    with pytest.raises(TrainingInputError, match="no such folder to hold out"):
        check_held_out(photo_set, [tmp_path / "nowhere"])


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.0, -1.0], [1.0, np.nan], [1.0, np.inf]])
def test_weights_that_make_no_sense_are_a_sentence(weights: list[float]) -> None:
    with pytest.raises(TrainingInputError, match="weights of photos must be 0 or more"):
        next(batches(plain_photos(2), np.arange(2), 32, 4, 0.5, 0, 0, np.array(weights)))


@pytest.mark.parametrize(("count", "digest"), [(9, "e51fc88726ffd403"), (3, "dd7e1a2caa1c655f")])
def test_batches_are_the_same_in_every_version(count: int, digest: str) -> None:
    """So that a run goes on with a newer version as it would have with the old one. Crops that aren't resized."""
    index = np.array([(4608 * n, 32, 48) for n in range(9)])
    pixels = np.random.default_rng(0).integers(0, 256, 9 * 4608, dtype=np.uint8)
    noise = one_source(pixels, index, hashed(9).hashes, [])
    seen = np.stack(list(islice(batches(noise, np.arange(count), 32, 4, 1.0, 3, 5), 2)))
    assert hashlib.sha256(seen.tobytes()).hexdigest()[:16] == digest


def test_hidden_trash_and_thumbnail_folders_are_left_alone_and_counted(photos: Path, tmp_path: Path) -> None:
    expected = loaded(photos, tmp_path).names
    for name in ("@eaDir/0.bmp", ".thumbnails/1.bmp", "more/.trash/2.bmp", ".hidden.bmp"):
        (photos / name).parent.mkdir(exist_ok=True)
        shutil.copy(photos / "0.bmp", photos / name)
    photo_set, rejected = load_photos(photos, 176, tmp_path / "cache")
    assert photo_set.names == expected
    assert (sorted(rejected.hidden.folders), rejected.hidden.photos) == ([".thumbnails", ".trash", "@eaDir"], 1)
    assert load_photos(photos / ".thumbnails", 176, tmp_path / "cache")[0].names == ["1.bmp"], "it was named"
