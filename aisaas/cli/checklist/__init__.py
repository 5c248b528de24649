"""The launch checklist: `check --production`. Each item prints one line, with its fix.

Checking changes nothing. A part that can't be reached fails with a message; what can't be queried
is skipped, with a note where to look.
"""
