-- Usage by day ------------------------------------------------------------------------------------

-- The ledger, summed. Like the ledger it outlives the account, and nobody writes it: the trigger
-- below does, in the transaction that appends to the ledger.
create table public.usage_days (
  user_id uuid not null,
  -- UTC, of the moment it was settled.
  day date not null,
  -- Which allowance it counted against: a call that settles after midnight belongs to the period
  -- it was reserved in, and a subscription's period need not start at midnight.
  period_key text not null,
  model text not null,
  plan text not null,
  purpose text not null check (purpose in ('reply', 'title')),
  requests bigint not null check (requests > 0),
  done bigint not null,
  stopped bigint not null,
  interrupted bigint not null,
  failed bigint not null,
  prompt_tokens bigint not null,
  completion_tokens bigint not null,
  quota_tokens bigint not null,
  cost_usd numeric(14, 6) not null,
  primary key (user_id, day, period_key, model, plan, purpose),
  check (requests = done + stopped + interrupted + failed)
);

-- Once a statement, not once a row: a load of many lines sums them first. Rows are locked in the
-- order of their key, and after everything else that a settling locks.
create function private.sum_usage_by_day() returns trigger
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

-- Making the trigger waits for settlings that are under way and holds back those to come, until
-- this migration commits: what is there is summed here, what comes by the trigger, nothing by both.
create trigger usage_records_by_day after insert on public.usage_records
  referencing new table as added
  for each statement execute function private.sum_usage_by_day();

insert into public.usage_days (
  user_id, day, period_key, model, plan, purpose, requests, done, stopped, interrupted, failed,
  prompt_tokens, completion_tokens, quota_tokens, cost_usd
)
select user_id, (created_at at time zone 'UTC')::date, period_key, model, plan, purpose, count(*),
  count(*) filter (where outcome = 'done'), count(*) filter (where outcome = 'stopped'),
  count(*) filter (where outcome = 'interrupted'), count(*) filter (where outcome = 'failed'),
  sum(prompt_tokens), sum(completion_tokens), sum(quota_tokens), sum(cost_usd)
from public.usage_records
group by 1, 2, 3, 4, 5, 6;

-- Refusals ----------------------------------------------------------------------------------------

-- What was refused to whom, why, and how often in a minute. Never what they had written.
create table public.refusals (
  user_id uuid not null references public.profiles (id) on delete cascade,
  code text not null check (char_length(code) between 1 and 100),
  minute timestamptz not null,
  times integer not null check (times > 0),
  -- The one that was asked for last; null when it isn't a model of ours.
  model text check (char_length(model) between 1 and 200),
  primary key (user_id, code, minute)
);
create index refusals_user_minute_idx on public.refusals (user_id, minute desc);
-- For the purge, and for reading over all users.
create index refusals_minute_idx on public.refusals (minute desc);

-- Access ------------------------------------------------------------------------------------------

alter table public.usage_days enable row level security;
alter table public.refusals enable row level security;
create policy own_usage_days_read on public.usage_days for select to authenticated
  using (user_id = (select auth.uid()));
create policy own_refusals_read on public.refusals for select to authenticated
  using (user_id = (select auth.uid()));

revoke all on public.usage_days, public.refusals from public, anon, authenticated, service_role;
revoke execute on function private.sum_usage_by_day from public, anon, authenticated, service_role;
grant select on public.usage_days, public.refusals to authenticated;
-- Not even the server writes the days.
grant select on public.usage_days to service_role;
grant select, insert, update, delete on public.refusals to service_role;
