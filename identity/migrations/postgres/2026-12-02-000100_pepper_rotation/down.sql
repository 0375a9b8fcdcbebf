-- The digests of the current pepper become the only ones.
update associations set digest = digest_2, digest_lower = digest_lower_2, digest_ascii = digest_ascii_2
    where (select slot from peppers where phase = 'current') = 2;
drop index associations_by_digest_2;
drop index associations_by_digest_lower_2;
drop index associations_by_digest_ascii_2;
alter table associations
    alter column digest set not null,
    drop column digest_2,
    drop column digest_lower_2,
    drop column digest_ascii_2;

drop table pepper_progress;
create table peppers_old (
    id integer not null primary key check (id = 1),
    pepper text not null,
    created_at bigint not null
);
insert into peppers_old (id, pepper, created_at) select 1, pepper, since from peppers where phase = 'current';
drop table peppers;
alter table peppers_old rename to peppers;
