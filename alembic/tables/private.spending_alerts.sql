-- What a row says stays as it was; only what became of sending it is written down later.
alter table private.spending_alerts enable row level security;
revoke all on private.spending_alerts from public, anon, authenticated, service_role;
grant select, insert, delete on private.spending_alerts to service_role;
grant update (state, attempts, next_attempt_at, last_error, sent_at)
  on private.spending_alerts to service_role;
