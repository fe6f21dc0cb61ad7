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
    (
        """CREATE TABLE artifact_collections (
            id INTEGER NOT NULL PRIMARY KEY,
            project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
            name TEXT NOT NULL,
            type TEXT NOT NULL,
            description TEXT,
            created_at FLOAT NOT NULL,
            UNIQUE (project_id, name)
        )""",
        """CREATE TABLE artifacts (
            id INTEGER NOT NULL PRIMARY KEY,
            artifact_collection_id INTEGER NOT NULL REFERENCES artifact_collections (id) ON DELETE CASCADE,
            run_id INTEGER REFERENCES runs (id) ON DELETE SET NULL,
            version INTEGER,
            state TEXT NOT NULL,
            digest TEXT NOT NULL,
            manifest_digest TEXT,
            description TEXT,
            metadata TEXT,
            tags TEXT NOT NULL,
            wanted_aliases TEXT NOT NULL,
            history_step INTEGER,
            size INTEGER NOT NULL,
            file_count INTEGER NOT NULL,
            created_at FLOAT NOT NULL,
            updated_at FLOAT NOT NULL
        )""",
        "CREATE INDEX artifacts_of_collection ON artifacts (artifact_collection_id, version)",
        "CREATE INDEX artifacts_of_run ON artifacts (run_id)",
        """CREATE TABLE artifact_aliases (
            artifact_collection_id INTEGER NOT NULL REFERENCES artifact_collections (id) ON DELETE CASCADE,
            alias TEXT NOT NULL,
            artifact_id INTEGER NOT NULL REFERENCES artifacts (id) ON DELETE CASCADE,
            PRIMARY KEY (artifact_collection_id, alias)
        )""",
        "CREATE INDEX aliases_of_artifact ON artifact_aliases (artifact_id)",
        """CREATE TABLE artifact_clients (
            client_id TEXT NOT NULL PRIMARY KEY,
            artifact_id INTEGER NOT NULL REFERENCES artifacts (id) ON DELETE CASCADE
        )""",
        "CREATE INDEX clients_of_artifact ON artifact_clients (artifact_id)",
        """CREATE TABLE artifact_files (
            artifact_id INTEGER NOT NULL REFERENCES artifacts (id) ON DELETE CASCADE,
            path TEXT NOT NULL,
            digest TEXT NOT NULL,
            size INTEGER NOT NULL,
            reference TEXT,
            PRIMARY KEY (artifact_id, path)
        )""",
        "CREATE INDEX files_by_digest ON artifact_files (digest)",
        """CREATE TABLE artifact_uses (
            run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            artifact_id INTEGER NOT NULL REFERENCES artifacts (id) ON DELETE CASCADE,
            PRIMARY KEY (run_id, artifact_id)
        )""",
        "CREATE INDEX uses_of_artifact ON artifact_uses (artifact_id)",
        """CREATE TABLE views (
            id INTEGER NOT NULL PRIMARY KEY,
            project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
            type TEXT NOT NULL,
            name TEXT,
            display_name TEXT,
            description TEXT,
            spec TEXT NOT NULL,
            created_at FLOAT NOT NULL,
            updated_at FLOAT NOT NULL
        )""",
        "CREATE INDEX views_of_project ON views (project_id)",
        """CREATE TABLE alerts (
            id INTEGER NOT NULL PRIMARY KEY,
            run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            title TEXT NOT NULL,
            text TEXT NOT NULL,
            severity TEXT NOT NULL,
            created_at FLOAT NOT NULL
        )""",
        "CREATE INDEX alerts_of_run ON alerts (run_id)",
    ),
    (
        "ALTER TABLE runs ADD COLUMN requeues INTEGER NOT NULL DEFAULT 0",
        """CREATE TABLE prior_runs (
            sweep_id INTEGER NOT NULL REFERENCES sweeps (id) ON DELETE CASCADE,
            run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            value FLOAT,
            PRIMARY KEY (sweep_id, run_id)
        )""",
    ),
)
