"""What operators, publishers and gateways are told by the environment.

`reader` reads, `shared` holds what several programs are told, and each program has a module
that lists its settings: `agent`, `client`, `gateway`, `tracing` (of the bundled runtime).
`known` knows the names of all of them.
"""
