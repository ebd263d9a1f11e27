"""The function behind the HTTP front: checks a job as the agent will, and publishes it."""
