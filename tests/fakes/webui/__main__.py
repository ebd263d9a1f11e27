"""Command line of the fake Web UI."""

import argparse
import time

import uvicorn
from starlette.types import ASGIApp

from fakes.webui.app import create_app
from fakes.webui.generation import Behaviour
from fakes.webui.starting import Starting


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fakes.webui")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--api-auth", help="user:pass[,user:pass]")
    parser.add_argument("--no-api", action="store_true", help="as if started without --api")
    parser.add_argument("--nowebui", action="store_true", help="no /internal/progress")
    parser.add_argument("--without-tasks", action="store_true", help="no force_task_id: up to 1.7")
    parser.add_argument("--forge", action="store_true", help="what Forge does otherwise")
    parser.add_argument("--saved-options", action="store_true", help="it has a config.json")
    parser.add_argument("--recorded-disk", action="store_true", help="the recorded server's models")
    parser.add_argument("--unknown-checkpoint", choices=["ignore", "error"], default="ignore")
    parser.add_argument("--step-seconds", type=float, default=0.01)
    parser.add_argument("--seconds", type=float, help="of each job, instead of by its steps")
    parser.add_argument("--load-seconds", type=float, default=0.05, help="to switch the model")
    parser.add_argument("--encode-seconds", type=float, default=0.0, help="of an extras job")
    parser.add_argument("--start-seconds", type=float, default=0.0, help="until the port opens")
    parser.add_argument(
        "--incomplete-seconds", type=float, default=0.0, help="from the port's opening: 404"
    )
    parser.add_argument(
        "--deadly-seconds", type=float, default=0.0, help="behind that: a request ends the process"
    )
    parser.add_argument("--noise", type=float, default=0.1, help="0-1: how large images become")
    parser.add_argument("--max-pixels", type=int, default=2048 * 2048, help="more: out of memory")
    parser.add_argument("--models", help="a real folder of models, looked into when refreshed")
    parser.add_argument("--deadly", help="text of prompts that end the process")
    arguments = parser.parse_args()
    behaviour = Behaviour(
        auth=dict(pair.split(":", 1) for pair in (arguments.api_auth or "").split(",") if pair),
        api=not arguments.no_api,
        internal_progress=not arguments.nowebui,
        knows_tasks=not arguments.without_tasks,
        forge=arguments.forge,
        saved_options=arguments.saved_options,
        recorded_disk=arguments.recorded_disk,
        ignores_unknown_checkpoints=arguments.unknown_checkpoint == "ignore",
        step_seconds=arguments.step_seconds,
        job_seconds=arguments.seconds,
        load_seconds=arguments.load_seconds,
        encode_seconds=arguments.encode_seconds,
        noise=arguments.noise,
        max_pixels=arguments.max_pixels,
        deadly=arguments.deadly,
        models=arguments.models,
    )
    time.sleep(arguments.start_seconds)
    app: ASGIApp = create_app(behaviour)
    if arguments.incomplete_seconds:
        app = Starting(app, arguments.incomplete_seconds, arguments.deadly_seconds)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=arguments.port,
        log_level="warning",
        timeout_graceful_shutdown=1,
        timeout_keep_alive=75,  # not what clients keep theirs, lest both end it at once
    )


main()
