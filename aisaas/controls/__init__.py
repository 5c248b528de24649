"""What an operator sets and every call obeys: kill switches, spending caps, and the models on sale."""
