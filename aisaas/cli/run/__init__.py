"""Everything on one machine: the only commands that know the development stack."""
