"""Spending caps, kill switches, and how models are sold."""
