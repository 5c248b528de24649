"""Before a call: the remaining allowance, and reserving the worst case."""
