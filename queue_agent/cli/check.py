"""`queue-agent check`: the effective settings, and whether each thing the agent needs works."""

import hashlib
import io
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from queue_agent.cli.model_options import model_fetcher
from queue_agent.cli.options import content_checker, make_runtime, warm_up_job
from queue_agent.cli.provenance_options import certificate_warning, signing_files, signs
from queue_agent.cli.waiting import look
from queue_agent.cli.wiring import HINT, no_loop
from queue_agent.cloud import Bucket, Cloud, Queue, shortcomings
from queue_agent.cloud.addresses import is_nats
from queue_agent.cloud.connect import connect
from queue_agent.cloud.pauses import PausesMarker
from queue_agent.cloud.refusals import reason_of, remedy_of
from queue_agent.inputs.models.fetcher import ModelFetcher
from queue_agent.media.asset import Asset
from queue_agent.outputs.checkers import CheckedFile, ContentChecker
from queue_agent.outputs.provenance import KeyFiles
from queue_agent.runtime import Readiness, Runtime
from queue_agent.settings.agent import Settings
from queue_agent.settings.known import unknown_names
from queue_agent.settings.reader import names_of, origin
from queue_agent.telemetry.clock import TOLERATED
from queue_agent.telemetry.logs import without_url_secrets
from queue_agent.wire.errors import Malformed, ObjectExists, QueueAgentError, Unavailable
from queue_agent.wire.layout import trial_key
from queue_agent.worker.content_check import asked

_SIDE = 64
"""Pixels of the picture that the content check is asked about."""

_NAMED_BY = {
    "queue": "Is QUEUE_AGENT_QUEUE_URL, or QUEUE_AGENT_QUEUES, right",
    "topic": "Is QUEUE_AGENT_TOPIC_ARN right",
    "bucket": "Is QUEUE_AGENT_BUCKET right",
}
"""What lies in a cloud."""
_ASK_THE_CLOUD = {"clock", "wiring"}

_RIGHTS_ON_AWS = {
    "queue": "does the role allow sqs:GetQueueAttributes, sqs:ReceiveMessage, "
    "sqs:ChangeMessageVisibility and sqs:DeleteMessage on it?",
    "topic": "does the role allow sns:Publish (and sns:GetTopicAttributes for this check) on it?",
    "bucket": "does the role allow s3:GetObject, s3:PutObject, s3:DeleteObject on its objects and "
    "s3:ListBucket on it? Without s3:ListBucket an object that is not there looks forbidden.",
}

_HINTS = {
    "clock": "Let the machine keep time (chrony, systemd-timesyncd); jobs expire by the cloud's "
    "clock, and at some minutes of difference the cloud refuses all requests.",
    "creates": "The agent works, and looks before each create. Have agents use a store that keeps "
    'If-None-Match: see "Stores other than S3" in docs/operating.md.',
    "wiring": HINT,
    "models": "Is QUEUE_AGENT_MODELS_FOLDER the runtime's folder of models, mounted so that the "
    "agent can write, too?",
    "content check": "Is QUEUE_AGENT_CONTENT_CHECK right, may the agent reach it (networkPolicy."
    "extraEgress), does QUEUE_AGENT_CONTENT_CHECK_HEADERS_FILE hold what it asks for, and does it "
    'answer as docs/content-check.md says, {"verdict": "pass"} for one?',
    "signing": "Is QUEUE_AGENT_PROVENANCE_TIMESTAMP_URL an authority by RFC 3161, and may the "
    "agent reach it (networkPolicy.extraEgress)? Without its answer nothing is delivered.",
    "runtime": "Is the runtime started (the Web UI with --api), is QUEUE_AGENT_RUNTIME_URL right, "
    "and do QUEUE_AGENT_RUNTIME_AUTH, _API_KEY, _HEADERS and _CA_FILE say what it and a proxy "
    "before it ask for?",
}


@dataclass(frozen=True)
class Finding:
    """What one trial showed."""

    name: str
    works: bool
    text: str
    hint: str = ""
    """What may help."""


async def check(
    settings: Settings, *, with_runtime: bool = True, with_messages: bool = True
) -> bool:
    """Print settings and findings; whether all works.

    The runtime may be left out, and the messages that wait, to look at which is a delivery.
    """
    console = Console()
    console.print(settings_table(settings))
    for unknown in unknown_names():
        console.print(f"[yellow]![/yellow] {unknown}", highlight=False)
    runtime = make_runtime(settings)
    warm_up_job(settings, runtime)
    files = signing_files(settings)
    checker = content_checker(settings)
    models = model_fetcher(settings, runtime)
    cloud = connect(
        settings.topic_arn,
        *settings.served.values(),
        bucket=settings.bucket,
        region=settings.region,
    )
    try:
        trials = _trials(settings, cloud, runtime)
        if not with_runtime:
            del trials["runtime"]
        trials |= _optional_trials(settings, models if with_runtime else None, checker, files)
        findings = [await _try(name, trial, settings) for name, trial in trials.items()]
        heard = any(one.works for one in findings if _kind(one.name) in _NAMED_BY)
        if not heard:  # what works then has asked nobody
            findings = [one for one in findings if one.name not in _ASK_THE_CLOUD or not one.works]
        warnings = [
            await _try("links", lambda: _links(settings, cloud)),
            await _try("pauses", lambda: _pauses(settings, cloud)),
            await _try("durability", lambda: _durability(settings, cloud)),
            await _try("certificate", lambda: certificate_warning(files)),
        ]
        if with_messages:
            for name, url in settings.served.items():
                seen = partial(_messages, settings, cloud.queue(url))
                warnings.append(await _try(f"messages {name}".strip(), seen))
    finally:
        if checker is not None:
            await checker.aclose()
        await runtime.aclose()
        await cloud.aclose()
    for finding in findings:
        mark = "[green]✓[/green]" if finding.works else "[red]✗[/red]"
        told = f"[bold]{finding.name}[/bold]: {escape(finding.text)}"
        console.print(f"{mark} {told}", highlight=False)
        if not finding.works:
            console.print(f"  → {escape(finding.hint)}", style="yellow", highlight=False)
    for warning in warnings:
        if warning.works and warning.text:
            told = f"[bold]{warning.name}[/bold]: {escape(warning.text)}"
            console.print(f"[yellow]![/yellow] {told}", highlight=False)
    return all(finding.works for finding in findings)


def _trials(
    settings: Settings, cloud: Cloud, runtime: Runtime
) -> dict[str, Callable[[], Awaitable[str]]]:
    async def queue(url: str) -> str:
        policy = await cloud.queue(url).policy()
        redrive = (
            f"to its dead-letter queue after {policy.max_receives} deliveries"
            if policy.max_receives
            else f"no dead-letter queue; given up after {settings.max_receives} deliveries"
        )
        return f"visibility timeout {policy.visibility_timeout:g} s, {redrive}"

    async def topic() -> str:
        await cloud.topic(settings.topic_arn).check()
        return settings.topic_arn

    async def bucket() -> str:
        results = cloud.bucket(settings.bucket)
        await _write_and_remove(results)
        key = trial_key(secrets.token_hex(8))
        if (reason := await shortcomings.of_creates(results, key)) is not None:
            raise QueueAgentError(reason, type="creates")
        return f"{settings.bucket} is readable and writable"

    async def ready() -> str:
        told = Readiness.of(await runtime.ready())
        if not told:
            url = settings.runtime_url or runtime.default_url
            raise QueueAgentError(
                f"{settings.runtime} at {url} is not ready ({told.state}): {told.reason}"
            )
        return f"{settings.runtime} is ready"

    async def clock() -> str:
        offset = cloud.now() - time.time()
        if abs(offset) > TOLERATED:
            raise QueueAgentError(f"the cloud's clock is {offset:+.0f} s from this machine's")
        return "agrees with the cloud's"

    queues = {f"queue {name}".strip(): partial(queue, url) for name, url in settings.served.items()}
    return {
        **queues,
        "topic": topic,
        "bucket": bucket,
        "wiring": partial(no_loop, settings, cloud),
        "runtime": ready,
        "clock": clock,
    }


def _optional_trials(
    settings: Settings,
    models: ModelFetcher | None,
    checker: ContentChecker | None,
    files: KeyFiles | None,
) -> dict[str, Callable[[], Awaitable[str]]]:
    """Of what few operators have."""
    trials: dict[str, Callable[[], Awaitable[str]]] = {}
    if models is not None:
        trials["models"] = partial(_models, settings, models)
    if checker is not None:
        trials["content check"] = partial(_content, settings, checker)
    if files is not None:
        trials["signing"] = partial(signs, settings, files)
    return trials


async def _models(settings: Settings, models: ModelFetcher) -> str:
    await models.check()
    return f"{settings.models_folder} is writable"


async def _content(settings: Settings, checker: ContentChecker) -> str:
    """What the content check says of a picture that shows nothing: any verdict will do."""
    picture = Asset(_one_colour(), "image/png")
    trial = CheckedFile(
        picture,
        sha256=hashlib.sha256(picture.data).hexdigest(),
        number=1,
        role="output",
        job_id="queue-agent-check",
        task_type="text-to-image",
        runtime=settings.name,
        width=_SIDE,
        height=_SIDE,
        prompt="a trial" if settings.content_check_prompt else None,
    )
    verdict = await asked(checker, trial, settings.content_check_timeout)
    if verdict.replacement is not None:
        verdict.replacement.close()
    named = without_url_secrets(str(settings.content_check))
    return f"{named} gives verdicts: {verdict.decision} for a grey picture"


def _one_colour() -> bytes:
    from PIL import Image  # noqa: PLC0415  only here

    file = io.BytesIO()
    Image.new("RGB", (_SIDE, _SIDE), "grey").save(file, "PNG")
    return file.getvalue()


async def _pauses(settings: Settings, cloud: Cloud) -> str:
    """What operators hold back now; empty: nothing, or it is not looked for."""
    if not settings.pause_poll:
        return ""
    try:
        found = await PausesMarker(cloud.bucket(settings.bucket), settings.name).look()
    except Malformed as error:
        return f"{error.message} Agents go by what they understood last."
    except Unavailable as error:
        return f"Whether anything is paused cannot be seen: {error.message}"
    told = "; ".join(map(str, found.on(cloud.now())))
    return f"Paused: {told}. `queue-agent resume {settings.name}` ends it." if told else ""


async def _durability(settings: Settings, cloud: Cloud) -> str:
    """What may be lost of what the cloud has acknowledged; empty: nothing known."""
    return await cloud.durability(
        [*settings.served.values(), settings.topic_arn], bucket=settings.bucket
    )


async def _messages(settings: Settings, queue: Queue) -> str:
    """What is to be said of the messages that wait in a queue; empty: none do."""
    waiting = await look(queue, settings.name, most=settings.max_receives)
    if not waiting.looked_at:
        return ""
    counted = (
        f"{waiting.looked_at} that wait were looked at, which counts as a delivery of each "
        "(--no-messages leaves them alone)."
    )
    return f"{counted} {waiting.warning}".strip()


async def _links(settings: Settings, cloud: Cloud) -> str:
    """What ends links sooner than asked for; empty: nothing."""
    results, seconds = cloud.bucket(settings.bucket), settings.presign
    sure = await shortcomings.of_links(results, seconds)
    return sure or await shortcomings.of_renewals(results, seconds) or ""


async def _try(
    name: str, trial: Callable[[], Awaitable[str]], settings: Settings | None = None
) -> Finding:
    try:
        return Finding(name, True, await trial())
    except QueueAgentError as error:
        hint = _HINTS.get(error.type) or _HINTS.get(name) or ""
        if not hint and settings is not None:
            hint = _hint(_kind(name), error, settings)
        return Finding(name, False, error.message, hint)


def _kind(name: str) -> str:
    """Each of several queues is called by the queue's name, too."""
    return name.split(maxsplit=1)[0]


def _hint(kind: str, error: QueueAgentError, settings: Settings) -> str:
    """What may help where something in the cloud does not work."""
    address = {"topic": settings.topic_arn, "bucket": settings.bucket}.get(kind)
    on_nats = all(map(is_nats, [address] if address else settings.served.values()))
    known = remedy_of(error) if isinstance(error, Unavailable) else ""
    if on_nats:
        return f"{_NAMED_BY[kind]}? {known}"
    asked = f"{_NAMED_BY[kind]}, and {_RIGHTS_ON_AWS[kind]}"
    named = isinstance(error, Unavailable) and reason_of(error) != "unauthorized"
    return f"{asked} {known}" if named else asked


async def _write_and_remove(bucket: Bucket) -> None:
    key = trial_key(secrets.token_hex(8))
    if await bucket.exists(key):
        raise ObjectExists(f"{key} exists already")
    await bucket.write(key, b"check", media_type="text/plain", create_only=True)
    try:
        await bucket.read(key)
    finally:
        await bucket.delete(key)


def settings_table(settings: Settings, environment: Mapping[str, str] = os.environ) -> Table:
    """What each setting is and which variable says so; secrets are masked."""
    table = Table("setting", "value", "from", title="Effective settings")
    for field in settings.fields():
        name, *_ = names_of(Settings, field)
        value = without_url_secrets(settings.shown(field))
        table.add_row(name, value, origin(Settings, field, environment) or "default")
    return table
