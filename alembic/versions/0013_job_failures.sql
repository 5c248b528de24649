-- What a job could not do to one item, so that it waits for its turn, or for an admin, and the others go on.
create table private.job_failures (
  job text not null check (char_length(job) between 1 and 100),
  -- What the job works on, by its key: a reservation, a customer's day, a user.
  item text not null check (char_length(item) between 1 and 400),
  attempts integer not null check (attempts > 0),
  -- The error's name, never its text: that may quote what users wrote.
  last_error text not null check (char_length(last_error) <= 300),
  first_at timestamptz not null default now(),
  last_at timestamptz not null default now(),
  -- Null: set aside until an admin retries it.
  next_attempt_at timestamptz,
  primary key (job, item)
);
create index job_failures_set_aside_idx on private.job_failures (last_at desc)
  where next_attempt_at is null;
-- The jobs with a state of their own keep what they gave up there.
create index billing_notices_dead_idx on public.billing_notices (created_at desc)
  where state = 'dead';
create index spending_alerts_dead_idx on private.spending_alerts (created_at desc)
  where state = 'dead';

alter table private.job_failures enable row level security;
revoke all on private.job_failures from public, anon, authenticated, service_role;
grant select, insert, update, delete on private.job_failures to service_role;
