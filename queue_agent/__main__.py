"""``python -m queue_agent`` is `queue-agent`."""

from queue_agent.cli.app import main

if __name__ == "__main__":  # and not where a process of the agent's reads it again
    main()
