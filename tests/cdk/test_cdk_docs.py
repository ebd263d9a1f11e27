"""What the README says of configuration and cost is so."""

import re

from assembly import CDK, EXAMPLES

README = (CDK / "README.md").read_text()


def test_every_example_is_shown() -> None:
    assert set(re.findall(r"\(examples/([\w-]+)\.yaml\)", README)) == set(EXAMPLES)


def test_every_linked_file_exists() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (CDK / target).exists(), target
