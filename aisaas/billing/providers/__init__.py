"""How model providers are doing, and alerts about them."""
