"""W&B's ``Run``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fer_sweep.server import artifacts, streams
from fer_sweep.server.console import parse_line
from fer_sweep.server.files import FileNode, RunFolder, file_url
from fer_sweep.server.nodes.context import Context, page_of, user_node
from fer_sweep.server.runs import current_state
from fer_sweep.server.tables import Record
from fer_sweep.server.wire import encode_id, format_time

if TYPE_CHECKING:
    from fer_sweep.server.nodes.project import ProjectNode


class RunNode:
    """W&B's ``Run``."""

    read_only = False

    def __init__(
        self,
        context: Context,
        project: ProjectNode,
        record: Record,
        last_events: streams.LastEvents | None = None,
    ) -> None:
        self.record = record
        self.project = project
        self._context = context
        self._last_events = last_events or streams.LastEvents(context.db, [record])
        self.user = user_node(project.record.entity)
        self.group = record.group_name
        self.commit = record.git_commit
        self.description = record.notes
        self.exitcode = record.exit_code
        self.summary_metrics = record.summary
        self.history_line_count = record.history_lines
        self.events_line_count = record.event_lines
        self.log_line_count = record.log_lines
        self.should_stop = self.stopped = record.stop_requested
        self.internal_id = str(record.id)
        self.project_id = str(record.project_id)

    def id(self) -> str:
        """The node id, called storage id by clients."""
        project = self.project.record
        return encode_id("Run", "v1", self.record.name, project.name, project.entity)

    def state(self) -> str:
        """The state it is in now."""
        return current_state(self.record, now=self._context.now)

    def failed(self) -> bool:
        """Whether it ended badly."""
        return self.state() in ("failed", "crashed")

    def running(self) -> bool:
        """Whether it runs now."""
        return self.state() == "running"

    def created_at(self) -> str:
        """When it was created, or handed out."""
        return format_time(self.record.created_at)

    def heartbeat_at(self) -> str:
        """When it was last heard of."""
        return format_time(self.record.heartbeat_at)

    updated_at = heartbeat_at

    def tags(self) -> Any:
        """Its tags in the order given."""
        return json.loads(self.record.tags)

    def wandb_config(self, keys: Sequence[str] = ()) -> str:
        """Some of wandb's own config keys, for resuming."""
        internal = json.loads(self.record.config).get("_wandb", {}).get("value", {})
        return json.dumps({key: internal.get(key) for key in keys})

    def system_metrics(self) -> str:
        """The last system event."""
        return self._last_events.of(self.record)

    def history_tail(self) -> str:
        """The last history row, as a list of texts."""
        return json.dumps(streams.last_lines(self._context.db, self.record, streams.HISTORY))

    def events_tail(self) -> str:
        """The last system event, as a list of texts."""
        return json.dumps(streams.last_lines(self._context.db, self.record, streams.EVENTS))

    def history_keys(self) -> Mapping[str, Any]:
        """Every key ever logged, and the last step."""
        return streams.history_keys(self.record)

    def history(
        self, min_step: int | None = None, max_step: int | None = None, samples: int | None = None
    ) -> list[str]:
        """History rows as texts; ``max_step`` is exclusive."""
        return streams.read_lines(
            self._context.db,
            self.record,
            streams.HISTORY,
            min_step=min_step,
            max_step=max_step,
            samples=samples,
        )

    def events(self, samples: int | None = None) -> list[str]:
        """System events as texts."""
        return streams.read_lines(self._context.db, self.record, streams.EVENTS, samples=samples)

    def sampled_history(self, specs: Sequence[str] = ()) -> list[list[dict[str, Any]]]:
        """For each spec, the rows that have all its keys."""
        return [
            streams.read_sampled(self._context.db, self.record, json.loads(spec)) for spec in specs
        ]

    def parquet_history(self, live_keys: Sequence[str] = ()) -> Mapping[str, Any]:
        """No Parquet files here: one live row makes every client go on with `history`."""
        del live_keys
        return {"parquetUrls": [], "liveData": [{"_step": 0}] if self.record.history_lines else []}

    def files(
        self,
        names: Sequence[str | None] | None = None,
        pattern: str | None = None,
        after: str | None = None,
        first: int | None = None,
        upload: bool = False,
    ) -> Mapping[str, Any]:
        """Its files; a file asked for by name that is not there is left out."""
        del upload  # the address is the same
        wanted = [name for name in names or () if name]
        found = self._folder().list_names(names=wanted, pattern=pattern)
        return page_of(found, self.file, first, after)

    def file(self, name: str) -> FileNode:
        """One of its files, there or still to be uploaded."""
        folder = self._folder()
        folder.locate(name)
        url = file_url(self._context.base_url, self._context.store.api_key, folder, name)
        return FileNode(folder, name, url)

    def file_count(self) -> int:
        """How many files it has."""
        return len(self._folder().list_names())

    def log_lines(
        self,
        last: int | None = None,
        first: int | None = None,
        after: str | None = None,
        use_improved_pagination: bool = False,
    ) -> Mapping[str, Any]:
        """Its console output, from the start or the last lines."""
        del use_improved_pagination
        texts = streams.read_lines(self._context.db, self.record, streams.LOG)
        numbered = list(enumerate(texts))[-last if last else None :]
        return page_of(numbered, lambda item: parse_line(*item), first, after)

    def input_artifacts(
        self, after: str | None = None, first: int | None = None
    ) -> Mapping[str, Any]:
        """The artifacts that it used."""
        return self._artifacts(artifacts.list_used(self._context.db, self.record), first, after)

    def output_artifacts(
        self, after: str | None = None, first: int | None = None
    ) -> Mapping[str, Any]:
        """The artifacts that it logged."""
        return self._artifacts(artifacts.list_logged(self._context.db, self.record), first, after)

    def _artifacts(
        self, records: Sequence[Record], first: int | None, after: str | None
    ) -> Mapping[str, Any]:
        return page_of(records, self.project.artifact_node, first, after)

    def _folder(self) -> RunFolder:
        project = self.project.record
        return RunFolder(self._context.store.files, project.entity, project.name, self.record.name)
