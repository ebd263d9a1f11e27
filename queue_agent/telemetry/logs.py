"""Logs: JSON lines in a container, coloured lines in a terminal, always on standard error."""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, Final, Literal

import structlog
from opentelemetry import trace

LogFormat = Literal["auto", "json", "console"]

_CREDENTIALS: Final = re.compile(r"://\S{0,1000}@")
_QUERY: Final = re.compile(r"\?[^\s\"'<>=]{1,1000}=[^\s\"'<>]*")


def configure_logs(level: str = "INFO", style: LogFormat = "auto") -> None:
    """Set up structlog for the process, and let other libraries' warnings pass through it."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _with_trace,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderers: list[structlog.typing.Processor] = (
        [
            structlog.processors.format_exc_info,
            _blank_url_secrets,
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ]
        if console
        else [_tracebacks(), _blank_url_secrets, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    # below warnings, HTTP libraries log addresses, which may hold secrets
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def _with_trace(
    logger: object, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Name the trace and the span that the line belongs to, as OpenTelemetry's logs do."""
    del logger, method
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event


def _blank_url_secrets(
    logger: object, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Blank out what URLs hide: credentials, and queries, which may be signatures.

    Our own messages have neither, but a foreign exception may quote anything.
    """
    del logger, method
    return {name: _blanked(value) for name, value in event.items()}


def without_url_secrets(text: str) -> str:
    """The text with blanks for the queries and credentials of the URLs in it."""
    return _QUERY.sub("?***", _CREDENTIALS.sub("://***@", text))


def _blanked(value: Any) -> Any:
    if isinstance(value, str):
        return without_url_secrets(value)
    if isinstance(value, Mapping):
        return {name: _blanked(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_blanked(item) for item in value]
    return value


def _tracebacks() -> structlog.typing.Processor:
    """Tracebacks without local variables, which may hold secrets."""
    transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return structlog.processors.ExceptionRenderer(transformer)
