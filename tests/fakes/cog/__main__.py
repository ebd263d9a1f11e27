"""Command line of the fake cog server."""

import argparse

import uvicorn

from fakes.cog.app import create_app


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fakes.cog")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--no-schema", action="store_true", help="as if not built by cog")
    parser.add_argument("--status", help="what its health check says, whatever is true")
    parser.add_argument("--upload-url", help="where it says that it has put its files")
    parser.add_argument(
        "--deaf", action="store_true", help="goes on when a client leaves, as before 0.17"
    )
    parser.add_argument(
        "--begins-after",
        type=float,
        default=0.005,
        help="seconds from a request to the model's code, in which to cancel it is lost",
    )
    arguments = parser.parse_args()
    uvicorn.run(
        create_app(
            described=not arguments.no_schema,
            status=arguments.status,
            upload_url=arguments.upload_url,
            deaf=arguments.deaf,
            begins_after=arguments.begins_after,
        ),
        host="127.0.0.1",
        port=arguments.port,
        log_level="warning",
        timeout_graceful_shutdown=1,
        timeout_keep_alive=75,
    )


if __name__ == "__main__":
    main()
