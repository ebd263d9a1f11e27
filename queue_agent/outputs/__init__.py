"""What happens to artifacts between their run and the bucket; it uses no GPU."""

from queue_agent.outputs.description import Description, describe

__all__ = ["Description", "describe"]
