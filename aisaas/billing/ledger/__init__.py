"""After a call: what was used and charged, and every sum over it."""
