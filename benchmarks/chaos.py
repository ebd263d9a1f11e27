"""Random faults for minutes, by a seed, and what became of every job.

    python -m benchmarks.chaos --jobs 500 --seconds 300 --seed 7

Exits with 1 when a job was lost or not answered, or a good one was told to have failed. The same
seed plans the same jobs and the same faults at the same moments; how they meet depends on the
machine. With ``--cloud nats`` the cloud is a NATS server, which is killed and restarted, stands
still, and is slow, among the faults.
"""

import argparse
import asyncio
import os
import platform
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tests"))  # their stage, proxies and ledger

from benchmarks.chaos_plan import CLOUDS, Plan
from benchmarks.chaos_run import Outcome, staged
from faults.ledger import is_whole


def main() -> int:
    arguments = _arguments()
    print(f"seed {arguments.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    print(f"logs in {folder}", flush=True)
    outcome = asyncio.run(_run(arguments, folder))
    report = _report(arguments, outcome)
    print(report)
    if arguments.report:
        arguments.report.write_text(report)
    balance = outcome.balance
    return 1 if balance.lost or balance.unanswered or outcome.punished else 0


async def _run(arguments: argparse.Namespace, folder: Path) -> Outcome:
    plan = Plan.of(
        arguments.seed,
        jobs=arguments.jobs,
        seconds=arguments.seconds,
        pods=arguments.pods,
        cloud=arguments.cloud,
    )
    async with staged(plan, folder, arguments.pods, arguments.cloud) as chaos:
        return await chaos.run()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=300.0, help="of publishing and faults")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--pods", type=int, default=3)
    parser.add_argument("--cloud", choices=list(CLOUDS), default="aws", help="aws: the emulator")
    parser.add_argument("--report", type=Path, help="also write the tables to this file")
    return parser.parse_args()


def _report(arguments: argparse.Namespace, outcome: Outcome) -> str:
    command = (
        f"python -m benchmarks.chaos --jobs {arguments.jobs} --seconds {arguments.seconds:g} "
        f"--pods {arguments.pods} --cloud {arguments.cloud} --seed {arguments.seed}"
    )
    where = f"Python {platform.python_version()}, {os.cpu_count()} CPUs"
    lines = [
        f"`{command}` on {where}",
        "",
        *_totals(outcome),
        "",
        *_by_fault(outcome, arguments.cloud),
        "",
    ]
    return "\n".join(lines)


def _totals(outcome: Outcome) -> list[str]:
    balance = outcome.balance
    ends = Counter(heard[0][1]["status"] for heard in outcome.answers.values())
    answered = ", ".join(f"{count} {status}" for status, count in sorted(ends.items()))
    needed = sum(1 for times in balance.generations.values() if times)
    second = sum(len(outcome.answers.get(job_id, ())) > 1 for job_id in outcome.published_twice)
    rows = {
        "published ids": f"{balance.published}",
        "answered": answered,
        "**lost**": f"**{len(balance.lost)}** {_some(balance.lost)}",
        "**unanswered**": f"**{len(balance.unanswered)}** {_some(balance.unanswered)}",
        "**innocents failed**": f"**{len(outcome.punished)}** {_some(outcome.punished)}",
        "answered otherwise than they may end": f"{len(balance.wrong)} {_some(balance.wrong)}",
        "completed twice, not marked `redelivered`": f"{len(balance.unmarked)} "
        + _some(balance.unmarked),
        "generations": f"{needed + balance.beyond_need}, of which beyond need "
        f"{balance.beyond_need}",
        "published twice at once": f"{len(outcome.published_twice)}, of which generated twice "
        f"{len(outcome.generated_twice)}",
        "re-notifications": f"{balance.renotified}, of which {second} answer a second publication",
        "messages left in the queue": f"{balance.held}",
        "dead letters": f"{balance.dead}",
        "agents that ended by themselves": f"{outcome.crashes}",
        "runtimes ended": f"{outcome.runtime_deaths}, of which by their liveness probe "
        f"{outcome.probe_restarts}",
        "… by hand: for 60 s no job came, or nobody noticed": f"{outcome.unseen}",
        "an agent's memory, at most": f"{outcome.memory_mb:.0f} MB",
        "SIGTERM to exit, idle": ", ".join(f"{s:.2f} s" for s in outcome.idle_exits),
    }
    return ["| | |", "|---|---|", *(f"| {name} | {text.strip()} |" for name, text in rows.items())]


def _by_fault(outcome: Outcome, cloud: str) -> list[str]:
    head = "| fault | strikes | beyond need | re-notified | recovery p50 | p99 |"
    lines = [head, "|---|--:|--:|--:|--:|--:|"]
    repeats, renotified = _repeats(outcome), _renotified(outcome)
    for fault in CLOUDS[cloud]:
        recoveries = outcome.recoveries(fault)
        lines.append(
            f"| {fault.value} | {len(recoveries)} | {outcome.blamed(repeats, fault)} "
            f"| {outcome.blamed(renotified, fault)} | {_percentile(recoveries, 50)} "
            f"| {_percentile(recoveries, 99)} |"
        )
    return lines


def _repeats(outcome: Outcome) -> list[float]:
    """When whole generations were asked for beyond the first of each job."""
    asked: dict[str, list[float]] = {}
    for run in outcome.runs:
        if is_whole(run):
            asked.setdefault(run["prompt"], []).append(run["asked"])
    return [moment for moments in asked.values() for moment in sorted(moments)[1:]]


def _renotified(outcome: Outcome) -> list[float]:
    """When answers were heard beyond those that publications called for."""
    return [
        moment
        for job_id, heard in outcome.answers.items()
        for moment, _ in heard[1 + (job_id in outcome.published_twice) :]
    ]


def _percentile(ordered: Sequence[float], share: int) -> str:
    if not ordered:
        return "-"
    place = min(len(ordered) - 1, round(share / 100 * (len(ordered) - 1)))
    return f"{ordered[place]:.1f} s"


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:5])


if __name__ == "__main__":
    sys.exit(main())
