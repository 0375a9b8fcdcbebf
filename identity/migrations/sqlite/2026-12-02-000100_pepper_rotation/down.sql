-- The digests of the current pepper become the only ones.
create table associations_old (
    medium text not null,
    address text not null,
    typed_address text not null,
    mxid text not null,
    ts bigint not null,
    not_before bigint not null,
    not_after bigint not null,
    digest blob not null,
    digest_lower blob,
    digest_ascii blob,
    primary key (medium, address)
);
insert into associations_old (
    medium, address, typed_address, mxid, ts, not_before, not_after, digest, digest_lower, digest_ascii
) select medium, address, typed_address, mxid, ts, not_before, not_after,
    case (select slot from peppers where phase = 'current') when 1 then digest else digest_2 end,
    case (select slot from peppers where phase = 'current') when 1 then digest_lower else digest_lower_2 end,
    case (select slot from peppers where phase = 'current') when 1 then digest_ascii else digest_ascii_2 end
    from associations;
drop table associations;
alter table associations_old rename to associations;
create unique index associations_by_digest on associations (digest);
create index associations_by_digest_lower on associations (digest_lower) where digest_lower is not null;
create index associations_by_digest_ascii on associations (digest_ascii) where digest_ascii is not null;
create index associations_by_mxid on associations (mxid);

drop table pepper_progress;
create table peppers_old (
    id integer not null primary key check (id = 1),
    pepper text not null,
    created_at bigint not null
);
insert into peppers_old (id, pepper, created_at) select 1, pepper, since from peppers where phase = 'current';
drop table peppers;
alter table peppers_old rename to peppers;
