"""What people see of the stand-in: paying, managing a subscription, an invoice, and the start page.

Invariants: no script, nothing from elsewhere; whatever is shown was escaped; the id in an address is
the only key, as at Stripe; a form of another site changes nothing.
"""
