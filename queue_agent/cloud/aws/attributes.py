"""Message attributes, as SQS and SNS write them."""

from collections.abc import Mapping


def message_attributes(attributes: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """String attributes in the services' form."""
    return {
        name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
    }
