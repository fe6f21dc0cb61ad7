"""Search spaces: W&B's sweep YAML read, checked, counted, built and written.

A *sweep config* is the plain dict that W&B's YAML parses to.
"""

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
from fer_sweep.space.number import is_finite
from fer_sweep.space.parameter import Parameter, from_logarithm, parse_parameters
from fer_sweep.space.problem import Problem, check_problems

__all__ = [
    "NOT_ENUMERABLE",
    "Hyperband",
    "Parameter",
    "Problem",
    "cell_key",
    "check_problems",
    "count_cells",
    "find_value",
    "from_logarithm",
    "grid_values",
    "is_finite",
    "nest",
    "parse_hyperband",
    "parse_parameters",
    "random_values",
    "value_key",
]
