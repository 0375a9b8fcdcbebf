-- Until when the request that created the invite may still be sending its mail; the room learns of it afterwards.
alter table invites add column sending_until bigint;
