"""The agent: pulls messages, sees each through from receipt to acknowledgement, drains."""
