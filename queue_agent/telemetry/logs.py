"""Logs: JSON lines in a container, coloured lines in a terminal, always on standard error."""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, Final, Literal

import structlog
from opentelemetry import trace

LogFormat = Literal["auto", "json", "console"]

_WORD: Final = re.compile(r"[^ \t\r\n]+")
_AFTER_SCHEME: Final = re.compile(r":\\{0,2}/\\{0,2}/")
"""Also with the backslashes of JSON that is quoted."""
_CLOSING: Final = "\"')]}>.,;:"
_BLANK: Final = "***"


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
    """The text with blanks for the queries and credentials of the URLs in it.

    A URL is thought to reach to the next blank, whatever else is in it: quotes and brackets may
    be part of a secret, and what follows them is better lost than told.
    """
    return _WORD.sub(_word_without_secrets, text)


def _word_without_secrets(found: re.Match[str]) -> str:
    word = found[0]
    scheme = _AFTER_SCHEME.search(word)
    path, mark, query = word.partition("?")
    if scheme is None or (mark and scheme.start() > len(path)):
        return f"{path}?{_BLANK}{_closing(word)}" if "=" in query or scheme else word
    begin, rest = word[: scheme.end()], word[scheme.end() :]
    query_at = min((at for at in map(rest.find, "?#") if at >= 0), default=len(rest))
    host_at = rest.rfind("@") + 1
    if host_at > query_at:  # a query with an @, or credentials with a question mark
        return f"{begin}{_BLANK}{_closing(word)}"
    shown = (f"{_BLANK}@" if host_at else "") + rest[host_at:query_at]
    if query_at == len(rest):
        return begin + shown
    return f"{begin}{shown}{rest[query_at]}{_BLANK}{_closing(word)}"


def _closing(word: str) -> str:
    return word[len(word.rstrip(_CLOSING)) :]


def _blanked(value: Any) -> Any:
    if isinstance(value, str):
        return without_url_secrets(value)
    if isinstance(value, Mapping):
        return {_blanked(name): _blanked(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_blanked(item) for item in value]
    if value is None or isinstance(value, int | float):
        return value
    return without_url_secrets(repr(value))  # as it would be written


def _tracebacks() -> structlog.typing.Processor:
    """Tracebacks without local variables, which may hold secrets."""
    transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return structlog.processors.ExceptionRenderer(transformer)
