"""A W&B-compatible server in one SQLite file: runs, sweeps and agents for the unmodified wandb client.

`fer_sweep.server.embedded` starts it. HTTP (`app`) hands over to GraphQL (`graphql`, `operations`, `nodes`),
which calls one module per noun (`projects`, `runs`, `streams`, `sweeps`, `agents`, `files`, `filters`), which
work on the database (`store`, `tables`, `migrations`). `search`, `bayes` and `stopping` are pure decisions.
"""

import logging

# Problems are answered to the client that caused them; the log is for who turns it on.
logging.getLogger(__name__).addHandler(logging.NullHandler())
