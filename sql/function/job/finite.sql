-- finite returns a time, or the first day of the year 1 or the last day of the year 9999 if it is outside of these. A
-- client cannot read an infinite time, and one such row would keep a list from being read. Null stays null.
create or replace function pawl.finite(moment timestamptz) returns timestamptz language sql stable parallel safe as $$
  select case when moment is not null
              then greatest('0001-01-01 00:00:00+00', least('9999-12-31 00:00:00+00', moment)) end
$$;
