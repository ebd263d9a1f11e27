"""`queue-agent plan` as it is typed: its options. It imports nothing slow."""

from pathlib import Path
from typing import Annotated, Final

import typer

from queue_agent.cli.client_use import end
from queue_agent.cli.numbers import number
from queue_agent.worker.queue_order import QueueRule

DAY: Final = 86_400
"""In seconds: the most that a job or a start may take."""


def plan(
    jobs: Annotated[
        float, number(least=1, most=1_000_000_000, help="Jobs a month, by a daily curve.")
    ] = 1_000_000,
    seconds: Annotated[float, number(least=0.01, most=DAY, help="Of a GPU for each job.")] = 2,
    shape: Annotated[str, typer.Option(help="daily, burst, tail or long.")] = "daily",
    days: Annotated[float, number(least=0.01, most=366, help="Of the daily curve.")] = 1,
    arrivals: Annotated[
        Path | None,
        typer.Option(
            help="CSV instead: when each job comes, how long it takes, and within what it is "
            "wanted, all in seconds; its model, its tenant and its priority."
        ),
    ] = None,
    model_load: Annotated[
        float, number(least=0, most=DAY, help="From a pod's start to work.")
    ] = 30,
    image_pull: Annotated[float, number(least=0, most=DAY, help="On a new node.")] = 30,
    node_start: Annotated[float, number(least=0, most=DAY, help="From the call to a node.")] = 60,
    gpu_price: Annotated[
        float | None, number(least=0.0001, most=1000, help="USD an hour; else g6.xlarge on demand.")
    ] = None,
    interruptions: Annotated[
        float, number(least=0, most=60, help="Of each spot node, in an hour.")
    ] = 0,
    spot_price: Annotated[
        float | None,
        number(
            least=0.0001, most=1000, help="USD an hour: compare on demand, spot, and by deadline."
        ),
    ] = None,
    deadlines: Annotated[
        float,
        number(least=0, most=1, help="With --spot-price, --models or --queues: of jobs."),
    ] = 0.2,
    within: Annotated[float, number(least=0.01, help="The same: seconds to it.")] = 60,
    models: Annotated[
        int | None,
        typer.Option(
            min=1, max=10_000, help="So many, asked for by Zipf's law: compare orders of jobs."
        ),
    ] = None,
    switch: Annotated[
        float, number(least=0, most=DAY, help="With --models: seconds to load another.")
    ] = 20,
    look_ahead: Annotated[
        int, typer.Option(min=2, max=32, help="With --models: messages to choose from.")
    ] = 8,
    queues: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[:NUMBER]=PART,…",
            help="Several, the most urgent first, and which part of the jobs each gets, such as "
            "high:6=0.2,normal:3=0.5,low:1=0.3: compare them with one queue for all.",
        ),
    ] = None,
    queue_rule: Annotated[
        QueueRule, typer.Option(help="With --queues: whose turn it is.")
    ] = "strict",
    max_pods: Annotated[int, typer.Option(min=1, max=100_000, help="Of each policy.")] = 200,
    wait: Annotated[
        float | None, number(least=0, help="Wanted p95 wait in seconds: recommend a policy.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same jobs.")] = 1,
    plot: Annotated[
        Path | None, typer.Option(help="File to draw the result to: SVG, or PNG by its name.")
    ] = None,
    values: Annotated[
        Path | None, typer.Option(help="With --wait: file for the recommended chart values.")
    ] = None,
) -> None:
    """Simulate fleets of GPU pods: waits, GPU-hours, USD and killed jobs by scaling policy."""
    from queue_agent.cli.plan import FleetPlan
    from queue_agent.cli.plan import plan as simulate
    from queue_agent.planning.arrivals import Shape
    from queue_agent.planning.priorities import parts_of

    if shape not in set(Shape):
        end(f"There is no shape {shape!r}: {', '.join(Shape)}.", 2)
    if values is not None and wait is None:
        end("--values needs --wait.", 2)
    compared = [
        option
        for option, given in (
            ("--spot-price", spot_price),
            ("--models", models),
            ("--queues", queues),
        )
        if given is not None
    ]
    if len(compared) > 1:
        end(f"{' and '.join(compared)} compare different things: one of them at a time.", 2)
    if compared and (values, plot) != (None, None):
        end(f"{compared[0]} compares, and recommends and draws nothing: no --values or --plot.", 2)
    wanted = FleetPlan(
        jobs_a_month=jobs,
        seconds=seconds,
        shape=Shape(shape),
        days=days,
        arrivals=arrivals,
        model_load=model_load,
        image_pull=image_pull,
        node_start=node_start,
        gpu_price=gpu_price,
        interruptions=interruptions,
        spot_price=spot_price,
        deadlines=deadlines,
        within=within,
        models=models,
        switch=switch,
        look_ahead=look_ahead,
        queues=None if queues is None else parts_of(queues),
        queue_rule=queue_rule,
        most_pods=max_pods,
        wait=wait,
        seed=seed,
    )
    for line in simulate(wanted, plot=plot, values_file=values):
        typer.echo(line)
