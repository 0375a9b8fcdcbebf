-- What the processes that share this database must read anew: digests of addresses and of access tokens, nothing in clear.
-- The numbers of a shard have no gap and are in the order of the commits: a transaction keeps its row of change_heads
-- locked until it ends. A sequence would give a number that becomes visible after a greater one.
create table change_heads (
    shard integer not null primary key,
    number bigint not null
);
insert into change_heads (shard, number)
with recursive shards (shard) as (select 0 union all select shard + 1 from shards where shard < 63)
select shard, 0 from shards;

create table changes (
    shard integer not null,
    number bigint not null,
    kind text not null,
    digests bytea not null,
    created_at bigint not null,
    primary key (shard, number)
);
create index changes_by_age on changes (created_at);
