"""`python -m runtimes.diffusers --model PATH_OR_ID`: serve a model."""

import argparse

from runtimes.diffusers.server import serve


def main() -> None:
    """Serve what the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m runtimes.diffusers",
        description="Serve a diffusers model in the OpenAI Images dialect.",
    )
    parser.add_argument(
        "--model",
        required=True,
        metavar="PATH_OR_ID",
        help="diffusers folder, .safetensors file or Hugging Face hub id",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--device", help="cuda, mps or cpu (default: the first there is)")
    parser.add_argument("--dtype", help="float16, bfloat16 or float32 (default: by device)")
    arguments = parser.parse_args()
    serve(
        arguments.model,
        host=arguments.host,
        port=arguments.port,
        device=arguments.device,
        dtype=arguments.dtype,
    )


if __name__ == "__main__":
    main()
