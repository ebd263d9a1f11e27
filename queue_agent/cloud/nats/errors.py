"""What the NATS client raises in the words of `queue_agent.wire.errors`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from nats import errors
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError, ServiceUnavailableError

from queue_agent.cloud.refusals import type_of
from queue_agent.wire.errors import (
    ObjectExists,
    ObjectNotFound,
    QueueAgentError,
    Unanswered,
    Unavailable,
)

FAILURES: Final = (errors.Error, OSError, TimeoutError, RuntimeError)
"""What the client raises when it cannot talk to a server; the last is how uvloop says that the
socket was closed, of which the client itself has not heard yet."""
NO_MESSAGE: Final = 10037
_NO_NUMBER: Final = 10043
NO_CONSUMER: Final = 10014
"""Some of the servers' error codes:
https://github.com/nats-io/nats-server/blob/main/server/errors.json
"""
_NO_STREAM: Final = 10059
_EXISTS: Final = frozenset({10071, 10164})
"""Another message is the subject's last than the one named."""
_FULL: Final = frozenset({10002, 10023, 10028, 10047, 10077, 10122})
_REMEDIES: Final = {
    10026: "Allow the account more consumers (max_consumers).",
    10027: "Allow the account more streams (max_streams): `queue-agent setup` makes five.",
    10039: "Enable JetStream for this account, or name a user of one that has it.",
    10113: "The account wants a limit of each stream (max_bytes_required): `queue-agent setup` "
    "sets them by --stream-bytes and --bucket-bytes.",
}
"""What to do, by the servers' error codes."""
_MAKE: Final = "Does `queue-agent setup` have to be run, or do the settings name another stream?"
_ROOM: Final = "Give the server's store more room, or let streams and buckets keep less."


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Translate what the client raises."""
    try:
        yield
    except APIError as error:
        raise _from_server(error, action) from error
    except errors.NoRespondersError as error:
        raise _without_jetstream(action) from error
    except NoStreamResponseError as error:
        raise Unavailable(
            f"Could not {action}: no stream takes it, or its leader is away.",
            type=type_of("not_found"),
            remedy=_MAKE,
        ) from error
    except (errors.TimeoutError, TimeoutError) as error:
        raise Unanswered(f"Could not {action}: no answer came.") from error
    except RuntimeError as error:  # part of it may have been sent
        raise Unanswered(f"Could not {action}: the connection was lost.") from error
    except (errors.Error, OSError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise Unavailable(f"Could not {action}: {reason}", type=type_of("unavailable")) from error


def unauthorized(action: str, reason: str) -> Unavailable:
    """The user may not do this."""
    return Unavailable(
        f"Could not {action}: {reason}",
        type=type_of("unauthorized"),
        remedy="Allow the user this subject in the server's configuration; docs/nats.md lists all.",
    )


def unavailable(action: str, reason: str, code: int | None) -> Unavailable:
    """What the servers said by a code, none of which means an object's existence."""
    if code in {NO_CONSUMER, _NO_STREAM}:
        kind, remedy = "not_found", _MAKE
    else:
        kind, remedy = "unavailable", _ROOM if code in _FULL else _REMEDIES.get(code or 0, "")
    return Unavailable(
        f"Could not {action}: {reason or 'there is none'}", type=type_of(kind), remedy=remedy
    )


def _from_server(error: APIError, action: str) -> QueueAgentError:
    code = error.err_code
    reason = f"{error.description or type(error).__name__} ({code or error.code})"
    if code in _EXISTS:
        return ObjectExists(f"Could not {action}: {reason}")
    absent = isinstance(error, NotFoundError) and code in {NO_MESSAGE, None}
    if absent or code == _NO_NUMBER:
        return ObjectNotFound(f"Could not {action}: {reason}")
    if isinstance(error, ServiceUnavailableError) and code is None:
        return _without_jetstream(action)
    return unavailable(action, reason, code)


def _without_jetstream(action: str) -> Unavailable:
    return Unavailable(
        f"Could not {action}: JetStream does not answer.",
        type=type_of("unavailable"),
        remedy="Is it enabled in the servers' configuration, for this account, and are enough of "
        "the servers there to choose a leader?",
    )
