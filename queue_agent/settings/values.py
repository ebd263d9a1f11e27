"""The forms that settings take, each checked at one place."""

import re
from collections.abc import Callable
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_core import from_json

from queue_agent.cloud import addresses
from queue_agent.inputs.addresses import Allowlist
from queue_agent.wire.layout import clean_prefix, unreserved

_OF_THE_MESSAGE: Final = frozenset(
    {"connection", "content-length", "content-type", "te", "transfer-encoding", "upgrade"}
)
"""Header fields that say how a message is sent and read."""
_SECONDS: Final = r"[0-9]{1,9}(\.[0-9]{1,3})?"
_RUNTIME_ALIASES: Final = {"sdwebui": "webui"}


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _allowlist(value: tuple[str, ...]) -> tuple[str, ...]:
    Allowlist.parse(value)
    return value


def _runtime_type(value: str) -> str:
    name = value.strip().lower()
    return _RUNTIME_ALIASES.get(name, name)


def _base_url(value: str) -> str:
    url = value if "://" in value else f"http://{value}"
    if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", url):
        raise ValueError("is no http(s) address")
    if "@" in url:
        raise ValueError("holds credentials, which belong in QUEUE_AGENT_RUNTIME_AUTH")
    return re.sub(r"/sdapi/v1/?$", "", url).rstrip("/")


def _secret(check: Callable[[str], str]) -> AfterValidator:
    def checked(value: SecretStr) -> SecretStr:
        return SecretStr(check(value.get_secret_value()))

    return AfterValidator(checked)


def _credentials(value: str) -> str:
    text = value.rstrip("\r\n")
    if ":" not in text:
        raise ValueError("must be USER:PASSWORD")
    return text


def _token(value: str) -> str:
    """Secrets from files often end with a line's end, which no header may hold."""
    text = value.strip()
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ValueError("must be printable ASCII without blanks")
    return text


def header_fields(text: str) -> dict[str, str]:
    """Header fields of a JSON object, or of lines ``Name: value``.

    Raises:
        ValueError: it is neither, or holds what no request may; without any of the values.
    """
    pairs = _json_fields(text) if text.lstrip().startswith("{") else _line_fields(text)
    fields: dict[str, str] = {}
    for name, value in pairs:
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise ValueError("a header's name is empty or holds what none may")
        if name.lower() in _OF_THE_MESSAGE:
            raise ValueError(f"the header {name} is the agent's own to set")
        if name.lower() in map(str.lower, fields):
            raise ValueError(f"the header {name} stands twice")
        if not re.fullmatch(r"[\t\x20-\x7e\xa0-\xff]*", value):
            raise ValueError(f"the value of the header {name} holds what none may")
        fields[name] = value
    if not fields:
        raise ValueError("names no header")
    return fields


def _json_fields(text: str) -> list[tuple[str, str]]:
    try:
        found = from_json(text)
    except ValueError:
        raise ValueError("is no JSON object of texts") from None
    if not all(isinstance(value, str) for value in found.values()):
        raise ValueError("is no JSON object of texts")
    return [(name, value.strip()) for name, value in found.items()]


def _line_fields(text: str) -> list[tuple[str, str]]:
    pairs = []
    for number, line in enumerate(text.split("\n"), start=1):
        name, separator, value = line.partition(":")
        if line.strip() and not separator:
            raise ValueError(f'line {number} is not "Name: value"')
        if line.strip():
            pairs.append((name.strip(), value.strip()))
    return pairs


def _json_object(value: str) -> str:
    if not value.lstrip().startswith("{"):
        raise ValueError("must be a JSON object")
    try:
        from_json(value)
    except ValueError as error:
        raise ValueError(f"is no JSON: {error}") from None
    return value


def _headers(value: str) -> str:
    header_fields(value)
    return value


def rejoined(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Entries ``NAME=QUEUE_URL`` whole, of whom several servers of NATS, too, stand by commas."""
    entries: list[str] = []
    for part in parts:
        if entries and re.search(r"=(?:nats|tls)://[^/]*$", entries[-1]):
            entries[-1] += f",{part}"
        else:
            entries.append(part)
    return tuple(entries)


def _queues(value: tuple[str, ...]) -> tuple[str, ...]:
    entries = rejoined(value)
    for entry in entries:
        name, separator, url = entry.partition("=")
        if not name:
            raise ValueError("must be NAME or NAME=QUEUE_URL, by commas")
        unreserved(name)
        if separator:
            addresses.queue_url(url)
    return entries


def _models(value: tuple[str, ...]) -> tuple[str, ...]:
    for entry in value:
        name, _, target = entry.partition("=")
        runtime, separator, checkpoint = target.partition(":")
        if not name or not runtime or (separator and not checkpoint):
            raise ValueError("must be NAME=RUNTIME or NAME=RUNTIME:CHECKPOINT, by commas")
    return value


def seconds_by_task_type(entries: tuple[str, ...]) -> dict[str, float]:
    """The numbers of entries ``TASK_TYPE=SECONDS``.

    Raises:
        ValueError: one of them is none.
    """
    found: dict[str, float] = {}
    for entry in entries:
        name, _, number = (part.strip() for part in entry.partition("="))
        if not re.fullmatch(r"[a-z0-9-]{1,64}", name) or not re.fullmatch(_SECONDS, number):
            raise ValueError("must be TASK_TYPE=SECONDS, by commas")
        if name in found:
            raise ValueError(f"names {name} twice")
        found[name] = float(number)
        if not found[name]:
            raise ValueError(f"{name}: must be more than 0")
    return found


def _seconds_by_task_type(value: tuple[str, ...]) -> tuple[str, ...]:
    seconds_by_task_type(value)
    return value


def _prefixes(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(clean_prefix(prefix) for prefix in value)


BucketName = Annotated[str, AfterValidator(addresses.bucket_name)]
QueueUrl = Annotated[str, AfterValidator(addresses.queue_url)]
TopicArn = Annotated[str, AfterValidator(addresses.topic)]

Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
"""Separated by commas."""
Hosts = Annotated[Names, AfterValidator(_allowlist)]
"""Networks, addresses, host names and ``*.suffix`` hosts."""
Prefixes = Annotated[Names, AfterValidator(_prefixes)]
"""Folders of the bucket that results may lie in."""
QueuesByRuntime = Annotated[Names, AfterValidator(_queues)]
"""``NAME`` or ``NAME=QUEUE_URL``."""
SecondsByTaskType = Annotated[Names, AfterValidator(_seconds_by_task_type)]
"""``TASK_TYPE=SECONDS``; read by `seconds_by_task_type`."""
ModelNames = Annotated[Names, AfterValidator(_models)]
"""``NAME=RUNTIME`` or ``NAME=RUNTIME:CHECKPOINT``."""

RuntimeName = Annotated[str, AfterValidator(unreserved)]
"""What a runtime may be called, given where things lie in the bucket."""
RuntimeType = Annotated[str, AfterValidator(_runtime_type)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
Credentials = Annotated[SecretStr, _secret(_credentials)]
Token = Annotated[SecretStr, _secret(_token)]
Headers = Annotated[SecretStr, _secret(_headers)]
"""A JSON object, or lines ``Name: value``; see `header_fields`."""
JsonObjectText = Annotated[str, AfterValidator(_json_object)]
"""The text of a JSON object."""

LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)
]
LogFormat = Literal["auto", "json", "console"]

Port = Annotated[int, Field(ge=1, le=65_535)]
LinkSeconds = Annotated[float, Field(ge=0, le=604_800)]
"""S3 signs no link for longer than a week; 0: no links."""
