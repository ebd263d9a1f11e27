"""``python -m queue_agent`` is `queue-agent`."""

from queue_agent.cli.app import main

main()
