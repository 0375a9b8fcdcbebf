-- server_group is the registrable domain of server, or the network of its address: the servers of one group share their
-- attempts. The group of an existing row is the server itself.
alter table onbinds add column server_group text not null default '';
update onbinds set server_group = server;
