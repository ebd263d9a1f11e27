"""`aws SERVICE OPERATION --option VALUE …` where the AWS CLI is not installed.

Options are told and checked by the SDK's description of the operation, as the real one does:
https://docs.aws.amazon.com/cli/latest/reference/
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import botocore.session
from botocore import xform_name


def main(words: Sequence[str]) -> None:
    """Run a command line, given without its first word."""
    service, operation, *options = words
    client = botocore.session.get_session().create_client(service)
    model = client.meta.service_model
    (name,) = (one for one in model.operation_names if xform_name(one, "-") == operation)
    members = model.operation_model(name).input_shape.members
    by_option = {f"--{xform_name(member, '-')}": member for member in members}
    given = {}
    for option, word in zip(options[::2], options[1::2], strict=True):
        member = by_option[option]
        given[member] = _value(members[member].type_name, word)
    answer = getattr(client, xform_name(name))(**given)
    print(json.dumps({key: answer[key] for key in answer if key != "ResponseMetadata"}))


def _value(kind: str, word: str) -> Any:
    text = Path(word.removeprefix("file://")).read_text() if word.startswith("file://") else word
    return json.loads(text) if kind in {"list", "map", "structure"} else text


if __name__ == "__main__":
    main(sys.argv[1:])
