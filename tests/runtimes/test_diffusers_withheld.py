"""What the model's safety checker flags: told of each image, and refused where nothing is left."""

import json

import pytest

from queue_agent.runtime.http import Response
from queue_agent.wire.errors import Rejected
from queue_agent_diffusers.errors import ContentWithheld
from queue_agent_diffusers.torch.pipeline_arguments import withheld
from queue_agent_runtimes.openai_images.answer import error_from


def test_some_images_that_are_flagged_are_told_of() -> None:
    assert withheld([False, True]) == ["Image 2 was withheld by the model's safety checker."]
    assert withheld([]) == withheld([False]) == []


def test_a_job_all_of_whose_images_are_flagged_is_refused_in_words_that_the_agent_knows() -> None:
    with pytest.raises(ContentWithheld) as caught:
        withheld([True, True])
    error = error_from(Response(caught.value.status, json.dumps(caught.value.body).encode()))
    assert isinstance(error, Rejected)
    assert error.type == "withheld"
