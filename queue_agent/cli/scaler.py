"""`queue-agent scaler`: how many pods are wanted, told over HTTP."""

import asyncio
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack

import structlog

from queue_agent.cli.environment import load, warn_of_unknown_names
from queue_agent.cloud.connect import connect
from queue_agent.cloud.pauses import PausesMarker
from queue_agent.cloud.watched import WatchedCloud
from queue_agent.scaling.decision import ScalingAim
from queue_agent.scaling.job_seconds import JobSeconds
from queue_agent.scaling.manifests import ManifestReader
from queue_agent.scaling.metrics import ScalerMetrics
from queue_agent.scaling.scaler import Scaler, keep_learning
from queue_agent.settings.scaler import ScalerSettings
from queue_agent.settings.shared import SCALER_PORT
from queue_agent.tasks import background
from queue_agent.telemetry.logs import configure_logs
from queue_agent.telemetry.probes import probes
from queue_agent.telemetry.refusals import CloudRefusals

log = structlog.get_logger()

PATH = "/pods"
"""Where the answer is; `charts/queue-agent` tells KEDA."""


def serve(given: Mapping[str, str | None]) -> None:
    """Answer until SIGTERM or SIGINT, with the settings of the environment and those given."""
    settings = load(ScalerSettings, given)
    configure_logs(settings.log_level, settings.log_format)
    warn_of_unknown_names()
    asyncio.run(_serve(settings))


async def _serve(settings: ScalerSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    connected = connect(*settings.served.values(), bucket=settings.bucket, region=settings.region)
    cloud = WatchedCloud(connected, CloudRefusals())
    learned = JobSeconds(settings.job_seconds)
    metrics = ScalerMetrics(settings.runtime)
    aim = ScalingAim(settings.wait, settings.start, settings.max_pods)
    queues = [cloud.queue(url) for url in settings.served.values()]
    pauses = None
    if settings.bucket is not None:  # not watched: without the right to see them, all else works
        pauses = PausesMarker(connected.bucket(settings.bucket), settings.runtime)
    scaler = Scaler(
        queues,
        aim,
        learned,
        settle=settings.settle,
        metrics=metrics,
        pauses=pauses,
        now=connected.now,
    )
    async with AsyncExitStack() as parts:
        parts.push_async_callback(cloud.aclose)
        await parts.enter_async_context(
            probes(
                scaler.state,
                host=settings.host,
                port=settings.port,
                exposition=metrics.page,
                pages={PATH: scaler.answer},
                setting=SCALER_PORT.names[0],
            )
        )
        if settings.bucket is not None:
            bucket = cloud.bucket(settings.bucket)
            reader = ManifestReader(bucket, settings.prefixes, settings.runtime, learned)
            await parts.enter_async_context(background(keep_learning(reader)))
        await parts.enter_async_context(background(scaler.keep(settings.poll)))
        log.info("scaler starts", host=settings.host, port=settings.port, runtime=settings.runtime)
        await stop.wait()
