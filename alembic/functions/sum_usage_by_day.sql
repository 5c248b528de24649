-- Runs once per statement, not once per row, so that loading many lines sums them first. Rows are locked
-- in the order of their key, after everything else that a settlement locks.
create or replace function private.sum_usage_by_day() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.usage_days as d (
    user_id, day, period_key, model, plan, purpose, requests, done, stopped, interrupted, failed,
    prompt_tokens, completion_tokens, quota_tokens, cost_usd
  )
  select a.user_id, (a.created_at at time zone 'UTC')::date, a.period_key, a.model, a.plan,
    a.purpose, count(*),
    count(*) filter (where a.outcome = 'done'), count(*) filter (where a.outcome = 'stopped'),
    count(*) filter (where a.outcome = 'interrupted'), count(*) filter (where a.outcome = 'failed'),
    sum(a.prompt_tokens), sum(a.completion_tokens), sum(a.quota_tokens), sum(a.cost_usd)
  from added a
  group by 1, 2, 3, 4, 5, 6
  order by 1, 2, 3, 4, 5, 6
  on conflict (user_id, day, period_key, model, plan, purpose) do update set
    requests = d.requests + excluded.requests,
    done = d.done + excluded.done,
    stopped = d.stopped + excluded.stopped,
    interrupted = d.interrupted + excluded.interrupted,
    failed = d.failed + excluded.failed,
    prompt_tokens = d.prompt_tokens + excluded.prompt_tokens,
    completion_tokens = d.completion_tokens + excluded.completion_tokens,
    quota_tokens = d.quota_tokens + excluded.quota_tokens,
    cost_usd = d.cost_usd + excluded.cost_usd;
  return null;
end $$;

revoke all on function private.sum_usage_by_day from public, anon, authenticated, service_role;
