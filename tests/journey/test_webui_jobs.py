"""Jobs that a Web UI gets wrong by itself, published to a whole agent, each before a plain one."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from harness import JsonObject, Scene, scene, webui_process, webui_settings
from queue_agent.testing.aws import EmbeddedCloud

PLAIN: Final[JsonObject] = {
    "prompt": "a lighthouse",
    "steps": 2,
    "seed": 7,
    "width": 64,
    "height": 64,
}
ENSD: Final = {"CLIP_stop_at_last_layers": 2, "eta_noise_seed_delta": 31337}


class Case(NamedTuple):
    """What a job says beside a plain one, and what is answered."""

    fields: JsonObject
    words: str | None = None
    """Of the refusal, which is final at the first attempt; None: the job is completed."""
    warning: str = ""
    as_plain: bool = False
    """Whether the image is that of the plain job."""


CASES: Final = {
    "an option": Case({"override_settings": {"CLIP_stop_at_last_layers": 2}}),
    "a model and options": Case({"model": "dreamy-tiny", "override_settings": ENSD}),
    "hires without a strength": Case({"enable_hr": True, "hr_scale": 2}, "denoising_strength"),
    "no negative prompt": Case({"negative_prompt": None}, as_plain=True),
    "no steps": Case({"steps": None}),
    "an unknown option": Case({"override_settings": {"no_such_option": 1}}, "no_such_option"),
    "no images wanted": Case({"send_images": False}, as_plain=True),
    "a size that is none": Case({"width": 100, "height": 70}, warning="96x64"),
    "steps of 0": Case({"steps": 0}, "steps"),
    "an unknown sampler": Case({"sampler_name": "Nonsense"}, "Nonsense"),
    "an unknown script": Case({"script_name": "nonsense"}, "nonsense"),
}


@pytest.fixture
async def new_pod(embedded_cloud: EmbeddedCloud, tmp_path: Path) -> AsyncIterator[Scene]:
    """An agent before a server that never saved a `config.json`."""
    name = f"rt-{secrets.token_hex(4)}"
    with webui_process("--recorded-disk", "--step-seconds", "0.002") as server:
        async with scene(embedded_cloud, name, tmp_path, webui_settings(server.url)) as stage:
            stage.start_agent()
            yield stage


async def made(stage: Scene, **fields: Any) -> tuple[JsonObject, list[str]]:
    """The answer to a job, and the digests of its images."""
    job_id = f"job-{secrets.token_hex(4)}"
    await stage.publish(stage.job(job_id, {**PLAIN, **fields}))
    answer = await stage.answer(job_id)
    return answer, [image["sha256"] for image in answer["images"]]


async def test_each_is_done_or_refused_once_and_changes_nothing_for_the_next(
    new_pod: Scene,
) -> None:
    _, plain = await made(new_pod)
    for name, case in CASES.items():
        answer, images = await made(new_pod, **case.fields)
        assert answer["attempt"] == 1, name
        if case.words is not None:
            assert (answer["status"], answer["error"]["final"]) == ("failed", True), name
            assert case.words in answer["error"]["message"], name
        else:
            assert (answer["status"], len(images)) == ("completed", 1), name
            assert (images == plain) is case.as_plain, name
            assert case.warning in " ".join(answer.get("warnings") or ()), name
            assert bool(answer.get("warnings")) is bool(case.warning), name
        assert (await made(new_pod))[1] == plain, name
