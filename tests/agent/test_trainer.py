"""What the real trainer makes of its device's errors; CUDA's are made up, as most machines have none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fer_sweep.agent.messages import Cause
from fer_sweep.agent.trainer import DataSource, TorchTrainer
from fer_sweep.errors import DeviceError

ASSERTED = "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronous"


@pytest.fixture
def trainer(tmp_path: Path) -> TorchTrainer:
    return TorchTrainer(DataSource("faces:n=320,seed=1", tmp_path / "cache", device="cpu"))


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out-of-memory"),
        (RuntimeError("CUDA error: out of memory\nmore"), "out-of-memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling …"), "out-of-memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out-of-memory"),
        (MemoryError(), "out-of-memory"),
        (RuntimeError(ASSERTED), "exception"),
        (ValueError("out of memory, said a loader"), "exception"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_full_device_is_told_from_other_errors(
    error: Exception, cause: Cause, trainer: TorchTrainer
) -> None:
    assert trainer.cause(error) == cause


def test_a_device_that_is_lost_for_this_process_is_said_to_be(
    trainer: TorchTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(ASSERTED)

    monkeypatch.setattr(trainer, "_device", torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "synchronize", fail)
    with pytest.raises(DeviceError, match=r"device-side assert triggered\). A fresh one goes on"):
        trainer.free_memory()
