"""The real parts that `run` starts when none is configured.

Invariant: nothing in this package imports the rest of aisaas, so the product cannot tell an
embedded part from a hosted one except by its address.
"""
