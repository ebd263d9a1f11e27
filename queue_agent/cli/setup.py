"""`queue-agent setup`: what a deployment needs of its cloud, made where it is missing."""

from rich.console import Console

from queue_agent.cloud.setting_up import Resources, set_up


async def setup(wanted: Resources, *, dry: bool) -> None:
    """Make what is missing, or with `dry` only find it; print it, and how much it is."""
    count = 0
    async for made in set_up(wanted, dry=dry):
        print(made, flush=True)
        count += 1
    done = "would be made" if dry else "made"
    Console(stderr=True).print(f"{count} {done}; what was there stays as it is.", style="dim")
