"""What people see of the fake: paying, managing a subscription, an invoice, and the start page.

Invariants: no script, nothing from elsewhere; templates escape whatever they show; the id in an address
is the only key, as at Stripe; a form of another site changes nothing.
"""
