"""Which workers run where, decided from the environment and what the machine has."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from fer_sweep.agent.machine import Gpu, Machine, this_machine
from fer_sweep.agent.slots import plan_slots
from fer_sweep.errors import ConfigError, DeviceError

MIG = "MIG-11111111-aaaa"
TWO_GPUS = Machine(
    gpus=(
        Gpu(0, "GPU-aaaa0000-1", "NVIDIA A100"),
        Gpu(1, "GPU-bbbb1111-2", "NVIDIA A100", (MIG,)),
    ),
    cores=8,
    memory_gb=64.0,
)
NO_GPU = Machine(gpus=(), cores=4, memory_gb=64.0)


def tokens(**request: object) -> list[str]:
    environ = request.pop("environ", {})
    plan = plan_slots(machine=TWO_GPUS, environ=environ, **request)  # type: ignore[arg-type]
    return [slot.env["CUDA_VISIBLE_DEVICES"] for slot in plan.slots]


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        pytest.param(None, ["0", "1"], id="nothing asked takes all"),
        pytest.param("all", ["0", "1"], id="all"),
        pytest.param("1", ["1"], id="one index"),
        pytest.param("1, 0", ["1", "0"], id="order is kept"),
        pytest.param("01", ["1"], id="index with a leading zero"),
        pytest.param("GPU-bbbb1111-2", ["1"], id="uuid"),
        pytest.param("GPU-bbbb", ["1"], id="beginning of a uuid, as CUDA takes it"),
        pytest.param(f"0,{MIG}", ["0", MIG], id="MIG slice"),
    ],
)
def test_each_worker_sees_one_device(gpus: str | None, expected: list[str]) -> None:
    assert tokens(gpus=gpus) == expected


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        pytest.param(None, ["GPU-x", "GPU-y"], id="nothing asked takes the allocation"),
        pytest.param("1", ["GPU-y"], id="an index counts within the allocation"),
        pytest.param("GPU-x", ["GPU-x"], id="a uuid of the allocation"),
    ],
)
def test_an_allocation_that_nvml_cannot_check_is_taken_verbatim(
    gpus: str | None, expected: list[str]
) -> None:
    environ = {"CUDA_VISIBLE_DEVICES": "GPU-x,GPU-y"}
    plan = plan_slots(gpus=gpus, machine=NO_GPU, environ=environ)
    assert [slot.env["CUDA_VISIBLE_DEVICES"] for slot in plan.slots] == expected
    assert {slot.device for slot in plan.slots} == {"cuda"}


@pytest.mark.parametrize("allocation", ["5", "0,2", "GPU-cccc"])
def test_an_allocation_of_gpus_that_are_not_there_is_refused(allocation: str) -> None:
    with pytest.raises(DeviceError, match=r"^CUDA_VISIBLE_DEVICES=.*\(got 0, 1\).*--gpus none"):
        tokens(environ={"CUDA_VISIBLE_DEVICES": allocation})


def test_an_allocations_own_order_of_devices_is_kept() -> None:
    plan = plan_slots(machine=TWO_GPUS, environ={"CUDA_VISIBLE_DEVICES": "1,0"})
    assert all("CUDA_DEVICE_ORDER" not in slot.env for slot in plan.slots)


def test_an_index_is_nvmls_where_a_gpu_does_not_answer() -> None:
    second = Machine(TWO_GPUS.gpus[1:], cores=8, memory_gb=64.0)
    plan = plan_slots(gpus="1", machine=second, environ={})
    assert plan.slots[0].env["CUDA_VISIBLE_DEVICES"] == "1"
    with pytest.raises(DeviceError, match=r"no GPU 0\. There is 1"):
        plan_slots(gpus="0", machine=second, environ={})


def test_slots_of_similar_uuids_have_labels_of_their_own() -> None:
    environ = {"CUDA_VISIBLE_DEVICES": "MIG-11111111-aaaa,MIG-11111111-bbbb"}
    plan = plan_slots(machine=NO_GPU, environ=environ)
    assert [slot.label for slot in plan.slots] == ["MIG-11111111-a", "MIG-11111111-b"]


def test_devices_are_counted_in_pci_order() -> None:
    plan = plan_slots(gpus="0", machine=TWO_GPUS, environ={})
    assert plan.slots[0].env["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert plan.on_gpu


def test_a_gpu_outside_the_allocation_is_refused() -> None:
    with pytest.raises(DeviceError, match=r"no GPU 2 in CUDA_VISIBLE_DEVICES=1,0\. There are 0, 1"):
        tokens(gpus="2", environ={"CUDA_VISIBLE_DEVICES": "1,0"})


@pytest.mark.parametrize("gpus", ["2", "GPU-cccc", "MIG-9"])
def test_a_gpu_that_is_not_there_names_the_choices(gpus: str) -> None:
    with pytest.raises(DeviceError, match=f"no GPU {gpus}. There are 0, 1 .*nvidia-smi -L"):
        tokens(gpus=gpus)


@pytest.mark.parametrize("gpus", ["0,1", "all"])
def test_gpus_asked_without_any_name_the_cpu_way(gpus: str) -> None:
    with pytest.raises(DeviceError, match="--workers 2 for two workers, or omit --gpus"):
        plan_slots(gpus=gpus, machine=NO_GPU, environ={})


@pytest.mark.parametrize("hidden", ["", "-1", "-1,0", "NoDevFiles"])
def test_an_empty_allocation_hides_the_gpus(hidden: str) -> None:
    environ = {"CUDA_VISIBLE_DEVICES": hidden}
    with pytest.raises(DeviceError, match="CUDA_VISIBLE_DEVICES is set and names none"):
        plan_slots(gpus="0", machine=TWO_GPUS, environ=environ)
    assert not plan_slots(machine=TWO_GPUS, environ=environ).on_gpu


@pytest.mark.parametrize(
    ("gpus", "match"),
    [
        ("0,0", "names a device twice"),
        ("00,0", "names a device twice"),
        ("0,GPU-aaaa", "names a device twice"),
        (" , ", "names no device"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(gpus: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        tokens(gpus=gpus)


@pytest.mark.parametrize("allocation", ["1,1", "GPU-aaaa,GPU-aaaa0000"])
def test_an_allocation_that_names_a_device_twice_is_refused(allocation: str) -> None:
    with pytest.raises(ConfigError, match=r"CUDA_VISIBLE_DEVICES=.* names a device twice"):
        tokens(environ={"CUDA_VISIBLE_DEVICES": allocation})


def test_more_workers_than_gpus_share_them_in_turn() -> None:
    plan = plan_slots(gpus="0,1", workers=4, machine=TWO_GPUS, environ={})
    assert [slot.env["CUDA_VISIBLE_DEVICES"] for slot in plan.slots] == ["0", "1", "0", "1"]
    assert [slot.label for slot in plan.slots] == ["gpu 0.0", "gpu 1.0", "gpu 0.1", "gpu 1.1"]
    assert {slot.env["OMP_NUM_THREADS"] for slot in plan.slots} == {"2"}


def test_without_a_gpu_every_core_gets_a_worker_and_the_note_says_why() -> None:
    plan = plan_slots(machine=NO_GPU, environ={})
    assert len(plan.slots) == 4
    assert plan.note == "4 workers on the CPU, 1 thread each; no GPU found"


def test_none_keeps_off_the_gpus() -> None:
    plan = plan_slots(gpus="none", machine=TWO_GPUS, environ={})
    assert not plan.on_gpu
    assert plan.slots[0].env["CUDA_VISIBLE_DEVICES"] == ""
    assert plan.slots[0].device == "cpu"


def test_cores_are_divided_among_the_workers() -> None:
    plan = plan_slots(workers=2, machine=NO_GPU, environ={})
    assert [slot.threads for slot in plan.slots] == [2, 2]
    assert [slot.env["MKL_NUM_THREADS"] for slot in plan.slots] == ["2", "2"]


def test_memory_limits_the_workers() -> None:
    plan = plan_slots(machine=Machine((), cores=16, memory_gb=4.0), environ={})
    assert len(plan.slots) == 2
    assert "4 GB of memory allow no more" in plan.note


@pytest.mark.parametrize(("left", "workers"), [(1, 1), (0, 1), (3, 3), (99, 4)])
def test_no_more_workers_than_trials_are_left(left: int, workers: int) -> None:
    assert len(plan_slots(machine=NO_GPU, environ={}, at_most=left).slots) == workers


def test_a_process_started_on_a_slot_sees_its_device_and_threads() -> None:
    script = "import json, os; print(json.dumps(dict(os.environ)))"
    seen = []
    for slot in plan_slots(gpus="0,1", machine=TWO_GPUS, environ={}).slots:
        out = subprocess.check_output(
            [sys.executable, "-c", script], env={**os.environ, **slot.env}
        )
        seen.append(json.loads(out))
    assert [env["CUDA_VISIBLE_DEVICES"] for env in seen] == ["0", "1"]
    assert [env["OMP_NUM_THREADS"] for env in seen] == ["4", "4"]


def test_this_machine_has_a_core_and_memory() -> None:
    machine = this_machine()
    assert 1 <= machine.cores <= (os.cpu_count() or 1)
    assert machine.memory_gb > 0.1
