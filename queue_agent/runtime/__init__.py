"""The contract of a runtime adapter, how adapters are found, and what they share.

An adapter says what its runtime can do and speaks its API. It knows nothing of queues,
buckets, leases or retries. To add one: subclass `Runtime`, name the class as an entry point
in the group ``queue_agent.runtimes``, and let `queue_agent.testing.RuntimeContract` test it.
Servers that speak HTTP are spoken to by `queue_agent.runtime.http`; fields and answers that hold
images are read by `queue_agent.runtime.images`.
"""

from queue_agent.media.asset import Asset, Spool, Spools
from queue_agent.runtime.contract import (
    Artifact,
    ArtifactRole,
    Assets,
    Checkpoint,
    Output,
    Prepared,
    Progress,
    ProgressCallback,
    Readiness,
    Runtime,
    RuntimeOptions,
    RuntimeState,
)
from queue_agent.runtime.model_use import OWN, Loaded, ModelUse
from queue_agent.runtime.own_options import own_options_of
from queue_agent.runtime.registry import ENTRY_POINT_GROUP, installed_runtimes, load_runtime
from queue_agent.runtime.submission import not_yet_submitted, submitted
from queue_agent.wire.model_files import ModelFile, is_model_name, read_model_files
from queue_agent.wire.offer import (
    Capabilities,
    InputKind,
    NamedWorkflow,
    OfferedEmbedding,
    OfferedLora,
    OfferedModel,
    OfferedSampler,
    OfferedSchedule,
    OfferedScript,
    OfferedSizes,
    OfferedStyle,
    OfferedUpscaler,
    WorkflowInput,
)
from queue_agent.wire.reference import MediaKind, Reference, is_url
from queue_agent.wire.work import Work, work_of

__all__ = [
    "ENTRY_POINT_GROUP",
    "OWN",
    "Artifact",
    "ArtifactRole",
    "Asset",
    "Assets",
    "Capabilities",
    "Checkpoint",
    "InputKind",
    "Loaded",
    "MediaKind",
    "ModelFile",
    "ModelUse",
    "NamedWorkflow",
    "OfferedEmbedding",
    "OfferedLora",
    "OfferedModel",
    "OfferedSampler",
    "OfferedSchedule",
    "OfferedScript",
    "OfferedSizes",
    "OfferedStyle",
    "OfferedUpscaler",
    "Output",
    "Prepared",
    "Progress",
    "ProgressCallback",
    "Readiness",
    "Reference",
    "Runtime",
    "RuntimeOptions",
    "RuntimeState",
    "Spool",
    "Spools",
    "Work",
    "WorkflowInput",
    "installed_runtimes",
    "is_model_name",
    "is_url",
    "load_runtime",
    "not_yet_submitted",
    "own_options_of",
    "read_model_files",
    "submitted",
    "work_of",
]
