"""Serving: the engine, the application and their end, put together.

The port listens while the first model loads. torch is loaded in the loader's thread.
"""

import functools
import logging
import os
import sys
from collections.abc import Collection
from typing import Final, NoReturn

import uvicorn

from queue_agent.settings.tracing import TracingSettings
from queue_agent_diffusers.engine.engine import Engine
from queue_agent_diffusers.engine.loading import LoadProgress
from queue_agent_diffusers.engine.model import Model
from queue_agent_diffusers.engine.pool import ModelPool, Served
from queue_agent_diffusers.errors import ModelError
from queue_agent_diffusers.http.app import create_app
from queue_agent_diffusers.http.draining import DrainingServer
from queue_agent_diffusers.http.metrics import EngineMetrics
from queue_agent_diffusers.options import Options

_KEEP_ALIVE: Final = 75
"""Seconds that an idle connection stays open: longer than proxies and clients keep theirs."""


def serve(
    model: str, *, host: str, port: int, options: Options, allow_hosts: Collection[str] = ()
) -> None:
    """Serve a model until SIGTERM or SIGINT, which let running requests finish.

    `allow_hosts` are names that it may be called by, beside `localhost` and every address.

    Raises:
        SystemExit: with code 1, after one line on stderr, when the model cannot be loaded.
    """
    logging.basicConfig(format="%(levelname)s:     %(message)s")
    logging.getLogger("queue_agent_diffusers").setLevel(logging.INFO)
    traces = TracingSettings.load().tracing_options("diffusers")
    metrics = EngineMetrics()
    sources = (model, *options.more_models, *options.upscalers.values())
    pool = ModelPool(
        {source: _served(source, options) for source in sources},
        budget=functools.partial(_budget, options),
        observer=metrics,
    )
    engine = Engine(pool, observer=metrics, idle_unload=options.idle_unload)
    metrics.gauge(
        "diffusers_device_memory_bytes",
        "Bytes of the device's memory that the server has taken.",
        functools.partial(_device_memory, engine),
    )
    app = create_app(engine, metrics, traces, hosts=allow_hosts, options=options)
    server = DrainingServer(
        uvicorn.Config(app, host=host, port=port, access_log=False, timeout_keep_alive=_KEEP_ALIVE),
        engine,
    )

    def stop() -> None:
        server.should_exit = True

    engine.start(on_failure=stop)
    server.run()
    if engine.failure is not None:
        _give_up(engine.failure)


def default_region() -> str:
    """The region that the AWS SDKs' environment names."""
    variables = ("AWS_REGION", "AWS_DEFAULT_REGION")
    return next((os.environ[name] for name in variables if os.environ.get(name)), "us-east-1")


# torch takes seconds to load, which are the loader's thread's, not the listening port's.


def _served(source: str, options: Options) -> Served:
    progress = LoadProgress(source)

    def load() -> Model:
        from queue_agent_diffusers.torch.loader import load_model  # noqa: PLC0415  see above

        return load_model(source, options, progress)

    return Served(load, functools.partial(_size, source, options), progress)


def _size(source: str, options: Options) -> int:
    from queue_agent_diffusers.torch.model_sizes import size_in_memory  # noqa: PLC0415  see above

    return size_in_memory(source, options)


def _budget(options: Options) -> int:
    from queue_agent_diffusers.torch.loader import memory_budget  # noqa: PLC0415  see above

    return memory_budget(options)


def _device_memory(engine: Engine) -> float:
    if not engine.ready:
        return 0.0
    from queue_agent_diffusers.torch.memory import device_memory  # noqa: PLC0415  see above

    return device_memory()


def _give_up(failure: Exception) -> NoReturn:
    if not isinstance(failure, ModelError):
        raise failure
    sys.stderr.write(f"The model cannot be served. {failure}\n")
    raise SystemExit(1)
