"""The images of a data set, resident on the device for the life of a process."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fer_sweep.data import CLASSES, FaceSet, stratified_subset
from fer_sweep.errors import ConfigError, DataError

SUBSET_SEED = 0
"""One draw for all trials, so that they differ in what they were asked to differ in."""


@dataclass(frozen=True)
class Split:
    """Images and labels on the device.

    Attributes:
        images: Faces, uint8, shape ``(N, 48, 48)``.
        labels: Positions in ``data.CLASSES``, int64, shape ``(N,)``.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def stratified(self, size: int) -> Split:
        """``size`` images in the class proportions of the split; all of it when ``size`` is its own."""
        if size == len(self):
            return self
        rows = torch.from_numpy(stratified_subset(self.labels.cpu().numpy(), size, SUBSET_SEED))
        rows = rows.to(self.labels.device)
        return Split(self.images[rows], self.labels[rows])


@dataclass(frozen=True)
class ResidentData:
    """Train and validation images on one device: 75 MB for all of FER2013.

    Attributes:
        train: All labelled training images.
        val: All labelled validation images.
        key: Content hash of the face set they come from.
        source: Where that came from, as the user would recognise it.
    """

    train: Split
    val: Split
    key: str
    source: str

    @classmethod
    def from_faces(cls, faces: FaceSet, device: torch.device) -> ResidentData:
        """Copy the train and val splits to a device.

        Raises:
            DataError: If either split has no labelled image.
        """
        splits = {}
        for name in ("train", "val"):
            rows = faces.indices(name)
            if not len(rows):
                raise DataError(
                    f"{faces.source}: no labelled image in the {name} split (got {len(faces.labels)} "
                    "images in all). Use a set with Training and PublicTest images, or one large "
                    "enough to split."
                )
            splits[name] = Split(
                torch.from_numpy(faces.images[rows]).to(device),
                torch.from_numpy(faces.labels[rows]).to(device),
            )
        return cls(splits["train"], splits["val"], key=faces.key, source=faces.source)

    @property
    def device(self) -> torch.device:
        """Where the images are, and training happens."""
        return self.train.images.device

    def training_images(self, train_size: int) -> Split:
        """What one trial trains on.

        Args:
            train_size: Number of images, in class proportions; 0 takes all.

        Raises:
            ConfigError: If there are fewer images, or fewer were asked for than there are classes.
        """
        if train_size == 0:
            return self.train
        if not len(CLASSES) <= train_size <= len(self.train):
            raise ConfigError(
                f"train_size: must be 0 (all) or {len(CLASSES)} to {len(self.train)}, the training "
                f"images of {self.source} (got {train_size}). Lower train_size or use more data."
            )
        return self.train.stratified(train_size)
