-- The digests of an association under two peppers: digest, digest_lower and digest_ascii belong to slot 1, the columns that
-- end in _2 to slot 2. A digest is null while no pepper is in its slot. SQLite can drop "not null" in a new table only.
create table associations_new (
    medium text not null,
    address text not null,
    typed_address text not null,
    mxid text not null,
    ts bigint not null,
    not_before bigint not null,
    not_after bigint not null,
    digest blob,
    digest_lower blob,
    digest_ascii blob,
    digest_2 blob,
    digest_lower_2 blob,
    digest_ascii_2 blob,
    primary key (medium, address)
);
insert into associations_new (
    medium, address, typed_address, mxid, ts, not_before, not_after, digest, digest_lower, digest_ascii
) select medium, address, typed_address, mxid, ts, not_before, not_after, digest, digest_lower, digest_ascii
    from associations;
drop table associations;
alter table associations_new rename to associations;
create unique index associations_by_digest on associations (digest) where digest is not null;
create index associations_by_digest_lower on associations (digest_lower) where digest_lower is not null;
create index associations_by_digest_ascii on associations (digest_ascii) where digest_ascii is not null;
create unique index associations_by_digest_2 on associations (digest_2) where digest_2 is not null;
create index associations_by_digest_lower_2 on associations (digest_lower_2) where digest_lower_2 is not null;
create index associations_by_digest_ascii_2 on associations (digest_ascii_2) where digest_ascii_2 is not null;
create index associations_by_mxid on associations (mxid);

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
