"""Models that the bundled runtime fetches from buckets by itself: the pods may read them alone."""

from fnmatch import fnmatchcase
from typing import Any, Final

import pytest
from image_service.config import RuntimeConfig
from image_service.runtime_policy import model_rights

RUNTIME: Final[dict[str, Any]] = {"name": "sd", "preset": "diffusers", "models": "scratch"}
OPTIONS: Final = {
    "model": ["s3://others/turbo/", "org/name"],
    "upscaler": ["x4=s3://models/x4", "x2=/models/x2"],
}


def runtime(**more: Any) -> RuntimeConfig:
    return RuntimeConfig.model_validate({**RUNTIME, **more})


def readable(config: RuntimeConfig, bucket: str, key: str) -> bool:
    return any(
        fnmatchcase(f"{bucket}/{key}", resource.rpartition(":::")[2])
        for right in model_rights(config, "copies")
        if "s3:GetObject" in right.actions
        for resource in right.resources
    )


@pytest.mark.parametrize(
    ("bucket", "key", "allowed"),
    [
        ("models", "sdxl/unet/model.safetensors", True),
        ("models", "sdxl.safetensors", False),
        ("models", "sdxl-2/model_index.json", False),
        ("models", "x4/model_index.json", True),
        ("models", "x2/model_index.json", False),
        ("others", "turbo/model_index.json", True),
        ("others", "sdxl/model_index.json", False),
        ("copies", "sdxl/model_index.json", False),
    ],
)
def test_pods_read_the_models_that_they_name_in_buckets(
    bucket: str, key: str, allowed: bool
) -> None:
    config = runtime(model="s3://models/sdxl", values={"runtime": {"options": OPTIONS}})
    assert readable(config, bucket, key) is allowed


def test_each_statement_about_models_has_a_name_of_its_own() -> None:
    config = runtime(model="s3://models/sdxl", values={"runtime": {"options": OPTIONS}})
    names = [right.name for right in model_rights(config, "copies")]
    assert len(names) == len(set(names)) == 6


def test_listing_is_allowed_by_the_prefix_that_is_asked_for() -> None:
    (listing, _) = model_rights(runtime(model="s3://models/sdxl"), "copies")
    assert listing.conditions == {"StringLike": {"s3:prefix": "sdxl*"}}
    (listing, reading) = model_rights(runtime(model="s3://models"), "copies")
    assert listing.conditions == {}
    assert [it.rpartition(":::")[2] for it in reading.resources] == ["models/*"]


def test_models_of_the_hub_need_no_right() -> None:
    assert model_rights(runtime(model="org/name"), "copies") == []
