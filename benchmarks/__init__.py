"""How fast the agent is, measured against a fake GPU and a cheap emulated cloud."""
