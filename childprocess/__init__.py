"""Child processes: started with an allow-listed environment, answering on a port, never outliving us.

Used by the product for its workers and its builds, and by the development stack for its servers. It
imports neither of them.
"""
