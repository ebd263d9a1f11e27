"""What fetches models, made from the settings."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from pydantic import JsonValue
from pydantic_core import from_json

from queue_agent.inputs.models.fetcher import ModelFetcher
from queue_agent.inputs.models.policy import ModelPolicy
from queue_agent.runtime import ModelFile, Runtime, read_model_files
from queue_agent.settings.agent import Settings
from queue_agent.settings.values import header_fields
from queue_agent.wire.errors import Rejected, SettingsError

_MOST_LISTED: Final = 10_000


def model_fetcher(settings: Settings, runtime: Runtime) -> ModelFetcher | None:
    """What fetches models of jobs; None where the operator allows none.

    Raises:
        SettingsError: the settings do not go together, or a file cannot be used.
    """
    listed = _listed_models(settings.models)
    credentials = _model_credentials(settings.model_credentials)
    if not (listed or settings.model_hosts):
        return None
    if settings.models_folder is None:
        raise SettingsError(
            "QUEUE_AGENT_MODELS_FOLDER must be set where QUEUE_AGENT_MODELS or "
            "QUEUE_AGENT_MODEL_HOSTS is"
        )
    if not runtime.model_folders:
        raise SettingsError(
            f"QUEUE_AGENT_MODELS_FOLDER: the adapter {settings.runtime} has no folder of models"
        )
    try:
        policy = ModelPolicy(
            settings.models_folder,
            hosts=settings.model_hosts,
            trusted=settings.reference_allow,
            folders=runtime.model_folders,
            limit=settings.models_limit,
            largest=settings.model_largest,
            pickles=settings.model_pickles,
            credentials=credentials,
            listed=listed,
            timeout=settings.model_timeout,
        )
    except ValueError as error:
        raise SettingsError(f"QUEUE_AGENT_MODELS: {error}.") from error
    return ModelFetcher(policy)


def _listed_models(file: Path | None) -> tuple[ModelFile, ...]:
    if file is None:
        return ()
    try:
        models = read_model_files(
            _json_of(file, "QUEUE_AGENT_MODELS"), str(file), most=_MOST_LISTED
        )
    except Rejected as error:
        raise SettingsError(f"QUEUE_AGENT_MODELS: {error.message}") from error
    return tuple(replace(model, by_operator=True) for model in models)


def _model_credentials(file: Path | None) -> dict[str, Mapping[str, str]]:
    """Header fields by host; no message repeats what the file holds."""
    name = "QUEUE_AGENT_MODEL_CREDENTIALS"
    if file is None:
        return {}
    told = _json_of(file, name)
    if not isinstance(told, dict):
        raise SettingsError(f"{name}: {file} must hold an object of hosts.")
    found: dict[str, Mapping[str, str]] = {}
    for host, secret in told.items():
        fields: JsonValue = secret
        if isinstance(secret, str):
            fields = {"Authorization": f"Bearer {secret.strip()}"}
        try:
            found[host.lower()] = header_fields(json.dumps(fields))
        except ValueError as error:
            raise SettingsError(f"{name}: {file}: {host}: {error}.") from error
    return found


def _json_of(file: Path, name: str) -> JsonValue:
    try:
        value: JsonValue = from_json(file.read_bytes())
    except OSError as error:
        raise SettingsError(f"{name}: {file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise SettingsError(f"{name}: {file} holds no JSON.") from error
    return value
