"""The data sets that can be named instead of a folder: where they come from, and how they become a PhotoSet."""

import functools
import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bwcolor_training.data import fetch
from bwcolor_training.data.photo_sets import PhotoSet, Rejected, is_gray, joined, load_photos, one_source, reduce_photo
from bwcolor_training.errors import TrainingInputError

from bwcolor.photo.hidden import together

Progress = Callable[[str, int, int], None]  # what is being done, how much of it, of how much (0: nobody knows)


@dataclass(frozen=True, slots=True)
class Dataset:
    """purpose: one sentence. photos: about how many. gigabytes: of the download. licence: as far as its publisher
    states one. page: where to read about it. url: of its archive; "" when it must be unpacked by hand. torchvision:
    the class that reads it, or "". published: what the publisher says of the archive."""

    purpose: str
    photos: int
    gigabytes: float
    licence: str
    page: str
    url: str = ""
    torchvision: str = ""
    published: fetch.Checksum | None = None


DATASETS: dict[str, Dataset] = {
    "cifar10": Dataset(
        "Pictures of 32 px in ten classes of animals and vehicles: a network learns from them within minutes.",
        photos=50_000, gigabytes=0.17, licence="none stated", page="https://www.cs.toronto.edu/~kriz/cifar.html",
        torchvision="CIFAR10",
    ),
    "cifar100": Dataset(
        "Pictures of 32 px in a hundred classes: as quick as cifar10, with more kinds of things.",
        photos=50_000, gigabytes=0.17, licence="none stated", page="https://www.cs.toronto.edu/~kriz/cifar.html",
        torchvision="CIFAR100",
    ),
    "dogs-vs-cats": Dataset(
        "Photos of dogs and cats at about 400 px; unpacked by hand, for its publishers want their terms accepted.",
        photos=25_000, gigabytes=0.8, licence="terms on its page, to be accepted there",
        page="https://www.kaggle.com/c/dogs-vs-cats",
    ),
    "coco-sample": Dataset(
        "The part of COCO with chairs, couches, televisions, books and vases, as fast.ai published it: homes and people"
        " at about 640 px.",
        photos=21_000, gigabytes=3.25, licence="each photo under its own Flickr licence, many non-commercial",
        page="https://cocodataset.org",
        url="https://s3.amazonaws.com/fast-ai-coco/coco_sample.tgz",
        # As fast.ai's own library checks it: the size, and the MD5 of the first MiB (fastai 1.0, datasets.py).
        published=fetch.Checksum("md5", "006cd55d633d94b36ecaf661467830ec", first=1 << 20, size=3_245_877_008),
    ),
    "places205": Dataset(
        "The test photos of MIT Places at 256 px: landscapes, towns and rooms.",
        photos=41_000, gigabytes=2.34, licence="terms on its page",
        page="http://places.csail.mit.edu",
        url="http://data.csail.mit.edu/places/places205/testSetPlaces205_resize.tar.gz",
    ),
}  # fmt: skip


def default_cache() -> Path:
    """Where downloads and decoded photos go: $BWCOLOR_CACHE, or the system's place for such files."""
    if chosen := os.environ.get("BWCOLOR_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local, "bwcolor", "cache")
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (xdg if xdg.is_absolute() else Path.home() / ".cache") / "bwcolor"  # others must be ignored, says XDG


def load(sources: Sequence[str], short_side: int, cache: Path, fit: frozenset[str] | None = None,
         manifests: Sequence[Path] = (), progress: Progress | None = None) -> tuple[PhotoSet, Rejected]:  # fmt: skip
    """The photos of folders, or of data sets, at a short side of `short_side` px or less.

    sources: each a name in DATASETS, or the path of a folder; a folder that has such a name is written ./name. Names of
    photos begin with their source's where there are several. cache: holds what was downloaded (in a folder for each
    data set) and decoded. fit: only photos whose row in one of `manifests` (by default MANIFEST.csv in the folder, or
    up to two above it) has one of these values in its column fit_for_training. Raises TrainingInputError.
    """
    tell = progress or (lambda *_: None)
    if manifests and fit is None:
        raise TrainingInputError("--manifest says which photos are fit for training: add --fit yes, or leave it out.")
    if len(sources) == 1:
        return _load(sources[0], short_side, cache, fit, manifests, tell)
    loaded = {
        name: _load(source, short_side, cache, fit, manifests, tell)
        for name, source in zip(told_apart(sources), sources, strict=True)
    }
    broken = [f"{name}/{photo}" for name, (_, rejected) in loaded.items() for photo in rejected.broken]
    gray, unfit = (sum(getattr(r, what) for _, r in loaded.values()) for what in ("gray", "unfit"))
    hidden = together(rejected.hidden for _, rejected in loaded.values())
    return joined({name: photos for name, (photos, _) in loaded.items()}), Rejected(broken, gray, unfit, hidden)


def told_apart(sources: Sequence[str]) -> list[str]:
    """A name for each source: the last parts of its path, as few as tell it from the others."""
    parts = [Path(source).expanduser().absolute().parts for source in sources]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    twice = next(source for source in sources if sources.count(source) > 1)
    raise TrainingInputError(f"{twice}: named twice. Name each folder of photos once.")


def _load(source: str, short_side: int, cache: Path, fit: frozenset[str] | None, manifests: Sequence[Path],
          tell: Progress) -> tuple[PhotoSet, Rejected]:  # fmt: skip
    """The photos of one source; see `load`."""
    if source in DATASETS:
        if fit is not None:
            raise TrainingInputError(
                f"--fit needs a manifest of photos, and {source} has none ({DATASETS[source].licence});"
                " name a folder of photos, or leave --fit out."
            )
        if DATASETS[source].torchvision:
            return _from_torchvision(source, short_side, cache, tell)
        folder = _from_archive(source, cache, tell) if DATASETS[source].url else _by_hand(source, cache)
    else:
        folder = Path(source).expanduser()
        if not folder.is_dir():
            what = "is a file, not a folder" if folder.is_file() else "no such folder"
            raise TrainingInputError(f"{source}: {what}; the data sets that can be named are {', '.join(DATASETS)}.")
    decoding = functools.partial(tell, f"decoding photos of {source}")
    return load_photos(folder, short_side, cache / "decoded", fit, manifests, decoding)


def _by_hand(name: str, cache: Path) -> Path:
    """A data set that nobody may download for the user: its folder below the working one, or in the cache."""
    places = (Path(name), cache / name)
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise TrainingInputError(
            f"{name}: get it from {DATASETS[name].page} and unpack it to {places[1]}, or name the folder where it is."
        )
    return folder


def _from_archive(name: str, cache: Path, tell: Progress) -> Path:
    """The folder of an archive's photos; fetched and unpacked the first time."""
    dataset = DATASETS[name]
    folder = cache / name / "photos"
    if not folder.is_dir():
        archive = cache / name / dataset.url.rpartition("/")[2]
        fetch.fetch(dataset.url, archive, dataset.published, functools.partial(tell, f"downloading {archive.name}"))
        fetch.unpack(archive, folder, functools.partial(tell, f"unpacking {archive.name}"))
    return folder


def _from_torchvision(name: str, short_side: int, cache: Path, tell: Progress) -> tuple[PhotoSet, Rejected]:
    """The training pictures of CIFAR; those for tests are left for tests."""
    reader = _open_torchvision(name, cache / name, tell)
    kept, hashes, names = [], [], []
    gray = 0
    for number, (picture, label) in enumerate(zip(reader.data, reader.targets, strict=True)):
        if is_gray(picture):
            gray += 1
            continue
        kept.append(reduce_photo(picture, short_side))
        hashes.append(hashlib.sha256(picture.tobytes()).hexdigest())
        names.append(f"{reader.classes[label]}/{number:05d}")
    if not kept:
        raise TrainingInputError(f"{name}: none of its {gray} pictures has colours.")
    pixels = np.stack(kept)  # N, height, width, 3: all have one size
    _, height, width, _ = pixels.shape
    offsets = np.arange(len(kept)) * (height * width * 3)
    index = np.stack([offsets, np.full_like(offsets, height), np.full_like(offsets, width)], 1)
    return one_source(pixels.reshape(-1), index, hashes, names), Rejected([], gray)


def _open_torchvision(name: str, folder: Path, tell: Progress) -> Any:
    """A torchvision data set, downloaded the first time: by `fetch`, which resumes and has time limits, so that
    torchvision finds the archive in its place, checks it and unpacks it."""
    from torchvision import datasets as torchvision_datasets

    reader = getattr(torchvision_datasets, DATASETS[name].torchvision)
    try:
        return reader(folder, train=True)
    except RuntimeError:  # what it says when there is nothing, or something incomplete
        archive = folder / reader.filename
        published = fetch.Checksum("md5", reader.tgz_md5)
        fetch.fetch(reader.url, archive, published, functools.partial(tell, f"downloading {archive.name}"))
    try:
        with fetch.only_one(folder / reader.base_folder):
            return reader(folder, train=True, download=True)
    except (OSError, EOFError, RuntimeError) as error:
        raise TrainingInputError(f"{folder}: {name} can't be unpacked there ({error}).") from error
