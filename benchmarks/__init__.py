"""Measurements of the figures that the product promises. Anyone can run them; tests never time."""
