-- Append-only: nobody may change or remove a row.
alter table public.usage_records enable row level security;
revoke all on public.usage_records from public, anon, authenticated, service_role;
grant select on public.usage_records to authenticated;
grant select, insert on public.usage_records to service_role;

drop policy if exists own_usage_read on public.usage_records;
create policy own_usage_read on public.usage_records for select to authenticated
  using (user_id = (select auth.uid()));

create or replace trigger usage_records_by_day after insert on public.usage_records
  referencing new table as added
  for each statement execute function private.sum_usage_by_day();
create or replace trigger usage_records_summed after insert on public.usage_records
  referencing new table as added
  for each statement execute function private.sum_usage();
create or replace trigger usage_records_extra after insert on public.usage_records
  for each row when (new.overage_tokens > 0) execute function private.sum_extra_usage();
