"""The bucket's layout: every key that is written or read, and which first segments are taken.

{prefix}/{id}/{id}-{digest16}-{n}.{ext}    artifacts, n from 1
{prefix}/{id}/{id}-{digest16}-{n}-poster.jpg  the first frame of such a one that is a video
{prefix}/{id}/{id}-{digest16}-{n}-{role}.{ext}  their thumbnails, and originals that are kept
{prefix}/{id}/{id}-{digest16}.out          the result manifest
{prefix}/{id}/{id}-{digest}.claim          which message's the job is, while it is worked on
{prefix}/{id}/{id}-{digest}.preview        an image of the work under way, until its end
output/queue-agent-check/{token}           what `queue-agent check` writes and removes
cancelled/{id}                             cancel markers
quarantine/{date}/{message-id}.json        messages that could not be worked on
quarantine/withheld/{date}/{id}-…          files that the content check withheld
inputs/{digest}.{ext}                      files that clients uploaded
payloads/{id}-{digest}.json                jobs too large for the topic
gateway/jobs/{owner}/{id}.json             what a gateway was asked, by whom
gateway/requests/{owner}/{id}-{digest}.json  all of that, where it is too large for the former
gateway/recent/{owner}/{age}-{id}          for listing, the newest first: `age` counts down
gateway/slots/{owner}/{number}-{generation}  for quotas; the highest generation holds the slot
gateway/options/{owner}/{runtime}.json     what an owner set for all own jobs at a runtime
runtimes/{name}.json                       what a runtime offers, as its agents say
runtimes/{name}/runs/{number}.json         what its jobs took, for estimates; counts down
pauses/{name}.json                         what operators have paused of a runtime
runtimes/{name}/agents/{agent}.json        which models one of its agents has loaded
checkpoints/{name}/{id}-{digest}-{prefix}/{done}-{attempt}  how far an attempt at a job came;
                                           of the job's prefix 16 digits of its SHA-256
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol
from unicodedata import normalize
from urllib.parse import quote, unquote

from queue_agent.wire.media_types import extension

DEFAULT_PREFIX: Final = "output"
"""Where the results of a job lie that names no prefix, or an empty one."""

CANCELLED: Final = "cancelled"
CHECKPOINTS: Final = "checkpoints"
GATEWAY: Final = "gateway"
INPUTS: Final = "inputs"
PAUSES: Final = "pauses"
PAYLOADS: Final = "payloads"
QUARANTINE: Final = "quarantine"
RUNTIMES: Final = "runtimes"

RESERVED: Final = (
    CANCELLED,
    CHECKPOINTS,
    GATEWAY,
    INPUTS,
    PAUSES,
    PAYLOADS,
    QUARANTINE,
    RUNTIMES,
)
"""First segments with a meaning of their own: no prefix begins so, no runtime is called so."""

AS_LONG_AS_MESSAGES: Final = (CANCELLED, CHECKPOINTS, PAYLOADS)
"""Folders whose objects nobody needs once no queue can hold their job's message any more."""

WRITTEN_BY_PUBLISHERS: Final = (CANCELLED, INPUTS, PAYLOADS)
"""Folders that agents only read."""

OFFERS: Final = f"{RUNTIMES}/"
"""What the keys of all offers begin with."""

CANCEL_MARKERS: Final = f"{CANCELLED}/"
"""What the keys of all cancel markers begin with."""

_DIGEST_DIGITS: Final = 16
"""How many digits of the digest names have; the manifest has all of them, which are compared."""
_PAYLOAD_DIGITS: Final = 16
_RUNS_DIGITS: Final = 12
_MOST_RUNS: Final = 10**_RUNS_DIGITS - 1
_MANIFEST_SUFFIX: Final = ".out"
_CLAIM_SUFFIX: Final = ".claim"
_PREVIEW_SUFFIX: Final = ".preview"
_CHECKPOINT: Final = re.compile(r"/(\d{1,19})-(\d{1,19})", re.ASCII)


class Storable(Protocol):
    """What the names of a job's results are made of."""

    @property
    def id(self) -> str: ...

    @property
    def prefix(self) -> str: ...

    @property
    def digest(self) -> str: ...


@dataclass(frozen=True)
class ResultKeys:
    """The keys of everything one job leaves in the bucket."""

    folder: str
    id: str
    digest: str

    @classmethod
    def of(cls, job: Storable) -> "ResultKeys":
        return cls(result_folder(job.prefix, job.id), job.id, job.digest)

    @property
    def manifest(self) -> str:
        """Where the manifest lies unless another job's has that name."""
        return self.manifests[0]

    @property
    def manifests(self) -> tuple[str, str]:
        """Where to look for the manifest: the second where another job's is at the first."""
        first, second = (
            f"{self.folder}/{self.id}-{digits}{_MANIFEST_SUFFIX}"
            for digits in (self.digest[:_DIGEST_DIGITS], self.digest)
        )
        return first, second

    @property
    def claim(self) -> str:
        """Where it stands by which message the job is being worked on."""
        return f"{self.folder}/{self.id}-{self.digest}{_CLAIM_SUFFIX}"

    @property
    def preview(self) -> str:
        """Where the latest image of the work under way lies, of a job that asks for them."""
        return f"{self.folder}/{self.id}-{self.digest}{_PREVIEW_SUFFIX}"

    def artifact(
        self, number: int, media_type: str, *, own: str = "", variant: str = "", suffix: str = ""
    ) -> str:
        """The key of the `number`-th artifact, counted from 1, or of a variant of it.

        `own` is the extension that the runtime gave it, and `suffix` tells it apart from that
        of another attempt at the same job.
        """
        name = f"{self.id}-{self.digest[:_DIGEST_DIGITS]}-{number}"
        name += f"-{variant}" if variant else ""
        name += f"-{suffix}" if suffix else ""
        return f"{self.folder}/{name}.{extension(media_type, own)}"

    def poster(self, number: int, media_type: str, *, suffix: str = "") -> str:
        """The key of the first frame of the `number`-th artifact, a video; as `artifact`."""
        suffix = f"poster-{suffix}" if suffix else "poster"
        return self.artifact(number, media_type, suffix=suffix)


def clean_prefix(value: str) -> str:
    """A prefix without needless slashes; the default where it is empty.

    Raises:
        ValueError: results may not lie there.
    """
    parts = [part for part in value.split("/") if part]
    read = normalize("NFKC", unquote(value))  # as some stores and proxies would
    read_parts = [part for part in re.split(r"[/\\]", read) if part]
    if any(part in {".", ".."} for part in read_parts):
        raise ValueError("must not contain '.' or '..' as a path segment")
    if not (value.isprintable() and read.isprintable()) or "\\" in value:
        raise ValueError("must not contain control characters or backslashes")
    if read_parts and read_parts[0].casefold() in RESERVED:
        raise ValueError(f"must not begin with any of {', '.join(RESERVED)}")
    return "/".join(parts) or DEFAULT_PREFIX


def unreserved(value: str) -> str:
    """A runtime's name, as it is.

    Raises:
        ValueError: a folder of the bucket has a meaning of its own under that name.
    """
    if normalize("NFKC", unquote(value)).strip().casefold() in RESERVED:
        raise ValueError(f"must be none of {', '.join(RESERVED)}")
    return value


def result_folder(prefix: str, job_id: str) -> str:
    """The folder of a job's results, whatever its content."""
    return f"{prefix}/{job_id}"


def manifests_begin(folder: str, job_id: str) -> str:
    """What the keys of a job's manifests begin with, whatever its content."""
    return f"{folder}/{job_id}-"


def is_manifest(key: str) -> bool:
    """Whether a key in such a folder is that of a manifest."""
    return key.endswith(_MANIFEST_SUFFIX)


def is_of_work_under_way(key: str) -> bool:
    """Whether a key in such a folder is that of something that an agent removes at the end."""
    return key.endswith((_CLAIM_SUFFIX, _PREVIEW_SUFFIX))


def cancel_marker(job_id: str) -> str:
    """An object under this key, whatever it holds, cancels the job."""
    return f"{CANCEL_MARKERS}{job_id}"


def quarantine_key(date: str, message_id: str) -> str:
    """Where a message lies that could not be worked on."""
    return f"{QUARANTINE}/{date}/{message_id}.json"


def withheld_key(date: str, job: Storable, number: int, sha256: str, media_type: str) -> str:
    """Where the `number`-th artifact of a job lies that was withheld, of these bytes."""
    name = f"{job.id}-{job.digest[:_DIGEST_DIGITS]}-{number}-{sha256[:_DIGEST_DIGITS]}"
    return f"{QUARANTINE}/withheld/{date}/{name}.{extension(media_type)}"


def is_quarantined(key: str) -> bool:
    """Whether a key lies where agents put aside what nobody may use, as any store may read it."""
    parts = re.split(r"[/\\]", normalize("NFKC", unquote(key)))
    return next((part for part in parts if part), "").casefold() == QUARANTINE


def input_key(digest: str, media_type: str) -> str:
    """Where a file lies that was uploaded for a job; `digest` is that of its bytes."""
    return f"{INPUTS}/{digest}.{extension(media_type)}"


def payload_key(job_id: str, digest: str) -> str:
    """Where a job lies that is too large for the topic; `digest` is that of its text."""
    return f"{PAYLOADS}/{job_id}-{digest[:_PAYLOAD_DIGITS]}.json"


def is_payload(key: str) -> bool:
    """Whether a key is one of those where jobs lie that are too large for the topic."""
    return key.startswith(f"{PAYLOADS}/")


def record_key(owner: str, job_id: str) -> str:
    """Where a gateway's record of an owner's job lies."""
    return f"{GATEWAY}/jobs/{owner}/{job_id}.json"


def request_key(owner: str, job_id: str, digest: str) -> str:
    """Where a gateway keeps what an owner's job asked for, if its record is too small for it."""
    return f"{GATEWAY}/requests/{owner}/{job_id}-{digest[:_PAYLOAD_DIGITS]}.json"


def recent_folder(owner: str) -> str:
    """The folder, with its slash, of the marks by which an owner's jobs are listed."""
    return f"{GATEWAY}/recent/{owner}/"


def slots_folder(owner: str) -> str:
    """The folder, with its slash, of the slots that an owner's unfinished jobs hold."""
    return f"{GATEWAY}/slots/{owner}/"


def options_key(owner: str, runtime: str) -> str:
    """Where a gateway keeps what an owner set for all own jobs at a runtime."""
    return f"{GATEWAY}/options/{owner}/{quote(runtime, safe='')}.json"


def offer_key(runtime: str) -> str:
    """Where agents say what a runtime of that name offers."""
    return f"{RUNTIMES}/{quote(runtime, safe='')}.json"


def is_offer(key: str) -> bool:
    """Whether a key of that folder is that of an offer."""
    return "/" not in key.removeprefix(OFFERS)


def runtime_of_offer(key: str) -> str:
    """The name of the runtime whose offer lies there."""
    return unquote(key.removeprefix(OFFERS).removesuffix(".json"))


def seen_runs_folder(runtime: str) -> str:
    """The folder, with its slash, of what the agents of a runtime have seen its jobs take."""
    return f"{OFFERS}{quote(runtime, safe='')}/runs/"


def seen_runs_key(runtime: str, number: int) -> str:
    """Where the `number`-th such file lies; of two, the later one comes first in a listing."""
    return f"{seen_runs_folder(runtime)}{_MOST_RUNS - number:0{_RUNS_DIGITS}}.json"


def number_of_seen_runs(key: str) -> int:
    """The number of such a file; 0 where it has none."""
    name = key.rpartition("/")[2].removesuffix(".json")
    return _MOST_RUNS - int(name) if name.isascii() and name.isdigit() else 0


def pauses_key(runtime: str) -> str:
    """Where operators say what is paused of a runtime of that name."""
    return f"{PAUSES}/{quote(runtime, safe='')}.json"


def runtime_of_pauses(key: str) -> str:
    """The name of the runtime of which something is paused there."""
    return unquote(key.removeprefix(f"{PAUSES}/").removesuffix(".json"))


def agents_folder(runtime: str) -> str:
    """The folder, with its slash, where the agents of a runtime say what they have loaded."""
    return f"{OFFERS}{quote(runtime, safe='')}/agents/"


def agent_key(runtime: str, agent: str) -> str:
    """Where one agent says what it has loaded."""
    return f"{agents_folder(runtime)}{quote(agent, safe='')}.json"


def checkpoints_of(runtime: str) -> str:
    """The folder, with its slash, of what attempts at a runtime's jobs have done."""
    return f"{CHECKPOINTS}/{quote(runtime, safe='')}/"


def checkpoints_folder(runtime: str, job: Storable) -> str:
    """The folder, with its slash, of what attempts at a job have done that did not end it.

    Jobs that differ in their prefix alone have results of their own, and so all the rest.
    """
    prefix = sha256(job.prefix.encode()).hexdigest()[:_DIGEST_DIGITS]
    return f"{checkpoints_of(runtime)}{job.id}-{job.digest}-{prefix}/"


@dataclass(frozen=True, order=True)
class CheckpointPlace:
    """Of two checkpoints of a job, the greater is of more use."""

    done: int
    """How much is done in it, as the runtime counts."""
    attempt: int
    """By which attempt at the job."""

    @classmethod
    def of(cls, key: str) -> "CheckpointPlace | None":
        """That of a key; None: it is not one of a checkpoint."""
        match = _CHECKPOINT.fullmatch(key, max(0, key.rfind("/")))
        return cls(int(match[1]), int(match[2])) if match else None


def checkpoint_key(runtime: str, job: Storable, place: CheckpointPlace) -> str:
    """Where it lies; the greatest comes last in a listing."""
    return f"{checkpoints_folder(runtime, job)}{place.done:010}-{place.attempt:04}"


def trial_key(token: str, *, folder: str = DEFAULT_PREFIX) -> str:
    """What is written, read and removed to see whether results can be, where they would lie."""
    return f"{folder}/queue-agent-check/{token}"
