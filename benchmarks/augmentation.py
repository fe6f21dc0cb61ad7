"""Flip, rotate within ±10° and normalise: the batched ``readme`` policy against torchvision on PIL.

    python benchmarks/augmentation.py [--rounds 7]

One thread each, in alternating rounds on the same 512 images; prints images/s and the ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torchvision import transforms

from fer_sweep.train.augment import PIXEL_MEAN, PIXEL_STD, augment

IMAGES, BATCH = 512, 128


def build_pil_way(images: torch.Tensor) -> Callable[[], object]:
    """The usual script: PIL images in, one transform at a time, stacked into batches."""
    pictures = [transforms.functional.to_pil_image(image) for image in images]
    pipeline = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.RandomRotation(10),
            transforms.ToTensor(),
            transforms.Normalize([PIXEL_MEAN], [PIXEL_STD]),
        ]
    )

    def run() -> object:
        return [
            torch.stack([pipeline(picture) for picture in pictures[start : start + BATCH]])
            for start in range(0, IMAGES, BATCH)
        ]

    return run


def build_batched_way(images: torch.Tensor) -> Callable[[], object]:
    """Ours: uint8 batches in, one table look-up."""
    generator = torch.Generator().manual_seed(0)

    def run() -> object:
        return [
            augment(images[start : start + BATCH], "readme", generator)
            for start in range(0, IMAGES, BATCH)
        ]

    return run


def images_per_s(run: Callable[[], object], seconds: float) -> float:
    start, passes = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        run()
        passes += 1
    return passes * IMAGES / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.7, help="of each side in each round")
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = torch.randint(0, 256, (IMAGES, 48, 48), dtype=torch.uint8)
    sides = {
        "torchvision on PIL": build_pil_way(images),
        "fersweep, batched": build_batched_way(images),
    }
    for run in sides.values():
        run()
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, run in sides.items():
            rates[name].append(images_per_s(run, options.seconds))
    for name, values in rates.items():
        print(
            f"{name:20s} {statistics.median(values):10,.0f} images/s ({min(values):,.0f}-{max(values):,.0f})"
        )
    ratios = [ours / theirs for theirs, ours in zip(*rates.values(), strict=True)]
    print(
        f"ratio {statistics.median(ratios):.1f} ({min(ratios):.1f}-{max(ratios):.1f}), {options.rounds} rounds, 1 thread"
    )


if __name__ == "__main__":
    main()
