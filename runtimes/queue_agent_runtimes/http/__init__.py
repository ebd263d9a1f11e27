"""Any server that speaks plain HTTP, described by a YAML file instead of code.

The file says where health is, what a request looks like, where files go in and come out, how a
run is polled, stopped and refused; see `queue_agent_runtimes.http.declaration` for its fields.
"""

from queue_agent_runtimes.http.adapter import HttpRuntime

__all__ = ["HttpRuntime"]
