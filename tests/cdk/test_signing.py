"""A key in KMS that a runtime's values name: its pods may sign with it, and no others."""

import yaml
from assembly import EXAMPLES
from aws_cdk import App, Stack
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from image_service.config import Config
from image_service.rights import Right
from image_service.runtime_policy import runtime_rights

KEY = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def rights(config: Config) -> dict[str, list[Right]]:
    stack = Stack(App(), "stack")
    queue = sqs.Queue.from_queue_arn(stack, "queue", "arn:aws:sqs:eu-central-1:111122223333:q")
    topic = sns.Topic.from_topic_arn(stack, "topic", "arn:aws:sns:eu-central-1:111122223333:t")
    return {
        runtime.name: runtime_rights(runtime, queues=[queue], topic=topic, results="results")
        for runtime in config.runtimes
    }


def test_pods_may_sign_with_the_key_that_their_runtime_names() -> None:
    text = yaml.safe_load(EXAMPLES["two-runtimes"].read_text())
    signing = {"provenance": {"kmsKey": KEY, "secretName": "signer"}}
    text["runtimes"][0].setdefault("values", {})["agent"] = signing
    found = rights(Config.model_validate(text))
    (right,) = [one for one in found["webui"] if one.name == "SignFiles"]
    assert (right.actions, right.resources) == (["kms:Sign"], [KEY])
    others = [*found["comfyui"], *(one for one in found["webui"] if one is not right)]
    assert not [action for one in others for action in one.actions if action.startswith("kms:")]
