"""The command that serves: one definition for `queue-agent serve-diffusers` and for
`python -m queue_agent_diffusers`.

Importing it loads neither torch nor a web framework; running the command does.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from queue_agent.wire.quality import Quality
from queue_agent_diffusers.engine.quality import QualityPolicy
from queue_agent_diffusers.options import (
    READER_PACKAGES,
    Attention,
    Offload,
    Options,
    Quantize,
    Speed,
    WeightsBy,
)

_DEFAULTS = Options()


def serve_diffusers(
    model: Annotated[
        list[str],
        typer.Option(
            metavar="PATH_OR_ID",
            help="A diffusers folder, .safetensors file, s3:// or nats:// prefix, hub id "
            "(ORG/NAME, ORG/NAME@REVISION), or: tiny. "
            "May be given several times: the others are loaded when they are asked for.",
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on.")] = 8000,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A name that the server may be called by, beside localhost and every address; "
            "* for any. May be given several times.",
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cuda, mps or cpu; else the best.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float16, bfloat16 or float32; else by device.")
    ] = None,
    max_batch: Annotated[
        int | None,
        typer.Option(min=1, help="Images that share a step; else 16 or 8 on cuda, 4 elsewhere."),
    ] = None,
    memory_limit: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="GIB",
            help="GiB for the weights of loaded models; else 70 % of what is free on the card, or "
            "half of the host's or container's on a CPU.",
        ),
    ] = None,
    idle_unload: Annotated[
        float | None,
        typer.Option(
            min=1,
            metavar="SECONDS",
            help="Let go of a model that nobody asked for in so many seconds; the next request "
            "loads it.",
        ),
    ] = None,
    lora_dir: Annotated[Path | None, typer.Option(help="Folder of .safetensors files.")] = None,
    controlnet: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH_OR_ID[#MODE=NUMBER,…]",
            help="A ControlNet that requests may name: a diffusers folder or hub id "
            "(ORG/NAME, ORG/NAME@REVISION); of a union after a # what its modes are called. "
            "May be given several times.",
        ),
    ] = None,
    ip_adapter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH_OR_ID",
            help="An IP-Adapter that requests may name: a .safetensors file, or one of the hub "
            "(ORG/NAME:PATH, ORG/NAME@REVISION:PATH); after a comma its image encoder, if that is "
            "not in image_encoder beside it. May be given several times.",
        ),
    ] = None,
    upscaler: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH_OR_ID",
            help="A model that makes images larger, loaded when a request names it: a diffusers "
            "folder, s3:// prefix or hub id. May be given several times.",
        ),
    ] = None,
    allow_pickles: Annotated[
        bool,
        typer.Option("--allow-pickles/--no-allow-pickles", help="Read .ckpt files, tensors only."),
    ] = False,
    cache_dir: Annotated[
        Path, typer.Option(help="Where models of object storage are kept.")
    ] = _DEFAULTS.cache_dir,
    speed: Annotated[Speed, typer.Option(help="How the network is run.")] = _DEFAULTS.speed,
    quantize: Annotated[
        Quantize, typer.Option(help="Eight bits for the network's blocks, by torchao on cuda.")
    ] = _DEFAULTS.quantize,
    attention: Annotated[
        Attention, typer.Option(help="Who computes a transformer's attention on cuda.")
    ] = _DEFAULTS.attention,
    channels_last: Annotated[
        bool | None,
        typer.Option(
            "--channels-last/--no-channels-last", help="Layout of convolutions; else on cuda."
        ),
    ] = None,
    fuse_projections: Annotated[
        bool | None,
        typer.Option(
            "--fuse-projections/--no-fuse-projections",
            help="Query, key and value at once; else of UNets on cuda.",
        ),
    ] = None,
    offload: Annotated[
        Offload, typer.Option(help="What waits in the host's memory until it is used, on cuda.")
    ] = _DEFAULTS.offload,
    weights_by: Annotated[
        WeightsBy,
        typer.Option(
            help="Who reads weights; all but safetensors bring them straight to the device, and "
            "need the extra of their name. With runai, those of s3:// and nats:// need no disk."
        ),
    ] = _DEFAULTS.weights_by,
    checkpoint_limit: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="MIB",
            help="MiB of host memory for what was done of an image or video so far, from its first "
            "step on; 0: no job can be gone on with elsewhere.",
        ),
    ] = _DEFAULTS.checkpoint_limit,
    default_quality: Annotated[
        Quality, typer.Option(help="Of requests that name none; see the docs on step caches.")
    ] = _DEFAULTS.quality.default,
    lowest_quality: Annotated[
        Quality, typer.Option(help="That requests get, whatever they name.")
    ] = _DEFAULTS.quality.lowest,
) -> None:
    """Serve the bundled diffusers runtime (needs the extra `diffusers`)."""
    try:
        from queue_agent_diffusers.http.server import default_region, serve  # noqa: PLC0415  see above
    except ImportError as error:
        typer.echo(f"{error}; install with: pip install 'sd-queue-agent[diffusers]'", err=True)
        raise typer.Exit(2) from None
    package = READER_PACKAGES.get(weights_by)
    if package is not None and find_spec(package) is None:
        typer.echo(
            f"--weights-by {weights_by} needs a package that is missing; "
            f"install with: pip install 'sd-queue-agent[diffusers,{weights_by}]'",
            err=True,
        )
        raise typer.Exit(2)
    first, *more = model
    control_nets, control_modes = _control_nets(controlnet)
    try:
        quality = QualityPolicy(default_quality, lowest_quality)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--default-quality") from None
    serve(
        first,
        host=host,
        port=port,
        allow_hosts=allow_host or (),
        options=Options(
            device=device,
            dtype=dtype,
            more_models=tuple(more),
            max_batch=max_batch,
            memory_limit=memory_limit,
            idle_unload=idle_unload,
            lora_dir=lora_dir,
            control_nets=control_nets,
            control_modes=control_modes,
            ip_adapters=_named(ip_adapter, "--ip-adapter"),
            upscalers=_named(upscaler, "--upscaler"),
            allow_pickles=allow_pickles,
            cache_dir=cache_dir,
            region=default_region(),
            speed=speed,
            quality=quality,
            quantize=quantize,
            attention=attention,
            channels_last=channels_last,
            fuse_projections=fuse_projections,
            offload=offload,
            weights_by=weights_by,
            checkpoint_limit=checkpoint_limit,
        ),
    )


def _control_nets(values: list[str] | None) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    """Sources by name, and the numbers of modes, of ``NAME=SOURCE#MODE=NUMBER,…``."""
    sources, modes = _named(values, "--controlnet"), {}
    for name, named in sources.items():
        source, mark, called = named.rpartition("#")
        if not mark or Path(named).expanduser().is_dir():
            continue
        sources[name], modes[name] = source, dict[str, int]()
        for entry in called.split(","):
            mode, _, number = (part.strip() for part in entry.partition("="))
            if not mode or not number.isdecimal() or mode in modes[name] or not source:
                raise typer.BadParameter(
                    f"{entry!r} of {name!r} is not MODE=NUMBER, each MODE once.",
                    param_hint="--controlnet",
                )
            modes[name][mode] = int(number)
    return sources, modes


def _named(values: list[str] | None, option: str) -> dict[str, str]:
    """Sources by name, of ``NAME=SOURCE``."""
    sources: dict[str, str] = {}
    for value in values or ():
        name, _, source = value.partition("=")
        if not name or not source:
            raise typer.BadParameter(f"{value!r} is not NAME=PATH_OR_ID.", param_hint=option)
        if name in sources:
            raise typer.BadParameter(f"{name!r} is named twice.", param_hint=option)
        sources[name] = source
    return sources
