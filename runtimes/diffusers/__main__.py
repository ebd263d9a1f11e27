"""`python -m runtimes.diffusers --model PATH_OR_ID`: serve models."""

import argparse
from pathlib import Path

from runtimes.diffusers.options import Options
from runtimes.diffusers.server import default_region, serve


def main() -> None:
    """Serve what the command line names."""
    arguments = _parser().parse_args()
    first, *more = arguments.model
    serve(
        first,
        host=arguments.host,
        port=arguments.port,
        options=Options(
            device=arguments.device,
            dtype=arguments.dtype,
            more_models=tuple(more),
            max_batch=arguments.max_batch,
            memory_limit=arguments.memory_limit,
            lora_dir=arguments.lora_dir,
            allow_pickles=arguments.allow_pickles,
            cache_dir=arguments.cache_dir,
            region=default_region(),
            speed=arguments.speed,
        ),
    )


def _parser() -> argparse.ArgumentParser:
    defaults = Options()
    parser = argparse.ArgumentParser(
        prog="python -m runtimes.diffusers",
        description="Serve diffusers models in the OpenAI Images dialect.",
    )
    parser.add_argument(
        "--model",
        required=True,
        action="append",
        metavar="PATH_OR_ID",
        help="diffusers folder, .safetensors file, s3:// prefix, hub id, or: tiny; "
        "may be given several times: the others are loaded when they are asked for",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--device", help="cuda, mps or cpu (default: the first there is)")
    parser.add_argument("--dtype", help="float16, bfloat16 or float32 (default: by device)")
    parser.add_argument(
        "--max-batch", type=int, help="images that share a step (default: 16 or 8 on cuda, else 4)"
    )
    parser.add_argument(
        "--memory-limit", type=float, metavar="GIB", help="for the weights of loaded models"
    )
    parser.add_argument("--lora-dir", type=Path, help="folder of .safetensors files")
    parser.add_argument(
        "--allow-pickles", action="store_true", help="read .ckpt files, tensors only"
    )
    parser.add_argument(
        "--cache-dir", type=Path, default=defaults.cache_dir, help="for models of object storage"
    )
    parser.add_argument(
        "--speed",
        choices=("eager", "compile", "graphs"),
        default=defaults.speed,
        help="how the UNet is run (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    main()
