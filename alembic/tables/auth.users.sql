-- Belongs to the sign-in server; only these triggers are ours.
create or replace trigger aisaas_profile_for_new_user after insert on auth.users
  for each row execute function private.profile_for_new_user();
create or replace trigger aisaas_profile_follows_email after update of email on auth.users
  for each row when (old.email is distinct from new.email)
  execute function private.profile_follows_email();
