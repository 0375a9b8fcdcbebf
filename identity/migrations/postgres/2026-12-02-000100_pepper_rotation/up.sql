-- The digests of an association under two peppers: digest, digest_lower and digest_ascii belong to slot 1, the columns that
-- end in _2 to slot 2. A digest is null while no pepper is in its slot.
alter table associations
    alter column digest drop not null,
    add column digest_2 bytea,
    add column digest_lower_2 bytea,
    add column digest_ascii_2 bytea;
create unique index associations_by_digest_2 on associations (digest_2) where digest_2 is not null;
create index associations_by_digest_lower_2 on associations (digest_lower_2) where digest_lower_2 is not null;
create index associations_by_digest_ascii_2 on associations (digest_ascii_2) where digest_ascii_2 is not null;

-- At most one pepper is in each phase, and one in each slot. since is when its phase began.
create table peppers_new (
    number bigint not null primary key,
    slot integer not null unique check (slot in (1, 2)),
    phase text not null unique,
    pepper text not null,
    since bigint not null
);
insert into peppers_new (number, slot, phase, pepper, since) select 1, 1, 'current', pepper, created_at from peppers;
drop table peppers;
alter table peppers_new rename to peppers;

-- How far the associations have their digests under a pepper that is being prepared: the last association that has.
create table pepper_progress (
    number bigint not null primary key references peppers (number) on delete cascade,
    medium text not null,
    address text not null
);
