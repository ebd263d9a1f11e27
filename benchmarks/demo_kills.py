"""The demo on NATS, its server and its agent killed at random moments, and what became of all jobs.

    python -m benchmarks.demo_kills --jobs 200 --seconds 240 --seed 7

Exits with 1 when a job was lost, not answered, or told to be completed twice without a mark. The
same seed plans the same moments.
"""

import argparse
import asyncio
import os
import platform
import random
import re
import secrets
import shlex
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import JsonValue

sys.path.append(str(Path(__file__).parent.parent / "tests"))  # their demo as a process

from harness import until
from open_demo import AGENT, PROGRAMS, OpenDemo, demo
from queue_agent.client import Client, make_job
from queue_agent.tasks import background, together
from queue_agent.wire.errors import ObjectNotFound
from queue_agent.wire.notification import Notification
from queue_agent.worker.retry import retry_for

_PATIENCE: Final = 300.0
"""Seconds that may pass after the last kill until all is answered."""
_GAP: Final = 8.0
"""Seconds between two kills, on average."""
_STEPS: Final = (4, 40)
_SIZE: Final = {"width": 256, "height": 256}
_VICTIMS: Final = {
    "server": (PROGRAMS["nats"],),
    "agent": (AGENT,),
    "server and agent": (PROGRAMS["nats"], AGENT),
}


@dataclass
class Kills:
    """A run of so many jobs, within so many seconds."""

    client: Client
    shown: OpenDemo
    jobs: int
    seconds: float
    chance: random.Random
    heard: dict[str, list[Notification]] = field(default_factory=dict)
    """The final notifications of each job."""
    killed: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Publish and kill; returns when all is answered, or nothing comes for long."""
        moments = sorted(self.chance.uniform(0, self.seconds) for _ in range(self.jobs))
        steps = [self.chance.randint(*_STEPS) for _ in moments]
        self._start = time.monotonic()
        async with (
            self.client.notifications() as notifications,
            background(self._listen(notifications)),
        ):
            await together(
                [
                    self._kill(),
                    *(
                        self._publish(f"killed-{number:03d}", at, of)
                        for number, (at, of) in enumerate(zip(moments, steps, strict=True))
                    ),
                ]
            )
            with suppress(AssertionError):
                await until(self._all_answered, what="answers", timeout=_PATIENCE)
            await asyncio.sleep(5)  # for what is told once more

    async def lost(self) -> list[str]:
        """The jobs without an answer, or with one whose objects are not there."""
        found = []
        for job_id, answers in self.heard.items():
            try:
                for image in answers[0].images if answers else ():
                    await self.client.download(image)
            except ObjectNotFound:
                found.append(job_id)
        return found

    @property
    def unanswered(self) -> list[str]:
        return [job_id for job_id, answers in self.heard.items() if not answers]

    @property
    def unmarked(self) -> list[str]:
        """Those that were told more than once to have ended, as if for the first time."""
        return [
            job_id
            for job_id, answers in self.heard.items()
            if sum(not answer.redelivered for answer in answers) > 1
        ]

    async def _all_answered(self) -> bool:
        return not self.unanswered

    async def _listen(self, notifications: AsyncIterator[Notification]) -> None:
        async for told in notifications:
            if told.status != "running" and told.id in self.heard:
                self.heard[told.id].append(told)

    async def _publish(self, job_id: str, at: float, steps: int) -> None:
        await self._at(at)
        self.heard[job_id] = []
        content: dict[str, JsonValue] = {"prompt": "red circle", "steps": steps, **_SIZE}
        job = make_job(content, runtime="sdruntime", task_type="text-to-image", job_id=job_id)
        await retry_for(_PATIENCE, lambda: self.client.submit(job))

    async def _kill(self) -> None:
        moment = self.chance.expovariate(1 / _GAP)
        while moment < self.seconds:
            await self._at(moment)
            victim = self.chance.choice(list(_VICTIMS))
            self.killed[victim] += 1
            for program in _VICTIMS[victim]:
                with suppress(ValueError):  # not started again yet
                    os.kill(self.shown.child(program), signal.SIGKILL)
            moment += self.chance.expovariate(1 / _GAP)

    async def _at(self, moment: float) -> None:
        await asyncio.sleep(self._start + moment - time.monotonic())


def main() -> int:
    """Run it, and print what became of the jobs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo_kills")
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=240.0, help="of publishing and kills")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="demo-kills-"))
    print(f"seed {arguments.seed}, logs in {folder}", flush=True)
    with demo(folder, "--page") as shown:
        return asyncio.run(_run(arguments, shown))


async def _run(arguments: argparse.Namespace, shown: OpenDemo) -> int:
    await shown.waits_for(r"the page: (http://\S+)")
    exported = dict(re.findall(r"^    export (\w+)=(.*)$", shown.printed(), re.MULTILINE))
    place = {name: shlex.split(value)[0] for name, value in exported.items()}
    async with Client.from_env(place) as client:
        chance = random.Random(arguments.seed)  # noqa: S311  no secret
        kills = Kills(client, shown, arguments.jobs, arguments.seconds, chance)
        await kills.run()
        lost = await kills.lost()
    print(_report(arguments, kills, lost))
    return 1 if lost or kills.unanswered or kills.unmarked else 0


def _report(arguments: argparse.Namespace, kills: Kills, lost: list[str]) -> str:
    command = (
        f"python -m benchmarks.demo_kills --jobs {arguments.jobs} "
        f"--seconds {arguments.seconds:g} --seed {arguments.seed}"
    )
    answers = list(kills.heard.values())
    ends = Counter(told[0].status for told in answers if told)
    rows = {
        "killed": ", ".join(f"{name}: {count}" for name, count in sorted(kills.killed.items())),
        "published": len(answers),
        "answered": ", ".join(f"{count} {status}" for status, count in sorted(ends.items())),
        "**lost**": f"**{len(lost)}** {' '.join(lost)}",
        "**unanswered**": f"**{len(kills.unanswered)}** {' '.join(kills.unanswered)}",
        "told once more": sum(max(0, len(told) - 1) for told in answers),
        "… without the mark `redelivered`": f"{len(kills.unmarked)} {' '.join(kills.unmarked)}",
        "of a later attempt": sum(bool(told) and told[0].attempt > 1 for told in answers),
    }
    where = f"`{command}` on Python {platform.python_version()}, {os.cpu_count()} CPUs"
    table = [f"| {name} | {str(text).strip()} |" for name, text in rows.items()]
    return "\n".join([where, "", "| | |", "|---|---|", *table])


if __name__ == "__main__":
    sys.exit(main())
