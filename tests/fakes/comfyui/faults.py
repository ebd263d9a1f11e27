"""What a test can tell the fake to do wrong, by `POST /fake/faults`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Faults(BaseModel):
    """How the fake misbehaves; a fault not named in a request goes back to its default."""

    model_config = ConfigDict(extra="forbid")

    socket: Literal["normal", "silent", "flood", "refuse", "drop", "busy"] = "normal"
    """`silent` sends nothing after the first status; `flood` sends thousands of frames that
    concern nobody before each event; `drop` closes the connection at the first sampler step; `busy`
    is encoding the first image that it is to send, and sends nothing until it is told otherwise."""
    previews: bool = False
    """Send a binary preview at each sampler step."""
    late_events: bool = False
    """Repeat the closing events of the previous prompt when the next one starts."""
    paused: bool = False
    """Sampling stands still, except that an interrupt ends it."""
    worker: Literal["normal", "dead", "idle", "deaf"] = "normal"
    """The thread that executes prompts: `dead` ends within a sampler's first step, whose prompt
    stays in the running queue for ever; `idle` takes no prompt any more; `deaf` heeds no
    interrupt. The first two stay so until the fake is started anew."""
    fail_next: Literal["oom", "exception", "cuda"] | None = None
    """Let the next prompt's sampler, or its last node, raise."""
    fail_always: Literal["oom", "exception", "cuda"] | None = None
    view: Literal["normal", "html", "missing", "truncated", "oversized", "slow"] = "normal"
    gone: str | None = None
    """Files whose names have this in them are missing."""
    status: int | None = None
    """Answer every request but those under /fake with this status."""
    prompt_status: int | None = None
    """Answer `POST /prompt` with this status and an HTML page."""
    history: Literal["normal", "empty"] = "normal"
    """`empty` forgets each finished prompt at once, as a full history does."""
    object_info: Literal["normal", "missing"] = "normal"
