"""The commands of `queue-agent`, one module each, imported when they are used."""
