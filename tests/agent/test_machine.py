"""What NVML says about the GPUs, also when it says little."""

from __future__ import annotations

import pynvml
import pytest

from fer_sweep.agent.machine import Gpu, this_machine


def lost(*_: object) -> None:
    raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)


@pytest.fixture
def three_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVML with three GPUs, of which the second is lost and the third has a memory it will not tell."""

    def uuid(handle: int) -> bytes:
        if handle == 1:
            lost()
        return f"GPU-{handle}".encode()

    unsupported = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    answers = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 3,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetUUID": uuid,
        "nvmlDeviceGetName": lambda _: "NVIDIA GB10",
    }
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, answer)

    def not_supported(*_: object) -> None:
        raise unsupported

    for name in ("nvmlDeviceGetMemoryInfo", "nvmlDeviceGetMaxMigDeviceCount"):
        monkeypatch.setattr(pynvml, name, not_supported)


@pytest.mark.usefixtures("three_gpus")
def test_a_lost_gpu_leaves_the_others_under_their_own_index() -> None:
    assert this_machine().gpus == (Gpu(0, "GPU-0", "NVIDIA GB10"), Gpu(2, "GPU-2", "NVIDIA GB10"))


@pytest.mark.usefixtures("three_gpus")
@pytest.mark.parametrize("call", ["nvmlInit", "nvmlDeviceGetCount"])
def test_nvml_that_fails_as_a_whole_is_no_gpu(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynvml, call, lost)
    assert this_machine().gpus == ()
