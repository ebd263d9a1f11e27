"""Command line of the fake Triton."""

import argparse

import uvicorn

from fakes.triton.app import FakeTriton


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fakes.triton")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--step-seconds", type=float, default=0.02)
    parser.add_argument("--broken", action="store_true", help="one of its models does not load")
    arguments = parser.parse_args()
    app = FakeTriton(arguments.step_seconds, broken=arguments.broken).app()
    uvicorn.run(
        app, host="127.0.0.1", port=arguments.port, log_level="warning", timeout_graceful_shutdown=1
    )


if __name__ == "__main__":
    main()
