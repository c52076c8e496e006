"""Data sets by name: the real loading code on small archives from a local server."""

import hashlib
import io
import pickle
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bwcolor_training.data import fetch as fetch_module
from bwcolor_training.data.datasets import DATASETS, default_cache, load, told_apart
from bwcolor_training.errors import TrainingInputError
from numpy.typing import NDArray
from PIL import Image
from torchvision import datasets as torchvision_datasets
from training.local_server import Server, running


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fetch_module, "PAUSE", 0.0)
    with running() as server:
        yield server


def packed(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as out:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def jpeg(number: int, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    colour = (200, 20 * number, 40) if mode == "RGB" else 20 * number
    Image.new(mode, (60, 40), colour).save(buffer, "JPEG")
    return buffer.getvalue()


# As the publishers pack them: one folder of photos; COCO's beside its annotations.
ARCHIVES = {
    "coco-sample": {
        "coco_sample/annotations/train_sample.json": b"{}",
        "coco_sample/train_sample/000000000009.jpg": jpeg(1),
        "coco_sample/train_sample/000000000025.jpg": jpeg(2),
        "coco_sample/train_sample/000000000030.jpg": jpeg(3, "L"),
    },
    "places205": {
        "testSet_resize/b4ef54a2d5b9b7b1.jpg": jpeg(1),
        "testSet_resize/0a1b.jpg": jpeg(2),
        "testSet_resize/broken.jpg": b"no photo",
    },
}
NAMES = {
    "coco-sample": ["coco_sample/train_sample/000000000009.jpg", "coco_sample/train_sample/000000000025.jpg"],
    "places205": ["testSet_resize/0a1b.jpg", "testSet_resize/b4ef54a2d5b9b7b1.jpg"],
}


@pytest.fixture(params=ARCHIVES)
def archive(request: pytest.FixtureRequest, server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a data set whose archive the local server has, a small one."""
    name = str(request.param)
    dataset = DATASETS[name]
    content = packed(ARCHIVES[name])
    path = "/" + dataset.url.rpartition("/")[2]
    server.files[path] = content
    published = dataset.published
    if published is not None:
        first = hashlib.new(published.algorithm, content[: published.first]).hexdigest()
        published = replace(published, value=first, size=len(content))
    monkeypatch.setitem(DATASETS, name, replace(dataset, url=server.url + path, published=published))
    return name


def test_an_archive_is_fetched_unpacked_and_decoded_once(archive: str, server: Server, tmp_path: Path) -> None:
    said: list[str] = []
    for _ in range(2):
        photos, rejected = load([archive], 32, tmp_path, progress=lambda what, done, total: said.append(what))
        assert photos.names == NAMES[archive]
        assert photos.photo(0).shape == (32, 48, 3)
        assert (rejected.gray, len(rejected.broken)) == ((1, 0) if archive == "coco-sample" else (0, 1))
    assert server.asked == [""]
    name = DATASETS[archive].url.rpartition("/")[2]
    assert list(dict.fromkeys(said)) == [f"downloading {name}", f"unpacking {name}", f"decoding photos of {archive}"]


def test_the_archive_is_not_needed_once_it_is_unpacked(archive: str, server: Server, tmp_path: Path) -> None:
    load([archive], 32, tmp_path)
    for path in (tmp_path / archive).glob("*.t*gz"):
        path.unlink()
    server.files.clear()
    assert load([archive], 16, tmp_path)[0].names == NAMES[archive]


def test_an_archive_put_there_by_hand_is_taken(archive: str, server: Server, tmp_path: Path) -> None:
    path = "/" + DATASETS[archive].url.rpartition("/")[2]
    (tmp_path / archive).mkdir()
    (tmp_path / archive / path[1:]).write_bytes(server.files.pop(path))
    assert load([archive], 32, tmp_path)[0].names == NAMES[archive]
    assert server.asked == []


def test_an_archive_that_has_moved_says_where_to_put_it(archive: str, server: Server, tmp_path: Path) -> None:
    server.files.clear()
    with pytest.raises(TrainingInputError) as caught:
        load([archive], 32, tmp_path)
    for part in (DATASETS[archive].url, "404", str(tmp_path / archive), "a folder of photos"):
        assert part in str(caught.value)


@pytest.mark.parametrize("archive", ["coco-sample"], indirect=True)  # the one whose publisher gives a checksum
def test_an_archive_that_is_none_of_its_publisher_is_refused(archive: str, server: Server, tmp_path: Path) -> None:
    for path in list(server.files):
        server.files[path] = packed({"evil.jpg": jpeg(1)})
    with pytest.raises(TrainingInputError, match="not what its publisher says"):
        load([archive], 32, tmp_path)


def pictures(count: int, seed: int) -> NDArray[np.uint8]:
    """As CIFAR keeps them: a row each, 1024 values of red, then green, then blue. The last one is gray."""
    rows = np.random.default_rng(seed).integers(0, 256, (count, 3, 1024), dtype=np.uint8)
    rows[-1] = rows[-1, :1]
    return rows.reshape(count, 3072)


def cifar(name: str) -> tuple[dict[str, bytes], NDArray[np.uint8]]:
    """Files of a small data set in CIFAR's format, and its training pictures (N, 32, 32, 3), RGB."""
    key = "labels" if name == "cifar10" else "fine_labels"
    parts = [f"data_batch_{n}" for n in range(1, 6)] if name == "cifar10" else ["train"]
    names = b"batches.meta" if name == "cifar10" else b"meta"
    words = {("label_names" if name == "cifar10" else "fine_label_names"): ["bear", "ship", "tree"]}
    rows = {part: pictures(3, seed) for seed, part in enumerate(parts)}
    test = "test_batch" if name == "cifar10" else "test"
    files = {part: {"data": some, key: [0, 1, 2]} for part, some in (rows | {test: pictures(3, 99)}).items()}
    packed_files = {part: pickle.dumps(content) for part, content in files.items()}
    packed_files[names.decode()] = pickle.dumps(words)
    whole = np.concatenate(list(rows.values())).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return packed_files, whole


@pytest.fixture(params=["cifar10", "cifar100"])
def cifar_name(request: pytest.FixtureRequest, server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a data set of torchvision's, whose addresses and checksums lead to a small one."""
    name = str(request.param)
    reader = getattr(torchvision_datasets, DATASETS[name].torchvision)
    files, _ = cifar(name)
    content = packed({f"{reader.base_folder}/{file}": some for file, some in files.items()})
    server.files[f"/{reader.filename}"] = content
    monkeypatch.setattr(reader, "url", f"{server.url}/{reader.filename}")
    monkeypatch.setattr(reader, "tgz_md5", hashlib.md5(content).hexdigest())
    for attribute in ("train_list", "test_list"):
        sums = [[file, hashlib.md5(files[file]).hexdigest()] for file, _ in getattr(reader, attribute)]
        monkeypatch.setattr(reader, attribute, sums)
    meta = reader.meta | {"md5": hashlib.md5(files[reader.meta["filename"]]).hexdigest()}
    monkeypatch.setattr(reader, "meta", meta)
    return name


def test_cifar_is_downloaded_once_and_read(cifar_name: str, server: Server, tmp_path: Path) -> None:
    _, expected = cifar(cifar_name)
    for _ in range(2):
        photos, rejected = load([cifar_name], 176, tmp_path)
        assert server.asked == [""]
        colour = [number for number in range(len(expected)) if number % 3 != 2]
        assert (len(photos), rejected.gray, rejected.broken) == (len(colour), len(expected) // 3, [])
        for number, original in enumerate(colour):
            assert np.array_equal(photos.photo(number), expected[original])
            assert photos.hashes[number] == hashlib.sha256(expected[original].tobytes()).hexdigest()
        assert photos.names[:3] == ["bear/00000", "ship/00001", "bear/00003"][: len(photos)]


def test_cifar_is_reduced_where_it_is_asked_for(cifar_name: str, tmp_path: Path) -> None:
    assert load([cifar_name], 16, tmp_path)[0].photo(1).shape == (16, 16, 3)


def test_a_broken_download_of_cifar_goes_on(cifar_name: str, server: Server, tmp_path: Path) -> None:
    server.breaks = [500]
    assert len(load([cifar_name], 32, tmp_path)[0]) > 1
    assert server.asked == ["", "bytes=500-"]


def test_damaged_files_of_cifar_are_unpacked_again(cifar_name: str, server: Server, tmp_path: Path) -> None:
    expected = load([cifar_name], 32, tmp_path)[0]
    damaged = next((tmp_path / cifar_name).rglob("*train*" if cifar_name == "cifar100" else "data_batch_1"))
    damaged.write_bytes(b"damaged")
    assert load([cifar_name], 32, tmp_path)[0].hashes == expected.hashes
    assert server.asked == [""]


def test_cifar_without_a_server_is_a_sentence(cifar_name: str, server: Server, tmp_path: Path) -> None:
    server.files.clear()
    with pytest.raises(TrainingInputError, match=rf"python\.tar\.gz: the server answers 404 .*{cifar_name}"):
        load([cifar_name], 32, tmp_path)


def test_cifar_of_another_publisher_is_refused(cifar_name: str, server: Server, tmp_path: Path) -> None:
    for path in list(server.files):
        server.files[path] += b"more"
    with pytest.raises(TrainingInputError, match="not what its publisher says"):
        load([cifar_name], 32, tmp_path)


def test_the_addresses_of_torchvision_are_still_there() -> None:
    for dataset in DATASETS.values():
        if dataset.torchvision:
            reader = getattr(torchvision_datasets, dataset.torchvision)
            assert reader.url.startswith("https://")
            assert len(reader.tgz_md5) == 32
            assert reader.filename == reader.url.rpartition("/")[2]


def test_dogs_vs_cats_is_unpacked_by_hand(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "cache" / "dogs-vs-cats"
    with pytest.raises(
        TrainingInputError, match=rf"get it from https://.* and unpack it to {place}, or name the folder"
    ):
        load(["dogs-vs-cats"], 176, tmp_path / "cache")
    place.parent.mkdir()
    photos.rename(place)
    assert len(load(["dogs-vs-cats"], 176, tmp_path / "cache")[0]) == 8
    place.rename(tmp_path / "dogs-vs-cats")
    assert len(load(["dogs-vs-cats"], 176, tmp_path / "cache")[0]) == 8


def test_a_folder_is_taken(photos: Path, tmp_path: Path) -> None:
    photo_set, _ = load([str(photos)], 176, tmp_path / "cache")
    assert len(photo_set) == 8
    assert {path.parent.name for path in (tmp_path / "cache").rglob("*.u8")} == {"decoded"}


def test_a_path_is_a_folder_and_a_name_a_data_set(
    photos: Path, tmp_path: Path, cifar_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photos.rename(tmp_path / cifar_name)
    assert load([f"./{cifar_name}"], 176, tmp_path / "cache")[0].names[0] == "0.bmp"
    assert load([cifar_name], 176, tmp_path / "cache")[0].names[0] == "bear/00000"


def test_only_what_the_manifest_clears_is_taken(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "MANIFEST.csv").write_text("path,fit_for_training\nphotos/0.bmp,yes\nphotos/2.bmp,unclear\n")
    photo_set, rejected = load([str(photos)], 176, tmp_path / "cache", frozenset({"yes"}))
    assert (photo_set.names, rejected.unfit) == (["0.bmp"], 7)
    both = frozenset({"yes", "unclear"})
    assert len(load([str(photos)], 176, tmp_path / "cache", both, [tmp_path / "MANIFEST.csv"])[0]) == 2


@pytest.mark.parametrize(
    ("source", "fit", "manifest", "message"),
    [
        (
            "cifar-10",
            False,
            False,
            r"cifar-10: no such folder; .* are cifar10, cifar100, dogs-vs-cats, coco-sample, plac",
        ),
        ("photos/0.bmp", False, False, r"photos/0\.bmp: is a file, not a folder"),
        ("cifar10", True, False, r"--fit needs a manifest of photos, and cifar10 has none"),
        ("photos", False, True, r"--manifest says .* add --fit yes"),
        ("photos", True, False, r"no MANIFEST\.csv there"),
    ],
)
def test_what_does_not_fit_is_a_sentence(photos: Path, tmp_path: Path, source: str, fit: bool, manifest: bool,
                                         message: str, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainingInputError, match=message):
        load([source], 176, tmp_path, frozenset({"yes"}) if fit else None, [photos / "list.csv"] if manifest else [])


def test_several_folders_are_one_set_each_with_its_manifest(photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "photos"
    shutil.copytree(photos, other)
    (other / "MANIFEST.csv").write_text("path,fit_for_training\n1.bmp,yes\nmore/3.bmp,yes\n")
    (photos / "MANIFEST.csv").write_text("path,fit_for_training\n0.bmp,yes\n")
    sources = [str(photos), str(other)]
    names = told_apart(sources)
    assert names == [f"{photos.parent.name}/photos", "elsewhere/photos"]
    photo_set, rejected = load(sources, 176, tmp_path / "cache", frozenset({"yes"}))
    assert photo_set.names == [f"{names[0]}/0.bmp", "elsewhere/photos/more/3.bmp"]
    assert rejected.unfit == 7 + 7
    assert len(load(sources, 176, tmp_path / "cache")[0]) == 16
    with pytest.raises(TrainingInputError, match="named twice"):
        load([str(photos), str(photos)], 176, tmp_path / "cache")


def test_the_registry_says_what_a_user_wants_to_know() -> None:
    for name, dataset in DATASETS.items():
        assert name == name.lower()
        assert dataset.purpose.endswith(".")
        assert dataset.page.startswith("http")
        assert dataset.licence
        assert dataset.photos > 0
        assert dataset.gigabytes > 0


CACHES: list[tuple[str, dict[str, str], Callable[[Path], Path]]] = [
    ("linux", {}, lambda home: home / ".cache" / "bwcolor"),
    ("linux", {"XDG_CACHE_HOME": "/fast"}, lambda _: Path("/fast/bwcolor")),
    ("linux", {"XDG_CACHE_HOME": "relative"}, lambda home: home / ".cache" / "bwcolor"),
    ("linux", {"XDG_CACHE_HOME": "/fast", "BWCOLOR_CACHE": "~/big"}, lambda home: home / "big"),
    ("win32", {"LOCALAPPDATA": "/users/me/local"}, lambda _: Path("/users/me/local/bwcolor/cache")),
    ("win32", {}, lambda home: home / ".cache" / "bwcolor"),
]


@pytest.mark.parametrize(("platform", "environment", "expected"), CACHES)
def test_the_cache_is_where_the_system_wants_it(platform: str, environment: dict[str, str], tmp_path: Path,
                                                expected: Callable[[Path], Path],
                                                monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    for name in ("BWCOLOR_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)} | environment).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert default_cache() == expected(tmp_path)
