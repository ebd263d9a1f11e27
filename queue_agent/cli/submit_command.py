"""`queue-agent submit` as it is typed: options to a job. It imports nothing slow."""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from queue_agent.cli.client_use import end, option, with_client
from queue_agent.cli.numbers import number
from queue_agent.settings.shared import BUCKET, JOB_TOPIC, NOTIFICATION_TOPIC
from queue_agent.wire.errors import Rejected

if TYPE_CHECKING:
    from queue_agent.wire.job import Job

_JOB: Final = 'A job looks like {"metadata": {"runtime": …}, "content": {"prompt": …}}.'


Text = str | None
Prompt = Annotated[Text, typer.Option(help="What to draw.")]
Negative = Annotated[Text, typer.Option(help="What to avoid.")]
Model = Annotated[Text, typer.Option(help="Name of the checkpoint.")]
Sampler = Annotated[Text, typer.Option(help="In any runtime's words.")]
Steps = Annotated[int | None, typer.Option(min=1)]
Cfg = Annotated[float | None, number(least=0, help="How close to the prompt.")]
Side = Annotated[int | None, typer.Option(min=8, help="Pixels.")]
Batch = Annotated[int | None, typer.Option(min=1, help="Images made at the same time.")]
StartImage = Annotated[
    Text, typer.Option(help="Image to start from: a file, or an https:// or s3:// URL.")
]
TaskTypeName = Annotated[
    Text, typer.Option(help="Kind of job, such as text-to-video; else told from the content.")
]
Seconds = Annotated[float | None, number(least=0, help="How long a video is.")]
FrameRate = Annotated[int | None, typer.Option(min=1, help="Frames in a second of a video.")]
Frames = Annotated[int | None, typer.Option(min=1, help="The length of a video in frames.")]
LastFrame = Annotated[
    Text, typer.Option(help="With --image: the last frame of a video; a file or a URL.")
]
Mask = Annotated[
    Text, typer.Option(help="With --image: what is painted anew, in white; a file or a URL.")
]
Strength = Annotated[
    float | None, number(least=0, most=1, help="With --image: how much may change.")
]
RuntimeName = Annotated[Text, typer.Option(help="Name of the runtime.")]
OwnId = Annotated[Text, typer.Option("--id", help="Id of the job; else made.")]
Folder = Annotated[Text, typer.Option(help="Folder of its results.")]
Priority = Annotated[Text, typer.Option(help="high, normal or low; else normal.")]
Tenant = Annotated[Text, typer.Option(help="Whose it is; else QUEUE_AGENT_TENANT.")]
ExpiresIn = Annotated[
    float | None, number(least=1, help="Seconds after which nobody wants it any more.")
]
Deadline = Annotated[
    Text, typer.Option(help="Wanted by this moment, such as 2030-01-01T12:00:00Z.")
]
Within = Annotated[float | None, number(least=1, help="The same, in seconds from now.")]
JobFile = Annotated[
    Path | None, typer.Option(help="A job in JSON; '-' or no prompt at all: standard input.")
]
Previews = Annotated[
    bool | None,
    typer.Option(
        "--previews/--no-previews",
        help="Ask for images of the work under way; with --wait told as they come.",
        show_default=False,
    ),
]
Format = Annotated[Text, typer.Option(help="What the images become: webp, jpeg, avif or png.")]
Quality = Annotated[int | None, typer.Option(min=1, max=100, help="Of what loses by encoding.")]
StepQuality = Annotated[
    Text,
    typer.Option(help="How much steps may be sped up: exact, balanced or fast."),
]
MaxSide = Annotated[int | None, typer.Option(help="Pixels of the longer side, at most.")]
Lossless = Annotated[
    bool | None, typer.Option("--lossless/--lossy", help="Of WebP.", show_default=False)
]
KeepOriginal = Annotated[
    bool | None,
    typer.Option(
        "--keep-original/--no-original",
        help="Store the runtime's own file, too.",
        show_default=False,
    ),
]
MetadataRule = Annotated[
    Text,
    typer.Option(
        "--metadata", help="What stays in files beside the picture: keep, strip or minimal."
    ),
]
Thumbnail = Annotated[
    bool | None,
    typer.Option("--thumbnail/--no-thumbnail", help="Store a small WebP, too.", show_default=False),
]
Estimated = Annotated[
    bool,
    typer.Option(
        "--estimate",
        help="Tell when it will start and end, and what it will cost, if known.",
    ),
]
Wait = Annotated[
    bool, typer.Option("--wait", help="Follow the job until an agent tells its end, or --timeout.")
]
Patience = Annotated[
    float,
    number(least=1, help="With --wait: seconds; the exit code is 3 then, the job goes on."),
]
Output = Annotated[Path | None, typer.Option(help="With --wait: folder to download the images to.")]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print the job's metadata, or with --wait its end, in a line."),
]


def submit(
    topic: Annotated[str, option(JOB_TOPIC, "--topic")],
    prompt: Prompt = None,
    negative_prompt: Negative = None,
    model: Model = None,
    sampler: Sampler = None,
    steps: Steps = None,
    step_quality: StepQuality = None,
    cfg: Cfg = None,
    width: Side = None,
    height: Side = None,
    batch: Batch = None,
    seed: Annotated[int | None, typer.Option()] = None,
    image: StartImage = None,
    mask: Mask = None,
    strength: Strength = None,
    task_type: TaskTypeName = None,
    seconds: Seconds = None,
    fps: FrameRate = None,
    frames: Frames = None,
    last_frame: LastFrame = None,
    bucket: Annotated[str | None, option(BUCKET)] = None,
    runtime: RuntimeName = None,
    job_id: OwnId = None,
    prefix: Folder = None,
    priority: Priority = None,
    tenant: Tenant = None,
    expires_in: ExpiresIn = None,
    deadline: Deadline = None,
    within: Within = None,
    previews: Previews = None,
    format: Format = None,  # noqa: A002  the option's name
    quality: Quality = None,
    max_side: MaxSide = None,
    lossless: Lossless = None,
    keep_original: KeepOriginal = None,
    metadata_rule: MetadataRule = None,
    thumbnail: Thumbnail = None,
    file: JobFile = None,
    estimate: Estimated = False,
    wait: Wait = False,
    timeout: Patience = 900,
    notifications: Annotated[str | None, option(NOTIFICATION_TOPIC)] = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Publish a job; print its id, or with --wait its progress and notification.

    Options win over what a job of --file or standard input says.
    """
    if wait and notifications is None:
        end("--wait needs --notifications (or QUEUE_AGENT_TOPIC_ARN).", 2)
    if deadline is not None and within is not None:
        end("Give --deadline or --within, not both.", 2)
    content = _given(
        prompt=prompt,
        negative_prompt=negative_prompt,
        model=model,
        sampler_name=sampler,
        steps=steps,
        quality=step_quality,
        cfg_scale=cfg,
        width=width,
        height=height,
        batch_size=batch,
        seed=seed,
        denoising_strength=strength,
        seconds=seconds,
        fps=fps,
        frames=frames,
    )
    metadata = _given(
        tasktype=task_type,
        runtime=runtime,
        id=job_id,
        prefix=prefix,
        priority=priority,
        tenant=tenant,
        expires_at=None if expires_in is None else _from_now(expires_in, "--expires-in"),
        deadline=deadline if within is None else _from_now(within, "--within"),
        previews=previews,
        output=_given(
            format=format,
            quality=quality,
            max_side=max_side,
            lossless=lossless,
            keep_original=keep_original,
            metadata=metadata_rule,
            thumbnail=thumbnail,
        )
        or None,
    )
    body = {"content": {}} if prompt is not None and file is None else _read_body(file)
    place = {"job_topic": topic, "notifications": notifications, "bucket": bucket}
    job = _job(
        body, metadata, content, _given(image=image, mask=mask, last_frame=last_frame), place
    )
    how = {"estimate": estimate, "as_json": as_json}
    raise typer.Exit(_publish(job, place, timeout if wait else None, output, **how))


def _publish(
    job: "Job",
    place: Mapping[str, str | None],
    patience: float | None,
    output: Path | None,
    **how: bool,
) -> int:
    """Publish, and with `patience` wait; the exit code."""
    from queue_agent.cli import submit as command

    if patience is None:
        with_client(lambda client: command.submit(client, job, **how), **place)
        return 0
    return with_client(
        lambda client: command.submit_and_wait(client, job, output, patience=patience, **how),
        **place,
    )


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _from_now(seconds: float, option_name: str) -> str:
    try:
        return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
    except OverflowError:
        end(f"{option_name}: {seconds:g} seconds are too many.", 2)


def _job(
    body: dict[str, Any],
    metadata: Mapping[str, Any],
    content: Mapping[str, Any],
    images: Mapping[str, str],
    place: Mapping[str, str | None],
) -> "Job":
    """The job that the body and the options ask for, its images uploaded."""
    from queue_agent.wire.submission import complete

    for name, given in (("metadata", metadata), ("content", content)):
        part = body.setdefault(name, {})
        if isinstance(part, dict):  # else the job is refused
            part.update({key: _over(part.get(key), value) for key, value in given.items()})
    if isinstance(body["content"], dict):
        found = {name: _address_of(name, image, place) for name, image in images.items()}
        _put(found, body)
    try:
        return complete(body)
    except Rejected as error:
        end(error.message, 2)


def _put(images: Mapping[str, Any], body: dict[str, Any]) -> None:
    """The images into the fields of the content where its kind of job has them."""
    from queue_agent.wire.video_and_mesh import IMAGE_TO_3D, VIDEO_TASKS, video_task_of

    content, metadata = body["content"], body["metadata"]
    kind = metadata.get("tasktype") if isinstance(metadata, dict) else None
    if "last_frame" in images:
        content["last_frame"] = images["last_frame"]
    if "image" in images:
        if (kind or video_task_of(content)) in VIDEO_TASKS:
            content["first_frame"] = images["image"]
        elif kind == IMAGE_TO_3D:
            content["image"] = images["image"]
        else:
            content["init_images"] = [images["image"]]
    if "mask" in images:
        if not content.get("init_images"):
            end("--mask needs --image: what is painted anew?", 2)
        content["mask"] = images["mask"]


def _over(before: Any, value: Any) -> Any:
    """What is given over what a file says, field by field where it has fields."""
    both = isinstance(before, dict) and isinstance(value, dict)
    return {**before, **value} if both else value


def _address_of(option_name: str, image: str, place: Mapping[str, str | None]) -> Any:
    if "://" in image:
        return image
    try:
        return with_client(lambda client: client.upload(Path(image)), **place)
    except OSError as error:
        end(f"--{option_name.replace('_', '-')}: {error}", 2)


def _read_body(file: Path | None) -> dict[str, Any]:
    from queue_agent.wire.submission import read_body

    try:
        body = read_body(_text(file))
    except Rejected as error:
        end(error.message, 2)
    if "content" not in body:
        end(f"The job has no `content`. {_JOB}", 2)
    return body


def _text(file: Path | None) -> str:
    if file is not None and str(file) != "-":
        try:
            text, source = file.read_text(), str(file)
        except (OSError, UnicodeDecodeError) as error:
            end(f"No job can be read from there: {error}", 2)
    elif file is None and sys.stdin.isatty():
        end(f"No job: give --prompt, or --file, or a job on standard input. {_JOB}", 2)
    else:
        try:
            text, source = sys.stdin.read(), "Standard input"
        except UnicodeDecodeError as error:
            end(f"No job can be read from standard input: {error}", 2)
    if not text.strip():
        end(f"{source} is empty: give --prompt, or a job. {_JOB}", 2)
    return text
