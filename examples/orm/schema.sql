create table account (
  id       bigint generated always as identity primary key,
  email    text not null unique deferrable initially deferred, -- A duplicate fails at the commit, with the job inserted.
  welcomed boolean not null default false
);
