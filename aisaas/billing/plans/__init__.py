"""What each plan allows and costs, and in which period a call counts."""
