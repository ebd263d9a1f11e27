"""Inputs that jobs name by URL: fetched within limits, and only from where they may come."""
