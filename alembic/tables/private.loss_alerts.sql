-- A row's contents never change; only the columns about sending it do.
alter table private.loss_alerts enable row level security;
revoke all on private.loss_alerts from public, anon, authenticated, service_role;
grant select, insert, delete on private.loss_alerts to service_role;
grant update (state, attempts, next_attempt_at, last_error, sent_at)
  on private.loss_alerts to service_role;
