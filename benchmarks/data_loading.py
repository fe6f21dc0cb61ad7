"""Load fer2013.csv: ours (cold, cached) against torchvision's way and a plain csv loop.

    python benchmarks/data_loading.py [--images 35887] [--rounds 3]

The file has procedural faces in Kaggle's exact format. torchvision pins the MD5 of the published file, so
its table gets the MD5 of ours; everything else it does, the checksum included, is as for the real file.
Its "test" split is loaded too, because ours loads all splits. Rounds alternate, the file is in the page
cache for everybody, and all results are compared pixel by pixel before anything is timed.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torchvision.datasets import FER2013

from fer_sweep.data import load_faces
from fer_sweep.data.faces import make_faces, write_csv

Images = NDArray[np.uint8]


def load_with_torchvision(root: Path) -> Images:
    splits = [FER2013(root, split=split) for split in ("train", "test")]
    return np.stack([image.numpy() for split in splits for image, _ in split._samples])


def load_with_csv_loop(path: Path) -> Images:
    with path.open(newline="") as stream:
        rows = [np.array(row["pixels"].split(), np.uint8) for row in csv.DictReader(stream)]
    return np.stack(rows).reshape(-1, 48, 48)


def load_cold(path: Path, cache: Path) -> Images:
    shutil.rmtree(cache, ignore_errors=True)
    return np.array(load_faces(str(path), cache=cache).images)


def load_cached(path: Path, cache: Path) -> Images:
    # A mapping that nobody touches reads nothing: np.array copies every pixel.
    return np.array(load_faces(str(path), cache=cache).images)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=35887)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), options.images, options.rounds)


def run(folder: Path, images: int, rounds: int) -> None:
    path = folder / "fer2013" / "fer2013.csv"
    write_csv(make_faces(images), path)
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    FER2013._RESOURCES = {**FER2013._RESOURCES, "fer": (path.name, md5)}
    contenders: dict[str, Callable[[], Images]] = {
        "torchvision.datasets.FER2013, both splits": lambda: load_with_torchvision(folder),
        "csv.DictReader and numpy": lambda: load_with_csv_loop(path),
        "fersweep, cold: parse, check, write the cache": lambda: load_cold(path, folder / "cold"),
        "fersweep, cached, every pixel copied": lambda: load_cached(path, folder / "warm"),
    }
    check_equal(contenders)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, load in contenders.items():
            start = time.perf_counter()
            load()
            seconds[name].append(time.perf_counter() - start)
    size_mb = path.stat().st_size / 1e6
    print(
        f"{images} images, {size_mb:.0f} MB of CSV, {rounds} alternating rounds: median (range) and ratio"
    )
    baseline = next(iter(seconds.values()))
    for name, times in seconds.items():
        ratios = [slow / own for slow, own in zip(baseline, times, strict=True)]
        print(
            f"{name:<48} {statistics.median(times):8.3f} s ({min(times):.3f}-{max(times):.3f})"
            f"{statistics.median(ratios):8.1f} x ({min(ratios):.1f}-{max(ratios):.1f})"
        )


def check_equal(contenders: dict[str, Callable[[], Images]]) -> None:
    """Everybody must load the same pixels; also warms the page cache and fills the warm cache."""
    expected, *others = (load() for load in contenders.values())
    for images in others:
        np.testing.assert_array_equal(images, expected)


if __name__ == "__main__":
    main()
