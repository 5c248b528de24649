"""Usage on its way to the payment provider, events from it, and whether both sides agree."""
