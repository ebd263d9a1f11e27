"""Serve the fake: ``python -m fakes.comfyui --port 8188``."""

import argparse

import uvicorn

from fakes.comfyui.app import FakeComfyUI, Options
from queue_agent.testing.process import HOST


def main() -> None:
    """Read the flags and serve until told to stop."""
    parser = argparse.ArgumentParser(description="A ComfyUI without models, for tests.")
    parser.add_argument("--port", type=int, default=8188)
    parser.add_argument("--step-seconds", type=float, default=Options.step_seconds)
    parser.add_argument("--history-delay", type=float, default=Options.history_delay)
    parser.add_argument("--history-limit", type=int, default=Options.history_limit)
    parser.add_argument("--cache-none", action="store_true")
    parser.add_argument("--disable-metadata", action="store_true")
    parser.add_argument("--authorization", help="header value that every request must carry")
    parser.add_argument("--deadly", help="text in workflows that end the process")
    parser.add_argument("--models", help="a real folder of models, beside those that it has")
    parser.add_argument("--folder", help="where input, output and temp are, as real folders")
    flags = vars(parser.parse_args())
    port = flags.pop("port")
    app = FakeComfyUI(Options(**flags)).app()
    uvicorn.run(app, host=HOST, port=port, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
