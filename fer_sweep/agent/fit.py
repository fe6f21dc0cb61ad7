"""Whether a sweep and the data fit together: asked before cells are spent on finding out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fer_sweep.errors import ConfigError
from fer_sweep.space import Parameter, Problem, lint, random_values
from fer_sweep.space.parameter import read_parameters
from fer_sweep.train_config import TrainConfig, value_problem


def check_sweep(
    config: Mapping[str, Any], *, where: str, train_images: int | None = None
) -> list[str]:
    """Refuse a sweep of which every trial would fail.

    Args:
        config: The sweep's, as its server has it.
        where: Names the sweep.
        train_images: Labelled training images of the data; None when nobody counted them.

    Returns:
        What the user should know of a sweep that can run: which of its trials will fail, and that it
        looks at a metric that is not logged.

    Raises:
        ConfigError: With every problem, each naming the parameter and the fix.
    """
    errors = [p for p in lint(config, where=where, ours=True) if p.severity == "error"]
    space = f"{where}: parameters"
    parameters, _ = read_parameters(config)
    partly = {f"{space}.{p.name}" for p in parameters.values() if _has_good_value(p)}
    fatal = [p for p in errors if p.where.startswith(space) and p.where not in partly]
    told = [p for p in errors if p.where in partly or p.where.startswith(f"{where}: metric")]
    if fatal:
        fix = "Run it with its own program by `wandb agent`, or make another by `fersweep create`."
        fatal.append(Problem(where, f"every trial would fail here. {fix}"))
    if train_images is not None and "train_size" in parameters:
        smallest, problem = _compare(parameters["train_size"], space, train_images)
        if problem:
            (fatal if smallest > train_images else told).append(problem)
    if fatal:
        raise ConfigError([str(problem) for problem in fatal])
    return [str(problem) for problem in told]


def _has_good_value(parameter: Parameter) -> bool:
    """Whether it can take a value that ``train()`` takes too, so that only trials with others fail."""
    if parameter.name not in TrainConfig.model_fields or len(parameter.path) > 1:
        return False
    return any(value_problem(parameter.name, value) is None for value in _samples(parameter))


def _samples(parameter: Parameter) -> Sequence[Any]:
    """All values of a list; ends and middle of a range."""
    if parameter.values:
        return parameter.values
    steps = random_values(parameter)
    if steps is not None:
        return steps[0], steps[len(steps) // 2], steps[-1]
    if TrainConfig.model_fields[parameter.name].annotation is not float:
        return ()
    low, high = parameter.bounds
    return low, (low + high) / 2, high


def _compare(train_size: Parameter, space: str, train_images: int) -> tuple[float, Problem | None]:
    """The smallest size that is asked for, and what is wrong if any is more than there is."""
    listed = [size for size in train_size.values if isinstance(size, (int, float))]
    sizes = listed or list(train_size.bounds)
    too_large = [size for size in sizes if size > train_images]
    if not too_large:
        return min(sizes), None
    text = (
        f"trials cannot take more than the {train_images} training images of the data "
        f"(got {', '.join(f'{size:g}' for size in too_large)}). "
        "Give more data with --data, or make a sweep with smaller sizes; 0 takes all there are."
    )
    return min(sizes), Problem(f"{space}.train_size", text)
