"""What a fleet of GPU pods would cost and how long jobs would wait, by discrete-event simulation.

Nothing here asks a cloud: jobs, prices and policies are given. `docs/planning.md` says what is
assumed, and from where.
"""
