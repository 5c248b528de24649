-- Limits of one account --------------------------------------------------------------------------

-- As with the others there, null means the plan's. Nobody but the service reads or writes them.
alter table public.profiles
  -- Not 0: whoever may run no reply at all is suspended, and told so.
  add column parallel_replies integer check (parallel_replies between 1 and 1000),
  -- The most that its owner may set as their cap, and that any cap comes to.
  add column highest_cap_usd numeric(8, 2) check (highest_cap_usd >= 0);
