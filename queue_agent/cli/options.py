"""What the parts of an agent are told, made from its settings."""

import ssl
from dataclasses import replace
from pathlib import Path
from typing import Final

from pydantic import JsonValue
from pydantic_core import from_json

from queue_agent.cli.provenance_options import provenance_step
from queue_agent.inputs.references import ReferencePolicy
from queue_agent.outputs import Conversion, ConversionPolicy, OutputStage, WorkerProcesses
from queue_agent.outputs.check_endpoint import EndpointChecker
from queue_agent.outputs.checkers import ContentChecker, load_check
from queue_agent.runtime import Runtime, RuntimeOptions, load_runtime
from queue_agent.settings.agent import Settings
from queue_agent.settings.values import header_fields
from queue_agent.telemetry.metrics import Metrics
from queue_agent.telemetry.options import TelemetryOptions
from queue_agent.wire.errors import Rejected, SettingsError
from queue_agent.wire.job import Job
from queue_agent.wire.output import OutputOptions
from queue_agent.wire.signing import SigningSecret
from queue_agent.wire.submission import complete, read_body
from queue_agent.worker.content_check import ContentCheck, ContentCheckPolicy
from queue_agent.worker.webhooks import WebhookPolicy

WARM_UP_ID: Final = "warm-up"
OWN_WARM_UP: Final = "default"
"""In place of a job: the runtime's own."""

_OF_SIGNERS: Final = (
    *("AWS_*", "SSL_CERT_DIR", "SSL_CERT_FILE"),
    *("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy"),
)
"""What processes that sign need of the environment where they ask a timestamp authority, or KMS.
They decode no pictures, and those that do have neither this nor the signer's key."""


def make_runtime(settings: Settings) -> Runtime:
    """The adapter, told what concerns it.

    Raises:
        SettingsError: there is none of that name, or it cannot use what it is told.
    """
    runtime = load_runtime(settings.runtime)(runtime_options(settings))
    if settings.runtime_options and type(runtime).own_options is None:
        raise SettingsError(
            f"QUEUE_AGENT_RUNTIME_OPTIONS: the adapter {settings.runtime} has no options of its own"
        )
    if settings.workflows is not None and not runtime.workflows():
        raise SettingsError(
            f"QUEUE_AGENT_WORKFLOWS: the adapter {settings.runtime} knows no workflows by name"
        )
    if settings.runtime_files is not None and type(runtime).clean_up is Runtime.clean_up:
        raise SettingsError(
            f"QUEUE_AGENT_RUNTIME_FILES: the adapter {settings.runtime} removes no files"
        )
    return runtime


def output_stage(
    settings: Settings, check: ContentCheck | None = None, metrics: Metrics | None = None
) -> OutputStage:
    """What is done with files between run and store: they are checked as they were made.

    Raises:
        SettingsError: what they are to be signed with cannot be used.
    """
    defaults = OutputOptions.model_construct(
        format=settings.output_format,
        quality=settings.output_quality,
        max_side=settings.output_max_side,
        lossless=settings.output_lossless or None,
        keep_original=settings.output_keep_original or None,
        metadata=settings.output_metadata,
        thumbnail=settings.output_thumbnail or None,
        animated_thumbnail=settings.output_animated_thumbnail or None,
    )
    policy = ConversionPolicy(
        defaults,
        settings.output_video_format,
        mark=settings.output_mark,
        hide_graphs=settings.presign > 0,
    )
    workers = WorkerProcesses(
        settings.output_processes, settings.output_timeout, settings.output_memory
    )
    asks_others = settings.provenance_kms_key or settings.provenance_timestamp_url
    signers = replace(workers)
    if asks_others is not None:
        signers = replace(workers, network=True, environment=_OF_SIGNERS)
    conversion = Conversion(policy, workers)
    signing = provenance_step(settings, policy, signers, metrics)
    steps = (check, conversion, signing)
    return OutputStage(
        tuple(step for step in steps if step is not None), wants_inputs=signing is not None
    )


def content_checker(settings: Settings) -> ContentChecker | None:
    """What the operator has files checked by.

    Raises:
        SettingsError: no check is installed under that name, or the file of header fields cannot
            be used.
    """
    named = settings.content_check
    if named is None:
        return None
    if "://" not in named:
        return load_check(named)()
    return EndpointChecker(
        named,
        headers=_fields_of("CONTENT_CHECK_HEADERS_FILE", settings.content_check_headers_file),
        connections=settings.content_check_concurrency,
    )


def content_check_policy(settings: Settings) -> ContentCheckPolicy:
    """For the step that asks it."""
    return ContentCheckPolicy(
        settings.name,
        timeout=settings.content_check_timeout,
        concurrency=settings.content_check_concurrency,
        patience=settings.store_patience,
        fail_open=settings.content_check_fail_open,
        quarantine=settings.content_check_quarantine,
        tells_prompt=settings.content_check_prompt,
    )


def preview_interval(settings: Settings) -> float | None:
    """Between two previews of a job; None: there are none, since nobody would check them."""
    return (settings.preview_interval or None) if settings.content_check is None else None


def runtime_options(settings: Settings) -> RuntimeOptions:
    """For the adapter.

    Raises:
        SettingsError: a file that they name cannot be read, or holds what it should not.
    """
    auth = settings.runtime_auth.get_secret_value() if settings.runtime_auth else None
    username, _, password = auth.partition(":") if auth else (None, None, None)
    key = settings.runtime_api_key.get_secret_value() if settings.runtime_api_key else None
    return RuntimeOptions(
        base_url=settings.runtime_url,
        username=username,
        password=password,
        api_key=key,
        headers=_headers(settings),
        ca_file=_authorities(settings.runtime_ca_file),
        switch_models=settings.switch_models,
        workflows=settings.workflows,
        files=settings.runtime_files,
        output_hosts=settings.reference_allow,
        checkpoint_limit=settings.checkpoint_limit,
        own=from_json(settings.runtime_options) if settings.runtime_options else {},
    )


def _headers(settings: Settings) -> dict[str, str]:
    secret = settings.runtime_headers
    found = header_fields(secret.get_secret_value()) if secret else {}
    return found | _fields_of("RUNTIME_HEADERS_FILE", settings.runtime_headers_file)


def _fields_of(name: str, file: Path | None) -> dict[str, str]:
    """The header fields in the file that a setting names, if it names one."""
    if file is None:
        return {}
    try:
        return header_fields(file.read_text())
    except OSError as error:
        reason = f"{file} cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        reason = f"{file} holds no text"
    except ValueError as error:
        reason = f"{file}: {error}"
    raise SettingsError(f"QUEUE_AGENT_{name}: {reason}.")


def _authorities(file: Path | None) -> Path | None:
    """The file, which holds certificates."""
    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:
        reason = f"{file} holds no certificates in PEM: {error.strerror or error}"
        raise SettingsError(f"QUEUE_AGENT_RUNTIME_CA_FILE: {reason}.") from error
    return file


def warm_up_job(settings: Settings, runtime: Runtime) -> Job | None:
    """What the operator warms the runtime up with.

    Raises:
        SettingsError: it cannot be read, or is no job for this runtime.
    """
    if (text := settings.warm_up) is None:
        if settings.keep_warm:
            raise SettingsError("QUEUE_AGENT_KEEP_WARM: needs QUEUE_AGENT_WARM_UP")
        return None
    try:
        job = complete(_warm_up_body(text, runtime), job_id=WARM_UP_ID)
    except (OSError, UnicodeDecodeError) as error:
        reason = f"cannot be read: {getattr(error, 'strerror', 'no text')}"
    except Rejected as error:
        reason = error.message
    else:
        if job.task_type in runtime.task_types:
            return job
        reason = f"{settings.runtime} has no task {job.task_type!r}"
    raise SettingsError(f"QUEUE_AGENT_WARM_UP: {reason}")


def _warm_up_body(text: str, runtime: Runtime) -> dict[str, JsonValue]:
    """Of the job itself, of a file that holds it, or of the runtime's own.

    Raises:
        Rejected: it is no job, or the runtime has none.
        OSError: the file cannot be read.
    """
    if text.strip() == OWN_WARM_UP:
        if (body := runtime.warm_up()) is None:
            raise Rejected(f"{runtime.name} has no job of its own for that")
        return dict(body)
    return read_body(text if text.lstrip().startswith("{") else Path(text).read_text())


def reference_policy(settings: Settings) -> ReferencePolicy:
    """For inputs and offloaded payloads."""
    return ReferencePolicy(
        allow=settings.reference_allow,
        buckets=settings.readable_buckets,
        max_bytes=settings.reference_max_bytes,
        max_pixels=settings.reference_max_pixels,
        timeout=settings.reference_timeout,
    )


def telemetry_options(settings: Settings) -> TelemetryOptions:
    """For traces and metrics; none are kept for a page that nobody can ask for."""
    metrics = settings.metrics
    if settings.health_port == 0 and metrics in {"prometheus", "both"}:
        metrics = "otlp" if metrics == "both" else "off"
    return replace(settings.tracing_options("queue-agent"), metrics=metrics)


def webhook_policy(settings: Settings) -> WebhookPolicy:
    """For callbacks."""
    secret = settings.webhook_secret
    return WebhookPolicy(
        hosts=settings.webhook_hosts,
        secret=SigningSecret.parse(secret.get_secret_value()) if secret else None,
        trusted=settings.reference_allow,
    )
