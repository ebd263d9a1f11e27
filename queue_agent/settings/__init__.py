"""What operators, publishers and gateways are told by the environment."""
