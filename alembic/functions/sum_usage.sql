-- Runs once per statement. A settlement locks these rows last, and users share some of them. It already
-- holds the day's spending row by then, so settlements don't deadlock here.
create or replace function private.sum_usage() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into private.usage_by_user as u (
    days, starts, user_id, requests, stopped, interrupted, failed, prompt_tokens,
    cached_prompt_tokens, completion_tokens, quota_tokens, cost_micros,
    overage_micros
  )
  select b.days, date '1970-01-01'
      + ((a.created_at at time zone 'UTC')::date - date '1970-01-01') / b.days * b.days,
    a.user_id, count(*),
    count(*) filter (where a.outcome = 'stopped'), count(*) filter (where a.outcome = 'interrupted'),
    count(*) filter (where a.outcome = 'failed'), sum(a.prompt_tokens), sum(a.cached_prompt_tokens),
    sum(a.completion_tokens), sum(a.quota_tokens),
    sum(a.cost_usd) * 1000000, sum(a.overage_usd) * 1000000
  from added a cross join (values (1), (4), (16), (64)) b (days)
  group by 1, 2, 3
  order by 1, 2, 3
  on conflict (days, starts, user_id) do update set
    requests = u.requests + excluded.requests,
    stopped = u.stopped + excluded.stopped,
    interrupted = u.interrupted + excluded.interrupted,
    failed = u.failed + excluded.failed,
    prompt_tokens = u.prompt_tokens + excluded.prompt_tokens,
    cached_prompt_tokens = u.cached_prompt_tokens + excluded.cached_prompt_tokens,
    completion_tokens = u.completion_tokens + excluded.completion_tokens,
    quota_tokens = u.quota_tokens + excluded.quota_tokens,
    cost_micros = u.cost_micros + excluded.cost_micros,
    overage_micros = u.overage_micros + excluded.overage_micros;

  insert into private.usage_totals as t (
    step, starts, model, provider, plan, purpose, requests, stopped, interrupted, failed,
    prompt_tokens, cached_prompt_tokens, completion_tokens, quota_tokens, cost_usd, overage_usd
  )
  select s.step, date_trunc(s.step, a.created_at, 'UTC'), a.model, a.provider, a.plan, a.purpose,
    count(*),
    count(*) filter (where a.outcome = 'stopped'), count(*) filter (where a.outcome = 'interrupted'),
    count(*) filter (where a.outcome = 'failed'), sum(a.prompt_tokens), sum(a.cached_prompt_tokens),
    sum(a.completion_tokens), sum(a.quota_tokens), sum(a.cost_usd), sum(a.overage_usd)
  from added a cross join (values ('day'), ('hour')) s (step)
  group by 1, 2, 3, 4, 5, 6
  order by 1, 2, 3, 4, 5, 6
  on conflict (step, starts, model, provider, plan, purpose) do update set
    requests = t.requests + excluded.requests,
    stopped = t.stopped + excluded.stopped,
    interrupted = t.interrupted + excluded.interrupted,
    failed = t.failed + excluded.failed,
    prompt_tokens = t.prompt_tokens + excluded.prompt_tokens,
    cached_prompt_tokens = t.cached_prompt_tokens + excluded.cached_prompt_tokens,
    completion_tokens = t.completion_tokens + excluded.completion_tokens,
    quota_tokens = t.quota_tokens + excluded.quota_tokens,
    cost_usd = t.cost_usd + excluded.cost_usd,
    overage_usd = t.overage_usd + excluded.overage_usd;
  return null;
end $$;

revoke all on function private.sum_usage from public, anon, authenticated, service_role;
