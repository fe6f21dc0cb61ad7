"""Search spaces: W&B's sweep YAML read, checked, counted, built and written.

A *sweep config* is the plain dict that W&B's YAML parses to.
"""

from fer_sweep.space.build import SweepFlags, build_sweep, override
from fer_sweep.space.cells import (
    NOT_ENUMERABLE,
    cell_key,
    count_cells,
    find_value,
    grid_values,
    nest,
    random_values,
    value_key,
)
from fer_sweep.space.hyperband import Hyperband, parse_hyperband
from fer_sweep.space.lint import is_ours, lint
from fer_sweep.space.number import is_finite
from fer_sweep.space.parameter import Parameter, from_logarithm, parse_parameters
from fer_sweep.space.problem import Problem, check_problems
from fer_sweep.space.summary import SweepSummary, describe
from fer_sweep.space.sweep_file import dump_sweep, load_sweep

__all__ = [
    "NOT_ENUMERABLE",
    "Hyperband",
    "Parameter",
    "Problem",
    "SweepFlags",
    "SweepSummary",
    "build_sweep",
    "cell_key",
    "check_problems",
    "count_cells",
    "describe",
    "dump_sweep",
    "find_value",
    "from_logarithm",
    "grid_values",
    "is_finite",
    "is_ours",
    "lint",
    "load_sweep",
    "nest",
    "override",
    "parse_hyperband",
    "parse_parameters",
    "random_values",
    "value_key",
]
