"""The adapter of servers that a YAML file describes."""

import asyncio
import secrets
from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from queue_agent.runtime import (
    Assets,
    Output,
    Prepared,
    ProgressCallback,
    Readiness,
    Reference,
    Runtime,
    RuntimeOptions,
    Spools,
    own_options_of,
)
from queue_agent.runtime.http import READY, OutputFetcher, Response, readiness_of
from queue_agent.wire.errors import (
    QueueAgentError,
    Rejected,
    RunLost,
    RuntimeAway,
    TimedOut,
)
from queue_agent.wire.job import Job
from queue_agent_runtimes.http.bodies import request_of, shown
from queue_agent_runtimes.http.declaration import Declaration, HealthCheck, HttpTask
from queue_agent_runtimes.http.exchange import HttpExchange, Watcher
from queue_agent_runtimes.http.failures import says
from queue_agent_runtimes.http.json_paths import found_at, without
from queue_agent_runtimes.http.loading import load_declaration
from queue_agent_runtimes.http.outputs import OutputReader
from queue_agent_runtimes.http.runs import PreparedCall, RisingProgress, ServerRuns
from queue_agent_runtimes.http.template import Rendered
from queue_agent_runtimes.http.values import check_places, references_of, values_of

_SMALL: Final = 16 * 2**20
_LONGEST_FACT: Final = 1000


class HttpOptions(BaseModel):
    """What operators say to this adapter alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    adapter: str = Field(
        description="YAML file that describes the server's API, or the name of one that is "
        "shipped: see `queue-agent adapters list`."
    )


class HttpRuntime(Runtime):
    """Any server that speaks plain HTTP, as its declaration says."""

    name: ClassVar[str] = "http"
    task_types: ClassVar[frozenset[str]] = frozenset()
    """Of an object, those of its declaration."""
    default_url: ClassVar[str] = "http://127.0.0.1:8080"
    """Of an object, that of its declaration."""
    own_options: ClassVar[type[BaseModel] | None] = HttpOptions

    def __init__(self, options: RuntimeOptions, *, watcher: Watcher | None = None) -> None:
        """`watcher` sees each step."""
        own = own_options_of(HttpOptions, options)
        declared = self.declaration = load_declaration(own.adapter)
        self.task_types = frozenset(declared.tasks)  # type: ignore[misc]  # as declared
        self.default_url = declared.url  # type: ignore[misc]  # as declared
        self.concurrency, self.backlog = declared.concurrency, declared.backlog
        self._switch_models = options.switch_models
        options = _authenticated(declared, options)
        self._exchange = HttpExchange(declared, options, watcher)
        self._fetcher = OutputFetcher(options, self._exchange.client)
        self._readers = {
            kind: OutputReader(outputs, self._exchange, self._fetcher)
            for kind, task in declared.tasks.items()
            if (outputs := task.outputs or declared.outputs) is not None
        }
        self._working = 0
        self._left_working = False
        """Whether it may still work on a run that nobody waits for."""
        self._runs = ServerRuns(declared, self._exchange, self._readers)

    async def ready(self) -> bool | Readiness:
        """By the declared answer; of a server that is silent while it works, while it does."""
        health = self.declaration.health
        try:
            answer = await self._exchange.client.send(
                health.method, health.path, timeout=READY, limit=_SMALL
            )
        except QueueAgentError as error:
            if isinstance(error, RuntimeAway | RunLost):
                self._left_working = False
            elif health.silent_while_busy and (self._working or self._left_working):
                return Readiness()
            return readiness_of(error)
        self._left_working = False
        return _readiness(answer, health)

    def references(self, job: Job) -> Iterable[Reference]:
        """URLs in the fields of files."""
        return references_of(self._task(job), job.content)

    def check_places(self, job: Job) -> None:
        """Of the fields that are sent, those that hold no words."""
        check_places(self._task(job), job.content)

    async def prepare(self, job: Job, assets: Assets) -> Prepared:
        """Check the parameters and make the request; sends nothing."""
        task = self._task(job)
        found = values_of(task, job.content, assets, switch_models=self._switch_models)
        request = request_of(task.request, {**found.values, **_of_run(job)})
        sent = shown(request.content)
        return PreparedCall(
            job,
            sent if isinstance(sent, dict) else {},
            found.warnings,
            values=found.values,
            seed=found.seed,
        )

    async def run(self, prepared: Prepared, progress: ProgressCallback) -> Output:
        """Send the request, and poll where that is declared, until the files are here."""
        if not isinstance(prepared, PreparedCall):
            raise TypeError("prepared by another adapter")
        values = {**prepared.values, **_of_run(prepared.job)}
        told = RisingProgress(progress)
        self._working += 1
        try:
            with Spools() as spools:
                async with asyncio.timeout(self.declaration.time_limit) as limit:
                    artifacts, answer = await self._runs.outcome(prepared, values, told, spools)
                spools.keep(artifacts)
        except TimeoutError as error:
            self._left_working = True
            if not limit.expired():
                raise
            raise TimedOut(
                f"The run took longer than {self.declaration.time_limit:g} s."
            ) from error
        except asyncio.CancelledError:
            self._left_working = True
            raise
        finally:
            self._working -= 1
        told(1.0)
        return Output(artifacts, self._facts(prepared.job.task_type, answer))

    async def still_runs(self, prepared: Prepared) -> bool | None:
        """By the poll, where one is declared; stopped once more if it does."""
        return await self._runs.still_runs(prepared)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._fetcher.aclose()
        await self._exchange.aclose()

    def _task(self, job: Job) -> HttpTask:
        if job.task_type not in self.declaration.tasks:
            raise Rejected(f"There is no task {job.task_type!r} here.", type="unknown_task_type")
        return self.declaration.tasks[job.task_type]

    def _facts(self, task_type: str, answer: JsonValue) -> dict[str, JsonValue]:
        """What of an answer goes into the manifest; never a file."""
        wanted, outputs = self.declaration.facts, self._readers[task_type].outputs
        if outputs.path is not None and outputs.request is None:  # files, or links that are signed
            answer = without(outputs.path, answer)
        if wanted:
            found = {name: found_at(path, answer) for name, path in wanted.items()}
            answer = {
                name: values[0] if len(values) == 1 else list(values)
                for name, values in found.items()
                if values
            }
        short = _shortened(answer)
        return short if isinstance(short, dict) else {"answer": short}


def _readiness(answer: Response, health: HealthCheck) -> Readiness:
    if answer.status in health.starting:
        return Readiness("starting", f"it answers {answer.status}")
    readiness = readiness_of(answer)
    if not readiness or health.ready is None:
        return readiness
    try:
        value = answer.json()
    except QueueAgentError as error:
        return readiness_of(error)
    if says(health.ready, value):
        return readiness
    found = found_at(health.ready.path, value)
    return Readiness("starting", f"{health.ready.path} is {str(found)[:200]}")


def _authenticated(declared: Declaration, options: RuntimeOptions) -> RuntimeOptions:
    """The options with the key where the declaration wants it."""
    wanted = declared.authentication
    if wanted is None or options.api_key is None:
        return options
    value = f"{wanted.scheme} {options.api_key}".strip()
    return replace(options, api_key=None, headers={wanted.header: value, **options.headers})


def _of_run(job: Job) -> dict[str, Rendered]:
    return {"job_id": job.id, "run_id": f"{job.id}.{secrets.token_hex(4)}"}


def _shortened(value: JsonValue) -> JsonValue:
    if isinstance(value, str) and len(value) > _LONGEST_FACT:
        return f"{value[:_LONGEST_FACT]}…"
    if isinstance(value, list):
        return [_shortened(entry) for entry in value[:_LONGEST_FACT]]
    if isinstance(value, dict):
        return {name: _shortened(entry) for name, entry in value.items()}
    return value
