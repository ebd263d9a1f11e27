"""The options of one adapter, which no other has."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from queue_agent.runtime.contract import RuntimeOptions
from queue_agent.wire.errors import SettingsError
from queue_agent.wire.job import describe_errors

OwnOptions = TypeVar("OwnOptions", bound=BaseModel)


def own_options_of(model: type[OwnOptions], options: RuntimeOptions) -> OwnOptions:
    """`RuntimeOptions.own` by the adapter's model, for its `__init__`.

    Raises:
        SettingsError: they are not what the model says; names each fault, and shows no value.
    """
    try:
        return model.model_validate(dict(options.own))
    except ValidationError as error:
        raise SettingsError(f"QUEUE_AGENT_RUNTIME_OPTIONS: {describe_errors(error)}") from error
