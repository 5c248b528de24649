"""How the model providers do."""
