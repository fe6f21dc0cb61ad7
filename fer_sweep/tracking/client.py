"""Which wandb client is installed, and whether it is one that fersweep was tested with."""

from __future__ import annotations

from importlib import metadata

from fer_sweep.errors import TrackingError

OLDEST = (0, 26)
NEWEST = (0, 31)


def check_client() -> str:
    """Refuse a wandb client that speaks another dialect, before anything is started.

    Returns:
        The installed version.

    Raises:
        TrackingError: If wandb is missing or outside the supported range.
    """
    fix = f"Install one that is: pip install 'wandb>={_dotted(OLDEST)},<{_dotted((NEWEST[0], NEWEST[1] + 1))}'."
    try:
        version = metadata.version("wandb")
    except metadata.PackageNotFoundError as error:
        raise TrackingError(f"wandb: not installed. {fix}") from error
    if not is_supported(version):
        raise TrackingError(f"wandb {version}: not a version that fersweep supports. {fix}")
    return version


def is_supported(version: str) -> bool:
    """Whether fersweep runs with this wandb.

    Example:
        >>> [is_supported(v) for v in ("0.25.1", "0.26.0", "0.31.4", "0.32.0", "1.0")]
        [False, True, True, False, False]
    """
    numbers = version.split(".")[:2]
    if len(numbers) < 2 or not all(number.isdigit() for number in numbers):
        return False
    return OLDEST <= (int(numbers[0]), int(numbers[1])) <= NEWEST


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
