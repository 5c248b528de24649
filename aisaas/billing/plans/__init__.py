"""What each plan allows and costs, and which period a call counts in."""
