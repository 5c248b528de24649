"""What an operator sees of a process: whether it is ready, its figures, its logs, its traces.

Invariant: nothing here decides anything for a user, and nothing a user wrote goes through it.
"""
