"""Build: from the flags of ``fersweep create`` to a sweep config."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

from fer_sweep.errors import ConfigError
from fer_sweep.space.cells import count_cells, value_key
from fer_sweep.space.lint import METHODS, PROGRAM, is_ours
from fer_sweep.space.number import is_number, number_text, parse_number
from fer_sweep.space.parameter import read_parameters
from fer_sweep.train_config import TrainConfig, value_problem

METRIC = {"name": "best/val_accuracy", "goal": "maximize"}
# Runs from the repository's root on any machine; the parameters arrive through wandb.config.
COMMAND = ["${env}", "${interpreter}", "${program}"]
GRID_LIMIT = 48  # cells up to which every one is tried unless a method is asked for
RUN_CAP = 20  # of random and bayes unless one is asked for
EPOCHS = 20
_HYPERBAND = {"type": "hyperband", "min_iter": 3, "eta": 3}

# The sweep of `fersweep create` with nothing asked for: with and without batch-norm, augmentation and
# dropout on 4,000 images. 8 runs × 10 epochs: about 10 minutes on 2 CPU cores, 1 or 2 on a GPU.
QUICK: dict[str, dict[str, Any]] = {
    "arch": {"values": ["cnn4", "cnn4_bn"]},
    "augment": {"values": ["none", "readme"]},
    "dropout": {"values": [0.0, 0.3]},
    "train_size": {"value": 4000},
    "epochs": {"value": 10},
}
# Flags that leave the quick sweep's question as it is; any other asks one of its own.
_KEEPING_QUICK = ("epochs", "seed", "train_size", "batch_size", "lr")

_PARAMETERS = {  # flag: hyperparameter, in the order they are written
    "arch": "arch",
    "lr": "learning_rate",
    "batch_size": "batch_size",
    "dropout": "dropout",
    "weight_decay": "weight_decay",
    "augment": "augment",
    "optimizer": "optimizer",
    "label_smoothing": "label_smoothing",
    "lr_schedule": "lr_schedule",
    "train_size": "train_size",
    "epochs": "epochs",
    "seed": "seed",
}
_LOGARITHMIC = ("learning_rate", "weight_decay")


class SweepFlags(TypedDict, total=False):
    """The flags of ``create``; a missing one and None mean the same: not given.

    Every hyperparameter is the text that the user typed: ``0.3``, ``64,128`` or ``1e-4..1e-2``.
    """

    arch: str | None
    lr: str | None
    batch_size: str | None
    dropout: str | None
    weight_decay: str | None
    augment: str | None
    optimizer: str | None
    label_smoothing: str | None
    lr_schedule: str | None
    train_size: str | None
    epochs: str | None
    seed: str | None
    method: str | None
    run_cap: int | None
    name: str | None
    early_terminate: bool | None


def build_sweep(**flags: Unpack[SweepFlags]) -> dict[str, Any]:
    """Build a sweep from flags; with none, a quick sweep that shows what regularisation does.

    A hyperparameter that is not given is left to ``TrainConfig``'s default, except ``epochs``, which
    is written out. Flags that only size the trials (epochs, seed, train_size, batch_size, lr) change the
    quick sweep; any other starts an empty one.

    The method is grid if all cells can be enumerated and there are at most 48, else random with
    ``run_cap`` 20.

    Raises:
        ConfigError: With every problem, each naming its flag.

    Example:
        >>> config = build_sweep(arch="cnn4_bn,resnet18", lr="1e-4..1e-2", run_cap=8)
        >>> config["method"], config["run_cap"], config["parameters"]["learning_rate"]
        ('random', 8, {'distribution': 'log_uniform_values', 'min': 0.0001, 'max': 0.01})
    """
    given = {flag for flag in _PARAMETERS if flags.get(flag) is not None}
    quick = given <= set(_KEEPING_QUICK)
    base = {
        "name": "quick" if quick else None,
        "program": PROGRAM,
        "command": list(COMMAND),
        "method": None,
        "metric": dict(METRIC),
        "parameters": copy.deepcopy(QUICK) if quick else {"epochs": {"value": EPOCHS}},
    }
    return override(base, **flags)


def override(config: Mapping[str, Any], **flags: Unpack[SweepFlags]) -> dict[str, Any]:
    """A copy of a sweep config in which the given flags have replaced what it said.

    Args:
        config: Such as a file's; without a method, one is chosen as ``build_sweep`` does.
        flags: As for ``build_sweep``; ``early_terminate`` True adds hyperband, False removes it.

    Raises:
        ConfigError: With every problem, each naming its flag.
    """
    result = copy.deepcopy(dict(config))
    parameters, problems = _parse_flags(flags)
    problems += _check_plain_flags(flags)
    problems += _check_grid(flags, flags.get("method") or result.get("method"), parameters)
    if problems:
        raise ConfigError(problems)
    section = result.get("parameters") or {}
    if isinstance(section, Mapping):  # else lint says what is wrong with it
        result["parameters"] = _ordered({**section, **parameters})
    _settle_method(result, flags)
    _settle_early_terminate(result, flags.get("early_terminate"))
    result["name"] = flags.get("name") or result.get("name") or _default_name(result["parameters"])
    return result


def _ordered(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Our hyperparameters first, in one order, however the sweep was put together."""
    order = {name: place for place, name in enumerate(_PARAMETERS.values())}
    return dict(sorted(parameters.items(), key=lambda item: order.get(item[0], len(order))))


def _parse_flags(flags: SweepFlags) -> tuple[dict[str, dict[str, Any]], list[str]]:
    parameters: dict[str, dict[str, Any]] = {}
    problems: list[str] = []
    for flag, name in _PARAMETERS.items():
        text = flags.get(flag)
        if text is None:
            continue
        try:
            parameters[name] = _parse_flag(name, str(text))
        except ConfigError as error:
            problems += [f"{_option(flag)}: {problem}" for problem in error.problems]
    return parameters, problems


def _option(flag: str) -> str:
    return "--" + flag.replace("_", "-")


def _parse_flag(name: str, text: str) -> dict[str, Any]:
    """``a..b``, ``a,b,c`` or ``a`` as W&B's parameter.

    Raises:
        ConfigError: With problems that do not name the flag yet.
    """
    if ".." in text:
        return _parse_range(name, text)
    items = [item.strip() for item in text.split(",")]
    if "" in items:
        raise ConfigError(f"has an empty value (got {text!r}). Separate values by single commas.")
    values = [_parse_value(name, item) for item in items]
    _check_values(name, values)
    if len({value_key(value) for value in values}) < len(values):
        raise ConfigError(f"lists a value twice (got {text!r}). Remove one.")
    return {"value": values[0]} if len(values) == 1 else {"values": values}


def _parse_range(name: str, text: str) -> dict[str, Any]:
    kind = TrainConfig.model_fields[name].annotation
    if kind not in (int, float):
        raise ConfigError(
            f"is a choice, not a range (got {text!r}). Separate the choices by commas."
        )
    ends = [end.strip() for end in text.split("..")]
    if len(ends) != 2 or "" in ends or "," in text:
        raise ConfigError(
            f"is no range (got {text!r}). Write two numbers, as in 0.1..0.5, or values as in 0.1,0.5."
        )
    low, high = (_parse_value(name, end) for end in ends)
    _check_values(name, [low, high])
    if low >= high:
        fix = f"Write {ends[1]}..{ends[0]}." if low > high else f"Write {ends[0]} for one value."
        raise ConfigError(f"must go from low to high (got {text!r}). {fix}")
    if kind is int:
        return {"distribution": "int_uniform", "min": low, "max": high}
    even = name not in _LOGARITHMIC or low == 0
    return {"distribution": "uniform" if even else "log_uniform_values", "min": low, "max": high}


def _parse_value(name: str, text: str) -> Any:
    """A value in the type of the hyperparameter if the text has it; else as it is, to be refused."""
    kind = TrainConfig.model_fields[name].annotation
    if kind not in (int, float):
        return text
    number = parse_number(text)
    if kind is float and number is not None:
        return float(number)
    if isinstance(number, float) and number.is_integer():
        return int(number)
    return text if number is None else number


def _check_values(name: str, values: list[Any]) -> None:
    problems = [_value_problem(name, value) for value in values]
    found = [problem for problem in problems if problem]
    if found:
        raise ConfigError(list(dict.fromkeys(found)))


def _value_problem(name: str, value: Any) -> str | None:
    problem = value_problem(name, value)
    if problem and is_number(value):  # as the user would write it, not 1e-05
        return problem.replace(f"(got {value})", f"(got {number_text(value)})")
    return problem


def _check_plain_flags(flags: SweepFlags) -> list[str]:
    problems = []
    method, cap = flags.get("method"), flags.get("run_cap")
    if method is not None and method not in METHODS:
        problems.append(f"--method: must be one of {', '.join(METHODS)} (got {method!r}).")
    if cap is not None and cap < 1:
        problems.append(f"--run-cap: must be at least 1 (got {cap}).")
    return problems


def _check_grid(
    flags: SweepFlags, method: Any, parameters: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    if method != "grid":
        return []
    return [
        f"{_option(flag)}: a grid cannot enumerate a range (got {flags.get(flag)!r}). "
        "Give values separated by commas, or --method random."
        for flag, name in _PARAMETERS.items()
        if parameters.get(name, {}).get("distribution") in ("uniform", "log_uniform_values")
    ]


def _settle_method(config: dict[str, Any], flags: SweepFlags) -> None:
    """Choose a method where none is given; a search that was not in the file already ends somewhere."""
    well_formed = not read_parameters(config)[1]
    cells = count_cells(config) if well_formed else None
    few = cells is not None and cells <= GRID_LIMIT
    written = config.get("method") if flags.get("method") is None else None
    config["method"] = method = written or flags.get("method") or ("grid" if few else "random")
    if method == "bayes" and is_ours(config):
        config.setdefault("metric", dict(METRIC))
    if flags.get("run_cap") is not None:
        config["run_cap"] = flags["run_cap"]
    elif method != "grid" and not written and "run_cap" not in config:
        config["run_cap"] = RUN_CAP if cells is None else min(RUN_CAP, cells)


def _settle_early_terminate(config: dict[str, Any], wanted: bool | None) -> None:
    if wanted is False:
        config.pop("early_terminate", None)
    elif wanted and "early_terminate" not in config:
        config["early_terminate"] = dict(_HYPERBAND)
        if is_ours(config):
            config.setdefault("metric", dict(METRIC))


def _default_name(parameters: Any) -> str:
    nodes = parameters.items() if isinstance(parameters, Mapping) else ()
    searched = [name for name, node in nodes if isinstance(node, Mapping) and "value" not in node]
    return " × ".join(searched) or "single run"
