"""Workflows in the editor's format, as people save them, in the API format. Pure functions.

The editor does this in the browser; here it is done from the file and what the server's
`/object_info` says of its classes. The format: https://docs.comfy.org/specs/workflow_json
"""

from queue_agent_runtimes.comfyui.conversion.converter import Converted, convert
from queue_agent_runtimes.comfyui.conversion.document import Document, is_editor_format
from queue_agent_runtimes.comfyui.conversion.judge import faults_of

__all__ = ["Converted", "Document", "convert", "faults_of", "is_editor_format"]
