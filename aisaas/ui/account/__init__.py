"""Getting in: sign in, sign up, a forgotten password, a mail's link."""
