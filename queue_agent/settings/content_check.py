"""What an operator's own check says of files before they are stored."""

import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator

from queue_agent.settings.reader import Reader, setting

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_ADDRESS: Final = re.compile(r"https?://[^/\s@]+(/\S*)?")


def _check(value: str) -> str:
    if "://" not in value:
        if not _NAME.fullmatch(value):
            raise ValueError("is neither an http(s) address nor the name of an installed check")
        return value
    if not _ADDRESS.fullmatch(value):
        raise ValueError("is no http(s) address without credentials")
    return value


class ContentCheckSettings(Reader):
    """Of the agent. Durations are in seconds."""

    content_check: Annotated[str, AfterValidator(_check)] | None = setting(
        "CONTENT_CHECK",
        default=None,
        description="What is asked about each file before anything else is done with it: an "
        "http(s) address, or the name of an installed check (entry point in the group "
        "`queue_agent.content_checks`). Jobs then have no previews.",
    )
    content_check_headers_file: Path | None = setting(
        "CONTENT_CHECK_HEADERS_FILE",
        default=None,
        description="File with header fields for each request to that address, such as its "
        "credentials: a JSON object, or lines `Name: value`; read at the start.",
    )
    content_check_timeout: float = setting(
        "CONTENT_CHECK_TIMEOUT",
        default=10.0,
        gt=0,
        description="Time limit for one verdict.",
    )
    content_check_concurrency: int = setting(
        "CONTENT_CHECK_CONCURRENCY",
        default=4,
        ge=1,
        le=256,
        description="Files that are checked at a time, at most.",
    )
    content_check_fail_open: bool = setting(
        "CONTENT_CHECK_FAIL_OPEN",
        default=False,
        description="Whether files are delivered, with a warning, of which there is no verdict "
        "within about twice the time limit. Else they wait for QUEUE_AGENT_STORE_PATIENCE, and "
        "then the attempt fails.",
    )
    content_check_quarantine: bool = setting(
        "CONTENT_CHECK_QUARANTINE",
        default=True,
        description="Whether withheld files are kept, below `quarantine/withheld/` in the bucket; "
        "else nothing is left of them.",
    )
    content_check_prompt: bool = setting(
        "CONTENT_CHECK_PROMPT",
        default=False,
        description="Whether the check is told the job's prompt.",
    )
