"""Command line of the fake engines."""

import argparse

import uvicorn

from fakes.openai.app import ENGINES, create_app
from fakes.openai.engine import Behaviour


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fakes.openai")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--engine", choices=sorted(ENGINES), default="vllm-omni")
    parser.add_argument("--step-seconds", type=float, default=0.02)
    parser.add_argument("--whole-batches", action="store_true", help="an abort waits for the end")
    parser.add_argument("--api-servers", type=int, default=1, help="of vLLM-Omni")
    parser.add_argument("--large", type=int, default=0, help="bytes by which each output grows")
    parser.add_argument("--most-waiting", type=int, default=1000, help="more: 429")
    arguments = parser.parse_args()
    behaviour = Behaviour(
        step_seconds=arguments.step_seconds,
        whole_batches=arguments.whole_batches,
        api_servers=arguments.api_servers,
        large=arguments.large,
        most_waiting=arguments.most_waiting,
    )
    uvicorn.run(
        create_app(arguments.engine, behaviour),
        host="127.0.0.1",
        port=arguments.port,
        log_level="warning",
        timeout_graceful_shutdown=1,
        timeout_keep_alive=75,
    )


main()
