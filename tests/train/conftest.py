"""Fixtures of the training tests: procedural faces on the CPU, and one thread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from fer_sweep.data import FaceSet
from fer_sweep.train import ResidentData


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Same rows everywhere, and no fight for the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def data(faces_small: FaceSet) -> ResidentData:
    """256 training and 32 validation faces."""
    return ResidentData.from_faces(faces_small, torch.device("cpu"))
