"""What was published against what came of it: GPU runs, objects, notifications, queues."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness import JsonObject, Scene

COMPLETED = frozenset({"completed"})


@dataclass(frozen=True)
class Entry:
    """One published id and how it may end."""

    id: str
    ends: frozenset[str] = COMPLETED


@dataclass(frozen=True)
class Balance:
    """What does not add up is named by the ids it concerns."""

    published: int
    lost: list[str]
    """Neither answered nor on record nor in a queue, or answered with images that are not there."""
    unanswered: list[str]
    """Without a final notification."""
    wrong: list[str]
    """Answered otherwise than they may end."""
    unmarked: list[str]
    """Told to be completed more than once without ``redelivered``."""
    generations: Mapping[str, int]
    """How often the GPU did the whole of a job."""
    renotified: int
    """Final notifications beyond the first of each id."""
    held: int
    """Messages left in the job queue."""
    dead: int
    """Messages in the dead-letter queue."""

    @property
    def beyond_need(self) -> int:
        """Whole generations beyond the first of each id."""
        return sum(times - 1 for times in self.generations.values() if times > 1)

    def check(self, *, beyond_need: int = 0, renotified: int = 0, dead: int = 0) -> None:
        """Assert that all adds up, with at most so many repetitions."""
        assert not self.lost, f"lost: {self.lost}"
        assert not self.unanswered, f"unanswered: {self.unanswered}"
        assert not self.wrong, f"answered wrongly: {self.wrong}"
        assert not self.unmarked, f"completed twice: {self.unmarked}"
        assert self.held == 0, f"{self.held} messages are left in the queue"
        assert self.dead == dead, f"{self.dead} dead letters instead of {dead}"
        assert self.beyond_need <= beyond_need, f"generated too often: {self.generations}"
        assert self.renotified <= renotified, f"{self.renotified} notifications too many"


@dataclass
class Ledger:
    """Takes down every publication; `reconcile` compares."""

    entries: dict[str, Entry] = field(default_factory=dict)

    def enter(self, job_id: str, ends: Collection[str] = COMPLETED) -> None:
        """Take down a publication; a second one of the same id changes nothing."""
        self.entries.setdefault(job_id, Entry(job_id, frozenset(ends)))

    def unanswered(self, scene: Scene) -> list[str]:
        """The ids without a final notification so far."""
        answered = {n["id"] for n in _final(scene.notifications)}
        return [job_id for job_id in self.entries if job_id not in answered]

    async def reconcile(self, scene: Scene, runs: Iterable[JsonObject]) -> Balance:
        """Compare with the cloud and with the runtimes' reports of their runs."""
        await scene.caught_up()
        answers: dict[str, list[JsonObject]] = {job_id: [] for job_id in self.entries}
        for notification in _final(scene.notifications):
            if notification["id"] in answers:
                answers[notification["id"]].append(notification)
        keys = {key for key in await all_keys(scene) if not key.endswith(".claim")}
        dead = await _bodies(scene, scene.deployment.dead_letter_queue_url)
        unanswered = [job_id for job_id in self.entries if not answers[job_id]]
        return Balance(
            published=len(self.entries),
            lost=[job_id for job_id in unanswered if not _on_record(job_id, keys, dead)]
            + [job_id for job_id in self.entries if _misses_objects(answers[job_id], keys)],
            unanswered=unanswered,
            wrong=[
                entry.id
                for entry in self.entries.values()
                if any(answer["status"] not in entry.ends for answer in answers[entry.id])
            ],
            unmarked=[
                job_id
                for job_id, heard in answers.items()
                if sum(n["status"] == "completed" and not n["redelivered"] for n in heard) > 1
            ],
            generations=Counter(
                run["prompt"] for run in runs if is_whole(run) and run["prompt"] in self.entries
            ),
            renotified=sum(max(0, len(heard) - 1) for heard in answers.values()),
            held=sum(await scene.depth()),
            dead=len(dead),
        )


def is_whole(run: Mapping[str, Any]) -> bool:
    """Whether the GPU did the whole of a job, not a part before an interruption."""
    return bool(run["end"] and run["images"] and not run["interrupted"])


async def all_keys(scene: Scene) -> list[str]:
    """Every key of the results bucket."""
    bucket = scene.cloud.bucket(scene.deployment.bucket)
    found: list[str] = []
    while page := await bucket.keys("", after=found[-1] if found else ""):
        found += page
    return found


def _final(notifications: Sequence[JsonObject]) -> list[JsonObject]:
    return [n for n in notifications if n["status"] != "running"]


def _on_record(job_id: str, keys: Collection[str], bodies: Collection[str]) -> bool:
    known = any(f"{job_id}/{job_id}-" in key and key.endswith(".out") for key in keys)
    return known or any(job_id in text for text in (*keys, *bodies))


def _misses_objects(answers: Sequence[JsonObject], keys: Collection[str]) -> bool:
    named = [url for answer in answers for url in (*answer["image_url"], answer["output_url"])]
    return any(url and url.split("/", 3)[3] not in keys for url in named)


async def _bodies(scene: Scene, queue_url: str | None) -> list[str]:
    """The bodies in a queue; they stay hidden for a while after this look."""
    if queue_url is None:
        return []
    queue = scene.cloud.queue(queue_url)
    bodies: list[str] = []
    while found := await queue.receive(10, wait=0, visibility_timeout=600):
        bodies += [message.body for message in found]
    return bodies
