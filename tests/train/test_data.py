"""Resident data: what of a face set training sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fer_sweep.data import FaceSet
from fer_sweep.errors import DataError
from fer_sweep.train import ResidentData

CPU = torch.device("cpu")


def faces(splits: list[int], labels: list[int]) -> FaceSet:
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None] * np.ones((1, 48, 48), np.uint8)
    return FaceSet(images, np.array(labels), np.array(splits, np.uint8), "my faces", "k" * 16, ())


def test_splits_are_separated_and_unlabelled_images_left_out() -> None:
    data = ResidentData.from_faces(faces([0, 1, 0, 2, 1], [3, 4, -1, 5, 6]), CPU)
    assert data.train.images[:, 0, 0].tolist() == [0]
    assert data.val.images[:, 0, 0].tolist() == [1, 4]
    assert data.val.labels.tolist() == [4, 6]
    assert data.train.images.dtype == torch.uint8
    assert (data.device, data.key, data.source) == (CPU, "k" * 16, "my faces")


@pytest.mark.parametrize(
    ("splits", "labels", "name"),
    [
        pytest.param([0, 0, 2], [1, 2, 3], "val", id="no validation images"),
        pytest.param([0, 1], [1, -1], "val", id="validation images without labels"),
        pytest.param([1, 2], [1, 2], "train", id="no training images"),
    ],
)
def test_an_empty_split_is_named_with_its_source(
    splits: list[int], labels: list[int], name: str
) -> None:
    with pytest.raises(
        DataError, match=rf"my faces: no labelled image in the {name} split.*Use a set"
    ):
        ResidentData.from_faces(faces(splits, labels), CPU)


def test_read_only_memory_maps_are_copied(tmp_path: Path) -> None:
    original = faces([0, 1], [1, 2])
    np.save(tmp_path / "images.npy", original.images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    data = ResidentData.from_faces(
        FaceSet(mapped, original.labels, original.splits, "m", "k", ()), CPU
    )
    data.train.images.zero_()
    assert mapped[1, 0, 0] == 1
