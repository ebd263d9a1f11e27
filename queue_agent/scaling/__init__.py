"""How many pods a queue's work wants: answered by `queue-agent scaler`, simulated by plans."""
