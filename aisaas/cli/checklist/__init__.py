"""The launch checklist: `check --production`. Every item is a line, and has its fix.

Nothing is changed by looking. What can't be reached is said and fails; what nobody can be asked is
skipped, with the place to look at.
"""
