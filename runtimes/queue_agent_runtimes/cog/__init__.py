"""Servers of models that were packed with cog: https://github.com/replicate/cog.

A job's content is the portable form, as far as the model's inputs have the usual names, or, of a
`pipeline` job, the model's own input. The API: https://github.com/replicate/cog/blob/main/docs/http.md
"""

from queue_agent_runtimes.cog.adapter import CogRuntime

__all__ = ["CogRuntime"]
