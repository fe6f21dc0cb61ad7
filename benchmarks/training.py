"""The whole training loop against the idiomatic script: Dataset, DataLoader, transforms on PIL, fp32.

    python benchmarks/training.py [--rounds 3] [--archs cnn1,cnn4_bn,resnet18_w32]
    python benchmarks/training.py --accuracy --seeds 3

One thread each. Every side is a process of its own, because the malloc settings that agents start their
workers with must be there before the process is; the script is measured with and without them. Rounds
alternate between the sides; prints median images/s and ratios. ``--accuracy`` trains the same network
in float32 and bf16 on procedural faces instead, and compares validation accuracy over seeds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

BATCH = 128
MALLOC = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "2147483647",
    "MALLOC_TOP_PAD_": "268435456",
}
SIDES = {
    "script": ("script", {}),
    "script, malloc set": ("script", MALLOC),
    "fersweep": ("fersweep", MALLOC),
}
SEGMENT_IMAGES = {"cnn1": 3840, "cnn4_bn": 1280}
DEFAULT_SEGMENT = 384


def segment_size(arch: str) -> int:
    """Images of one measured segment: a second or two of work."""
    return SEGMENT_IMAGES.get(arch, DEFAULT_SEGMENT)


# -- one side, in its own process: each line on stdin runs a segment, its rate is printed ------------


def script_segments(arch: str) -> Iterator[float]:
    """What a tutorial does: one PIL image at a time, contiguous fp32, ``loss.item()`` every step."""
    import numpy as np
    import torch
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    from fer_sweep.train.models import build_model

    pixels, labels = random_faces(segment_size(arch))
    transform = transforms.Compose(
        [
            transforms.ToPILImage(),
            transforms.RandomHorizontalFlip(),
            transforms.RandomRotation(10),
            transforms.ToTensor(),
            transforms.Normalize([0.5077], [0.2551]),
        ]
    )

    class Faces(Dataset[tuple[torch.Tensor, int]]):
        def __len__(self) -> int:
            return len(labels)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return transform(np.asarray(pixels[index])), int(labels[index])

    loader = DataLoader(Faces(), batch_size=BATCH, shuffle=True)
    torch.set_num_threads(1)
    model = build_model(arch, dropout=0).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = torch.nn.CrossEntropyLoss()
    while True:
        start, running, correct = time.perf_counter(), 0.0, 0
        for images, targets in loader:
            optimizer.zero_grad()
            outputs = model(images)
            loss = criterion(outputs, targets)
            loss.backward()
            optimizer.step()
            running += loss.item()
            correct += (outputs.argmax(1) == targets).sum().item()
        yield len(labels) / (time.perf_counter() - start)


def fersweep_segments(arch: str) -> Iterator[float]:
    """``train()`` itself; the rate excludes evaluation, as the script has none."""
    import torch

    from fer_sweep.train.data import ResidentData, Split
    from fer_sweep.train.loop import train
    from fer_sweep.train_config import TrainConfig

    torch.set_num_threads(1)
    pixels, labels = random_faces(segment_size(arch))
    everything = Split(torch.from_numpy(pixels), torch.from_numpy(labels))
    few = Split(everything.images[:8], everything.labels[:8])
    data = ResidentData(everything, few, key="benchmark", source="noise")
    config = TrainConfig.from_parameters(
        {"arch": arch, "augment": "readme", "batch_size": BATCH, "epochs": 1}, where="benchmark"
    )
    while True:
        rows: list[dict[str, float]] = []
        train(config, data, rows.append, lambda: False)
        yield rows[0]["images_per_s"]


def random_faces(count: int) -> tuple[Any, Any]:
    import numpy as np

    random = np.random.default_rng(0)
    return random.integers(0, 256, (count, 48, 48), dtype=np.uint8), random.integers(0, 7, count)


def serve_side(side: str, arch: str) -> None:
    segments: dict[str, Callable[[str], Iterator[float]]] = {
        "script": script_segments,
        "fersweep": fersweep_segments,
    }
    rates = segments[side](arch)
    next(rates)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(next(rates), flush=True)


# -- the comparison -----------------------------------------------------------------------------------


def start_side(side: str, arch: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, "--side", side, "--archs", arch],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def ask(process: subprocess.Popen[str], line: str = "") -> str:
    """Send a line (if any) and wait for the answer."""
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the side has no pipes")
    if line:
        process.stdin.write(line + "\n")
        process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit(f"a side ended early with exit code {process.wait()}")
    return answer.strip()


def compare_speed(arch: str, rounds: int) -> None:
    processes = {name: start_side(side, arch, env) for name, (side, env) in SIDES.items()}
    rates: dict[str, list[float]] = {name: [] for name in SIDES}
    try:
        for process in processes.values():
            ask(process)
        for _ in range(rounds):
            for name, process in processes.items():
                rates[name].append(float(ask(process, "go")))
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    base = statistics.median(rates["script"])
    for name, values in rates.items():
        middle = statistics.median(values)
        spread = f"({min(values):,.0f}-{max(values):,.0f})"
        print(
            f"{arch:18s} {name:20s} {middle:8,.0f} images/s {spread:16s} {middle / base:5.2f}x",
            flush=True,
        )


def compare_accuracy(arch: str, seeds: int, images: int, epochs: int) -> None:
    import torch

    from fer_sweep.data import load_faces
    from fer_sweep.train import ResidentData, train
    from fer_sweep.train.device import Format
    from fer_sweep.train_config import TrainConfig

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as cache:
        faces = load_faces(f"faces:n={images}", cache=Path(cache))
        data = ResidentData.from_faces(faces, torch.device("cpu"))
    formats: tuple[Format, Format] = ("fp32", "bf16")
    best: dict[Format, list[float]] = {name: [] for name in formats}
    for seed in range(seeds):
        for name in formats:
            parameters = {"arch": arch, "augment": "readme", "epochs": epochs, "seed": seed}
            config = TrainConfig.from_parameters(parameters, where="benchmark")
            result = train(config, data, lambda _: None, lambda: False, number_format=name)
            best[name].append(result.summary["best/val_accuracy"])
    for name, values in best.items():
        deviation = statistics.stdev(values) if seeds > 1 else float("nan")
        print(
            f"{arch:18s} {name} best val accuracy {statistics.mean(values):.3f} +- {deviation:.3f}"
        )
    differences = [half - full for full, half in zip(best["fp32"], best["bf16"], strict=True)]
    spread = statistics.stdev(differences) / seeds**0.5 if seeds > 1 else float("nan")
    print(
        f"{arch:18s} bf16 - fp32 {statistics.mean(differences):+.3f} +- {spread:.3f} (standard error), "
        f"{seeds} seeds, {epochs} epochs, {len(data.train)} train and {len(data.val)} val faces"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--archs", default="cnn1,cnn4_bn,resnet18_w32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--accuracy", action="store_true", help="compare bf16 with float32 instead")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=3000, help="procedural faces for --accuracy")
    parser.add_argument("--epochs", type=int, default=8, help="for --accuracy")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    archs = options.archs.split(",")
    if options.side:
        serve_side(options.side, archs[0])
    elif options.accuracy:
        for arch in archs:
            compare_accuracy(arch, options.seeds, options.images, options.epochs)
    else:
        for arch in archs:
            compare_speed(arch, options.rounds)


if __name__ == "__main__":
    main()
