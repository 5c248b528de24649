"""The servers that `run` starts on a developer's machine when none is configured.

Invariant: nothing in this package imports the product, so the product can't tell one of these servers
from a hosted one except by its address.
"""
