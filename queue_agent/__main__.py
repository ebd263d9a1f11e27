"""``python -m queue_agent`` is `queue-agent`."""

from queue_agent.cli import main

main()
