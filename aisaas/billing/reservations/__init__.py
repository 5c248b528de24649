"""Before a call: what is left, and holding the worst case of it."""
