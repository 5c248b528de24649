-- What was noted stays as it was noted; only what became of its mail is written down later.
revoke update on public.billing_notices from service_role;
grant update (state, attempts, next_attempt_at, last_error, sent_at)
  on public.billing_notices to service_role;
