"""The HTTP helper of adapters: what a runtime's server needs of a careful client, ready made.

    client = RuntimeClient(options, "http://127.0.0.1:7000")
    answer = await client.send("POST", "/paint", json={"prompt": "a cat"}, timeout=WORK)
    if not answer.ok:
        raise error_from(answer)
    picture = answer.json_object()

It knows the base URL, credentials and extra headers of `RuntimeOptions`, lets a trace go on in
the server, reads no answer without a limit, whole or piece by piece, and sends large inputs
from where they lie. Every failure of a connection is `Unavailable`: no exception of the
library beneath leaves it.
"""

from queue_agent.runtime.http.answers import (
    FAULTS_OF_THE_CONTENT,
    FAULTS_OF_THE_JOB,
    Response,
    StreamedResponse,
    error_from,
    words_of,
)
from queue_agent.runtime.http.bodies import Base64, Body, Form, FormFile, Part, form
from queue_agent.runtime.http.client import (
    ANSWER_LIMIT,
    ASK,
    DOWNLOAD,
    READY,
    UPLOAD,
    WORK,
    RuntimeClient,
    Timeout,
)
from queue_agent.runtime.http.fetching import OutputFetcher
from queue_agent.runtime.http.json_answers import SpooledText, parse_json
from queue_agent.runtime.http.readiness import readiness_of

__all__ = [
    "ANSWER_LIMIT",
    "ASK",
    "DOWNLOAD",
    "FAULTS_OF_THE_CONTENT",
    "FAULTS_OF_THE_JOB",
    "READY",
    "UPLOAD",
    "WORK",
    "Base64",
    "Body",
    "Form",
    "FormFile",
    "OutputFetcher",
    "Part",
    "Response",
    "RuntimeClient",
    "SpooledText",
    "StreamedResponse",
    "Timeout",
    "error_from",
    "form",
    "parse_json",
    "readiness_of",
    "words_of",
]
