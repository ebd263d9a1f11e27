"""What the parts of an agent are told, made from its settings."""

import dataclasses
import ssl
from pathlib import Path
from typing import Final

from pydantic_core import from_json

from queue_agent.cli.provenance_options import provenance_step
from queue_agent.inputs.references import ReferencePolicy
from queue_agent.outputs import Conversion, ConversionPolicy, OutputStage, WorkerProcesses
from queue_agent.runtime import Runtime, RuntimeOptions, load_runtime
from queue_agent.settings.agent import Settings
from queue_agent.settings.values import header_fields
from queue_agent.telemetry.options import TelemetryOptions
from queue_agent.wire.errors import Rejected, SettingsError
from queue_agent.wire.job import Job
from queue_agent.wire.output import OutputOptions
from queue_agent.wire.signing import SigningSecret
from queue_agent.wire.submission import complete, read_body
from queue_agent.worker.webhooks import WebhookPolicy

WARM_UP_ID: Final = "warm-up"


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


def output_stage(settings: Settings) -> OutputStage:
    """What is done with files between run and store.

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
    )
    policy = ConversionPolicy(defaults, mark=settings.output_mark, hide_graphs=settings.presign > 0)
    workers = WorkerProcesses(
        settings.output_processes, settings.output_timeout, settings.output_memory
    )
    conversion = Conversion(policy, workers)
    if (signing := provenance_step(settings, policy, workers)) is None:
        return OutputStage((conversion,))
    return OutputStage((conversion, signing), wants_inputs=True)


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
        own=from_json(settings.runtime_options) if settings.runtime_options else {},
    )


def _headers(settings: Settings) -> dict[str, str]:
    secret, file = settings.runtime_headers, settings.runtime_headers_file
    found = header_fields(secret.get_secret_value()) if secret else {}
    if file is None:
        return found
    try:
        return found | header_fields(file.read_text())
    except OSError as error:
        reason = f"{file} cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        reason = f"{file} holds no text"
    except ValueError as error:
        reason = f"{file}: {error}"
    raise SettingsError(f"QUEUE_AGENT_RUNTIME_HEADERS_FILE: {reason}.")


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
        return None
    try:
        if not text.lstrip().startswith("{"):
            text = Path(text).read_text()
        job = complete(read_body(text), job_id=WARM_UP_ID)
    except (OSError, UnicodeDecodeError) as error:
        reason = f"cannot be read: {getattr(error, 'strerror', 'no text')}"
    except Rejected as error:
        reason = error.message
    else:
        if job.task_type in runtime.task_types:
            return job
        reason = f"{settings.runtime} has no task {job.task_type!r}"
    raise SettingsError(f"QUEUE_AGENT_WARM_UP: {reason}")


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
    return dataclasses.replace(settings.tracing_options("queue-agent"), metrics=metrics)


def webhook_policy(settings: Settings) -> WebhookPolicy:
    """For callbacks."""
    secret = settings.webhook_secret
    return WebhookPolicy(
        hosts=settings.webhook_hosts,
        secret=SigningSecret.parse(secret.get_secret_value()) if secret else None,
        trusted=settings.reference_allow,
    )
