"""How the database got its present shape, one numbered step after another.

Migration n (counted from 1) turns schema version n-1 into n. Append; never edit one that was released:
files out there have already been through it. ``tests/server/test_store.py`` checks that a new file and
``fer_sweep.server.tables`` agree.
"""

from __future__ import annotations

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE projects (
            id INTEGER NOT NULL PRIMARY KEY,
            entity TEXT NOT NULL,
            name TEXT NOT NULL,
            created_at FLOAT NOT NULL,
            UNIQUE (entity, name)
        )""",
        """CREATE TABLE sweeps (
            id INTEGER NOT NULL PRIMARY KEY,
            project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
            name TEXT NOT NULL,
            display_name TEXT,
            description TEXT,
            state TEXT NOT NULL,
            config_yaml TEXT NOT NULL,
            config TEXT NOT NULL,
            metric TEXT,
            maximize BOOLEAN NOT NULL,
            runs_expected INTEGER,
            seed INTEGER NOT NULL,
            created_at FLOAT NOT NULL,
            updated_at FLOAT NOT NULL,
            UNIQUE (project_id, name)
        )""",
        """CREATE TABLE agents (
            id INTEGER NOT NULL PRIMARY KEY,
            sweep_id INTEGER NOT NULL REFERENCES sweeps (id) ON DELETE CASCADE,
            name TEXT NOT NULL UNIQUE,
            host TEXT NOT NULL,
            created_at FLOAT NOT NULL,
            heartbeat_at FLOAT NOT NULL,
            exited BOOLEAN NOT NULL
        )""",
        "CREATE INDEX agents_of_sweep ON agents (sweep_id)",
        """CREATE TABLE runs (
            id INTEGER NOT NULL PRIMARY KEY,
            project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
            sweep_id INTEGER REFERENCES sweeps (id) ON DELETE SET NULL,
            agent_id INTEGER REFERENCES agents (id) ON DELETE SET NULL,
            name TEXT NOT NULL,
            display_name TEXT NOT NULL,
            state TEXT NOT NULL,
            config TEXT NOT NULL,
            parameters TEXT,
            summary TEXT NOT NULL,
            tags TEXT NOT NULL,
            notes TEXT,
            group_name TEXT,
            job_type TEXT,
            host TEXT,
            program TEXT,
            git_commit TEXT,
            created_at FLOAT NOT NULL,
            heartbeat_at FLOAT NOT NULL,
            offers INTEGER NOT NULL,
            stop_requested BOOLEAN NOT NULL,
            stop_sent_at FLOAT,
            preempting BOOLEAN NOT NULL,
            exit_code INTEGER,
            history_lines INTEGER NOT NULL,
            event_lines INTEGER NOT NULL,
            log_lines INTEGER NOT NULL,
            last_step INTEGER NOT NULL,
            history_keys TEXT NOT NULL,
            metric_best FLOAT,
            metric_summary FLOAT,
            UNIQUE (project_id, name)
        )""",
        "CREATE INDEX runs_by_age ON runs (project_id, created_at, id)",
        "CREATE INDEX runs_of_sweep ON runs (sweep_id, created_at, id)",
        "CREATE INDEX runs_of_agent ON runs (agent_id)",
        """CREATE TABLE lines (
            run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            stream TEXT NOT NULL,
            number INTEGER NOT NULL,
            step INTEGER,
            body TEXT NOT NULL,
            PRIMARY KEY (run_id, stream, number)
        ) WITHOUT ROWID""",
        "CREATE INDEX lines_by_step ON lines (run_id, stream, step)",
        """CREATE TABLE metric_values (
            run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            number INTEGER NOT NULL,
            value FLOAT,
            PRIMARY KEY (run_id, number)
        ) WITHOUT ROWID""",
    ),
    (
        """CREATE TABLE api_keys (
            id INTEGER NOT NULL PRIMARY KEY,
            entity TEXT NOT NULL,
            name TEXT NOT NULL,
            digest TEXT NOT NULL UNIQUE,
            created_at FLOAT NOT NULL,
            revoked_at FLOAT
        )""",
    ),
)
