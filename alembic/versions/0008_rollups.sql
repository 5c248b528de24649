-- What a line of the ledger brings in ----------------------------------------------------------------

-- Of a line's quota tokens, those beyond what is included and what credits paid, and what they cost
-- at the moment they were booked. Lines from before say nothing.
alter table public.usage_records
  add column overage_tokens bigint not null default 0 check (overage_tokens >= 0),
  add column overage_usd numeric(12, 6) not null default 0 check (overage_usd >= 0),
  add check (overage_tokens <= quota_tokens - credit_tokens);

-- The ledger, summed for admins ----------------------------------------------------------------------

-- Over all users, by the hour and by the day (UTC). Nobody writes here but the trigger below, in the
-- transaction that appends to the ledger.
create table private.usage_totals (
  step text not null check (step in ('day', 'hour')),
  -- UTC, of the moment a line was settled.
  starts timestamptz not null,
  model text not null,
  provider text not null,
  plan text not null,
  purpose text not null check (purpose in ('reply', 'title')),
  requests bigint not null check (requests > 0),
  stopped bigint not null,
  interrupted bigint not null,
  failed bigint not null,
  prompt_tokens bigint not null,
  cached_prompt_tokens bigint not null,
  completion_tokens bigint not null,
  quota_tokens bigint not null,
  cost_usd numeric(14, 6) not null,
  overage_usd numeric(14, 6) not null,
  primary key (step, starts, model, provider, plan, purpose)
-- The running hour's rows change with every line; room for that beside them.
) with (fillfactor = 50);

-- For each user, by blocks of 1, 4, 16 and 64 days. Blocks are counted from 1970-01-01, so any span is
-- a few of them: what a user costs to be summed is bounded by the number of blocks, not of days.
create table private.usage_by_user (
  days smallint not null check (days in (1, 4, 16, 64)),
  starts date not null,
  user_id uuid not null,
  requests bigint not null check (requests > 0),
  stopped bigint not null,
  interrupted bigint not null,
  failed bigint not null,
  prompt_tokens bigint not null,
  cached_prompt_tokens bigint not null,
  completion_tokens bigint not null,
  quota_tokens bigint not null,
  -- Millionths of a USD, which is as exact as the ledger: whole numbers are summed twice as fast.
  cost_micros bigint not null,
  overage_micros bigint not null,
  primary key (days, starts, user_id),
  check (mod(starts - date '1970-01-01', days) = 0)
) with (fillfactor = 80);

-- Once a statement, as by day. Its rows are the last that a settling locks, those that all share
-- among them: whoever gets here holds the day's spending, so nobody waits here who hasn't waited there.
create function private.sum_usage() returns trigger
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

-- This migration holds the ledger's lock from its first statement on: what is there is summed here,
-- what comes afterwards by the trigger, nothing by both.
create trigger usage_records_summed after insert on public.usage_records
  referencing new table as added
  for each statement execute function private.sum_usage();

insert into private.usage_by_user
select b.days, date '1970-01-01'
    + ((a.created_at at time zone 'UTC')::date - date '1970-01-01') / b.days * b.days,
  a.user_id, count(*),
  count(*) filter (where a.outcome = 'stopped'), count(*) filter (where a.outcome = 'interrupted'),
  count(*) filter (where a.outcome = 'failed'), sum(a.prompt_tokens), sum(a.cached_prompt_tokens),
  sum(a.completion_tokens), sum(a.quota_tokens),
  sum(a.cost_usd) * 1000000, sum(a.overage_usd) * 1000000
from public.usage_records a cross join (values (1), (4), (16), (64)) b (days)
group by 1, 2, 3
order by 1, 2, 3;

insert into private.usage_totals
select s.step, date_trunc(s.step, a.created_at, 'UTC'), a.model, a.provider, a.plan, a.purpose,
  count(*),
  count(*) filter (where a.outcome = 'stopped'), count(*) filter (where a.outcome = 'interrupted'),
  count(*) filter (where a.outcome = 'failed'), sum(a.prompt_tokens), sum(a.cached_prompt_tokens),
  sum(a.completion_tokens), sum(a.quota_tokens), sum(a.cost_usd), sum(a.overage_usd)
from public.usage_records a cross join (values ('day'), ('hour')) s (step)
group by 1, 2, 3, 4, 5, 6
order by 1, 2, 3, 4, 5, 6;

-- Errors of providers --------------------------------------------------------------------------------

-- A call that came to nothing costs nothing and has no line in the ledger; neither has one that
-- another model answered instead. Counted in the transaction that settles the call.
create table private.provider_errors (
  -- UTC.
  day date not null,
  provider text not null,
  model text not null,
  kind text not null check (char_length(kind) between 1 and 100),
  times bigint not null check (times > 0),
  primary key (day, provider, model, kind)
);

-- Refusals, read over all users ----------------------------------------------------------------------

-- With all that the dashboard reads, so that it needn't go to the rows.
create index refusals_read_idx on public.refusals (minute desc) include (code, times, user_id);
drop index public.refusals_minute_idx;

-- Access ----------------------------------------------------------------------------------------------

alter table private.usage_totals enable row level security;
alter table private.usage_by_user enable row level security;
alter table private.provider_errors enable row level security;
revoke all on private.usage_totals, private.usage_by_user, private.provider_errors
  from public, anon, authenticated, service_role;
revoke execute on function private.sum_usage from public, anon, authenticated, service_role;
-- Not even the server writes the sums.
grant select on private.usage_totals, private.usage_by_user to service_role;
grant select, insert, update on private.provider_errors to service_role;
