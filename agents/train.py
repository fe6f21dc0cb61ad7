#!/usr/bin/env python
"""The program of our sweeps for a plain `wandb agent`: same training, same rows as `fersweep agent`.

    FERSWEEP_DATA=fer2013.csv wandb agent entity/project/sweep

Each trial is a process of its own here, so every one pays for the imports; `fersweep agent` does not.
"""

import sys

from fer_sweep.agent.program import main

if __name__ == "__main__":
    sys.exit(main())
